"""A private Samba Active Directory domain controller on an address of its own.

Samba's LDAP ports cannot be moved, so each one takes a loopback address; its own KDC goes to port
1088 there, which leaves 88 to ours. It has Windows' 2016 schema, with msDS-KeyCredentialLink:
Debian's 4.17 ships the files, but its command line does not offer them. The provisioned tree is
kept in .peers/ under the package's version: each run starts with a copy of it.

Users pat and kim have passwords, alice has none that anybody knows; PC1$ is a computer; svc-web
has the SPN HTTP/www.lab.example. The share `files` holds one file, hello.txt, for Staff's members
(kim, and whoever is in Crew, which is in Staff: pat).
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig import certificates, peers
from tests.rig.directory_server import DirectoryServer

PACKAGES = (
    "samba samba-ad-dc samba-ad-provision python3-samba samba-dsdb-modules samba-vfs-modules"
    " ldb-tools winbind libnss-wrapper"
)
REALM = "LAB.EXAMPLE"
NETBIOS = "LAB"
BASE = "DC=lab,DC=example"
HOST = "dc1.lab.example"
ADMINISTRATOR = "administrator"
ADMIN_PASSWORD = "Admin-Secret-1"  # noqa: S105  # of this private server
USER_PASSWORD = "User-Secret-1"  # noqa: S105  # of its users
KDC_PORT = 1088

_SYSTEM_PYTHON = "/usr/bin/python3"  # python3-samba is Debian's own
_PROVISION_S = 120
_COMMAND_S = 60
_STOP_S = 15.0
_NOT_OURS = ("obey pam restrictions", "unix password sync", "passwd program", "passwd chat")
_FOLDER = "@folder@"  # stands in the kept tree's configuration for where a copy lies
_LAYOUT = 2  # raise it when what is provisioned changes

# samba.schema knows the files of a base schema by name; the command line asks the same table.
_PROVISION = """
import sys
import samba.schema
samba.schema.Schema.base_schemas.setdefault(
    "2016",
    (
        "AD_DS_Attributes__Windows_Server_2016.ldf",
        "AD_DS_Classes__Windows_Server_2016.ldf",
        87,
    ),
)
import samba.netcmd.domain as domain
for option in domain.cmd_domain_provision.takes_options:
    if "--base-schema" in option._long_opts and "2016" not in option.choices:
        option.choices = [*option.choices, "2016"]
from samba.netcmd.main import cmd_sambatool
sys.exit(cmd_sambatool()._run("samba-tool", *sys.argv[1:]))
"""

# Samba 4.17 refuses a key credential unless its back link is allowed on the object it names, as
# newer versions and Windows do not ask.
_BACK_LINK = f"""dn: CN=Top,CN=Schema,CN=Configuration,{BASE}
changetype: modify
add: mayContain
mayContain: msDS-KeyCredentialLink-BL
"""


def _own_address() -> str:
    """Find a loopback address on which no port of a domain controller is taken."""
    start = os.getpid()
    for step in range(200):
        number = start + step * 37
        address = f"127.53.{number // 250 % 250 + 1}.{number % 250 + 1}"
        if all(_is_free(address, port) for port in (88, 389, 445, 464, 636, KDC_PORT)):
            return address
    raise RuntimeError("no loopback address is free")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


@dataclass(slots=True, kw_only=True)
class SambaDc(DirectoryServer):
    """One domain controller; its TLS certificate names its address and dc1."""

    READY_S = 40.0

    @property
    def config(self) -> Path:
        """Its smb.conf."""
        return self.folder / "etc/run.conf"

    @property
    def url(self) -> str:
        """Without TLS at first; a client asks for StartTLS."""
        return f"ldap://{self.address}"

    @property
    def ldaps_url(self) -> str:
        """TLS from the first octet."""
        return f"ldaps://{self.address}"

    @property
    def private_socket(self) -> Path:
        """The local socket of root, on which long-term keys can be read."""
        return self.folder / "private/ldap_priv/ldapi"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "log/samba.out"

    # -- starting and stopping -------------------------------------------------------------------

    @classmethod
    def make(cls, folder: Path) -> "SambaDc":
        """Copy the provisioned tree into a new folder and configure it for a free address."""
        if os.geteuid() != 0:
            peers.missing("permission to run a domain controller", "run as root")
        program = peers.system_program("samba", PACKAGES)
        for module in ("samba.netcmd.main", "samba.schema"):
            if system_python(f"import {module}").returncode != 0:
                peers.missing(
                    "python3-samba", f"apt-get install --no-install-recommends {PACKAGES}"
                )
        tree = _provisioned(program)
        shutil.copytree(tree, folder, symlinks=True)
        issuer = certificates.throwaway_issuer(folder, "ldap-ca")
        made = cls(folder=folder, address=_own_address(), issuer=issuer)
        made._configure(tree)
        return made

    def _configure(self, tree: Path) -> None:
        """Write the smb.conf that this copy runs with."""
        folder = self.folder
        tls = certificates.tls_server(folder, "tls", (self.address, HOST), self.issuer)
        kept = (tree / "etc/smb.conf").read_text().replace(_FOLDER, str(folder))
        own = {
            "interfaces": f"{self.address}/8",
            "bind interfaces only": "yes",
            "server services": "ldap cldap rpc kdc s3fs winbindd",
            "krb5 port": str(KDC_PORT),
            "kpasswd port": "1464",
            "log file": f"{folder}/log/%m.log",
            "pid directory": f"{folder}/run",
            "ncalrpc dir": f"{folder}/ncalrpc",
            "cache directory": f"{folder}/cache",
            "lock directory": f"{folder}/lock",
            "winbindd socket directory": f"{folder}/run/winbindd",
            "ntp signd socket directory": f"{folder}/run/ntp",
            # A password bind without TLS must be possible for tests of who refuses it: us.
            "ldap server require strong auth": "no",
            "tls cafile": str(self.ca),
            "tls certfile": str(tls.certificate),
            "tls keyfile": str(tls.key),
            "disable netbios": "yes",
            "smb ports": "445",
            "load printers": "no",
            "printcap name": "/dev/null",
        }
        kept = "\n".join(
            line
            for line in kept[: kept.index("[homes]")].splitlines()
            if line.partition("=")[0].strip().lower() not in (*own, *_NOT_OURS)
        )
        added = "".join(f"\t{name} = {value}\n" for name, value in own.items())
        files = folder / "files"
        # Who may enter is judged by the token; root reads: folders above are closed to others.
        shares = (
            f"\n[files]\n\tpath = {files}\n\tread only = yes\n\tforce user = root\n"
            f"\tvalid users = @{NETBIOS}\\Staff\n\tvfs objects =\n"
        )
        self.config.write_text(kept.replace("[global]\n", f"[global]\n{added}", 1) + shares)
        for name in ("run", "log", "ncalrpc", "cache", "lock", "state", "files"):
            (folder / name).mkdir(exist_ok=True)
        for name in ("passwd", "group"):  # of the machine, without anybody of its own
            (folder / name).write_text(Path("/etc", name).read_text())
        (files / "hello.txt").write_text("a file for Staff\n")

    def start(self) -> None:
        """Start the domain controller and wait until LDAP answers, by TLS and on its socket."""
        program = peers.system_program("samba", PACKAGES)
        krb5 = self.folder / "krb5.conf"
        krb5.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n"
            f" dns_lookup_realm = false\n[realms]\n {REALM} = {{\n"
            f"  kdc = {self.address}:{KDC_PORT}\n }}\n"
            f"[domain_realm]\n .lab.example = {REALM}\n lab.example = {REALM}\n"
        )
        # When it dies with the tests, its children see the end of its pipe.
        command = (program.path, "-s", str(self.config), "-F", "--no-process-group")
        self._launch(
            (*command, "--debug-stdout", "-d", "1"),
            {"KRB5_CONFIG": str(krb5), **self._own_winbind()},
        )

    def _own_winbind(self) -> dict[str, str]:
        """Let smbd find this server's winbindd: its library looks only in /run/samba.

        It looks elsewhere under Samba's own test wrapper for the machine's users.
        """
        wrapper = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
        if wrapper is None:
            peers.missing("libnss-wrapper", f"apt-get install --no-install-recommends {PACKAGES}")
        return {
            "LD_PRELOAD": str(wrapper),
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
            "SELFTEST_WINBINDD_SOCKET_DIR": str(self.folder / "run/winbindd"),
        }

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            for port in (389, 636, 445):
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.settimeout(1.0)
                    probe.connect((self.address, port))
            return self.private_socket.is_socket()
        return False

    def stop(self) -> None:
        """Stop the domain controller and all of its processes."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        # It began a session of its own: what is left of it (smbd, winbindd) is of that session.
        for pid in _session(process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        if process.poll() is None:
            process.kill()
        process.wait()

    # -- using it as an administrator ------------------------------------------------------------

    def tool(self, *arguments: str, check: bool = True) -> str:
        """Run `samba-tool` on its database and return what it printed."""
        return _tool(self.config, *arguments, check=check)

    def ldap(
        self,
        name: str,
        *arguments: str,
        ldif: str = "",
        who: str = ADMINISTRATOR,
        password: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of OpenLDAP's client programs over LDAPS, bound as a user of the domain."""
        program = peers.system_program(name, "ldap-utils")
        if password is None:
            password = ADMIN_PASSWORD if who == ADMINISTRATOR else USER_PASSWORD
        login = ["-x", "-H", self.ldaps_url, "-D", f"{who}@lab.example", "-w", password]
        return subprocess.run(
            [program.path, *login, *arguments],
            env=peers.clean_environment({"LDAPTLS_CACERT": str(self.ca)}),
            input=ldif,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    def modify(self, ldif: str) -> None:
        """Run LDIF changes as the administrator."""
        done = self.ldap("ldapmodify", ldif=ldif)
        assert done.returncode == 0, done.stderr

    def dn(self, name: str) -> str:
        """Find the DN of an account by its sAMAccountName."""
        done = self.ldap("ldapsearch", "-LLL", "-b", BASE, f"(sAMAccountName={name})", "dn")
        found = re.search(r"^dn: (.*(?:\n .*)*)", done.stdout, re.MULTILINE)
        assert found is not None, done.stdout + done.stderr
        return found[1].replace("\n ", "")

    def smbclient(self, command: str, *login: str) -> "subprocess.CompletedProcess[str]":
        """Run `smbclient -c COMMAND` on the share `files`; the server's name is dc1 to it."""
        program = peers.system_program("smbclient", "smbclient")
        return subprocess.run(
            [program.path, f"//{HOST}/files", "-I", self.address, *login, "-c", command],
            env=peers.clean_environment({}),
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    def exported_keytab(self, path: Path) -> Path:
        """Write all keys of the domain into a keytab, by Samba's own tool."""
        self.tool("domain", "exportkeytab", str(path))
        return path


def system_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of ours in Debian's own Python, which has Samba's modules."""
    return subprocess.run(
        [_SYSTEM_PYTHON, "-c", code, *arguments],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=_PROVISION_S,
        check=False,
    )


def _tool(config: Path, *arguments: str, check: bool = True) -> str:
    program = peers.system_program("samba-tool", PACKAGES)
    done = subprocess.run(
        [program.path, *arguments, "-s", str(config)],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    said = done.stdout + done.stderr
    assert not check or done.returncode == 0, f"samba-tool {' '.join(arguments)}\n{said}"
    return said


def _session(leader: int) -> Sequence[int]:
    """List the processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # pid (comm) state ppid pgrp session ...; comm may hold anything, a ")" too.
                after = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after[3]) == leader:
                    found.append(int(entry.name))
    return found


# -- provisioning --------------------------------------------------------------------------------


def _provisioned(program: peers.Program) -> Path:
    """Return the provisioned tree of this version of Samba; make it when there is none yet."""
    said = subprocess.run(
        [program.path, "--version"],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=True,
    ).stdout
    version = re.sub(r"[^0-9A-Za-z.]+", "-", said).strip("-")
    # The files of this rig decide what is in it: a changed one makes another tree.
    recipe = hashlib.sha256(f"{_LAYOUT}{_PROVISION}{_BACK_LINK}{_SETUP}".encode()).hexdigest()[:8]
    tree = peers.PEERS / f"samba-tree-{version}-{recipe}"
    peers.PEERS.mkdir(exist_ok=True)
    with (peers.PEERS / "samba-tree.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            draft = tree.with_name(f"{tree.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            _provision(draft)
            shutil.rmtree(draft / "log", ignore_errors=True)
            _renamed(draft, tree)
    return tree


_SETUP: Sequence[Sequence[str]] = (
    ("user", "create", "alice", "--random-password"),
    ("user", "create", "pat", USER_PASSWORD),
    ("user", "create", "kim", USER_PASSWORD),
    ("computer", "create", "PC1"),
    ("user", "create", "svc-web", USER_PASSWORD),
    ("spn", "add", "HTTP/www.lab.example", "svc-web"),
    ("spn", "add", f"ldap/{HOST}", "DC1$"),
    ("group", "add", "Staff"),
    ("group", "add", "Crew"),
    ("group", "addmembers", "Staff", "kim,Crew"),
    ("group", "addmembers", "Crew", "pat"),
)


def _provision(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    done = system_python(
        _PROVISION,
        *("domain", "provision", f"--targetdir={folder}", f"--realm={REALM}"),
        *(f"--domain={NETBIOS}", "--server-role=dc", f"--adminpass={ADMIN_PASSWORD}"),
        *("--dns-backend=NONE", "--base-schema=2016", "--function-level=2008_R2"),
        *("--host-name=dc1", "--host-ip=127.0.0.53"),
        "--option=interfaces = 127.0.0.53/8",
        "--option=bind interfaces only = yes",
        # A file system without extended attributes will do.
        "--option=vfs objects = dfs_samba4 acl_xattr xattr_tdb",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    change = folder / "back-link.ldif"
    change.write_text(_BACK_LINK)
    program = peers.system_program("ldbmodify", PACKAGES)
    subprocess.run(
        [
            *(program.path, "-H", str(folder / "private/sam.ldb")),
            *("--option=dsdb:schema update allowed=yes", str(change)),
        ],
        env=peers.clean_environment({}),
        capture_output=True,
        timeout=_COMMAND_S,
        check=True,
    )
    config = folder / "etc/smb.conf"
    for arguments in _SETUP:
        _tool(config, *arguments, "-H", str(folder / "private/sam.ldb"))


def _renamed(draft: Path, tree: Path) -> None:
    """Give a complete tree its name. Its configuration names no folder: a copy puts its own."""
    config = draft / "etc/smb.conf"
    config.write_text(config.read_text().replace(str(draft), _FOLDER))
    draft.rename(tree)


if __name__ == "__main__":
    # For a person at a terminal: run one until Ctrl-C.
    with SambaDc.make(Path(sys.argv[1])).running() as running_dc:
        print(running_dc.address, running_dc.folder, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(86400)
