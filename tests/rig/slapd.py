"""A private OpenLDAP server, configured by the files of conf/ldap/ as an operator would.

`Slapd.make(folder)` writes its configuration and first entries; `running()` starts it. Each server
has an address and ports of its own: StartTLS, LDAPS and a local socket (SASL EXTERNAL: whoever runs
the tests is the follower, cn=kdc). `replicated()` makes two that replicate to each other.
"""

import base64
import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.rig import certificates, peers
from tests.rig.certificates import Identity
from tests.rig.directory_server import DirectoryServer
from tests.rig.network import Host
from tests.rig.realm import free_port

PACKAGES = "slapd ldap-utils"
BASE = "dc=lab,dc=test"
ADMIN = f"cn=admin,{BASE}"
FOLLOWER = f"cn=kdc,ou=services,{BASE}"
PEOPLE = f"ou=people,{BASE}"
DOMAIN_SID = (21, 1, 2, 3)
"""Sub-authorities of the domain's SID, S-1-5-21-1-2-3, as conf/ldap/base.ldif has it."""
FIRST_RID = 1100

_CONF = peers.ROOT / "conf/ldap"
_STOP_S = 10.0
_COMMAND_S = 60
_LOAD_S = 600
_NOT_THE_CONFIGURED_PASSWORD = "change-me"  # noqa: S105  # as conf/ldap/ has it, replaced below


def sid(rid: int) -> bytes:
    """Return the octets of the SID of an account of the servers' domain."""
    parts = (*DOMAIN_SID, rid)
    return bytes((1, len(parts), 0, 0, 0, 0, 0, 5)) + struct.pack(f"<{len(parts)}I", *parts)


def record(dn: str, values: Mapping[str, str | bytes | Sequence[str | bytes]]) -> str:
    """Write an LDIF record; every value in Base64, so that none needs care."""
    lines = [f"dn:: {base64.b64encode(dn.encode()).decode()}"]
    for name, given in values.items():
        for value in (given,) if isinstance(given, str | bytes) else given:
            octets = value.encode() if isinstance(value, str) else value
            lines.append(f"{name}:: {base64.b64encode(octets).decode()}")
    return "\n".join(lines) + "\n\n"


def person(name: str, rid: int, **more: str | bytes | Sequence[str | bytes]) -> str:
    """Write a user's record, `uid=NAME,ou=people`; more: further attributes, `_` for `-`."""
    return record(
        f"uid={name},{PEOPLE}",
        {
            "objectClass": ("inetOrgPerson", "securityPrincipal", "keytrustPrincipal"),
            "uid": name,
            "cn": name,
            "sn": name,
            "sAMAccountName": name,
            "userPrincipalName": f"{name}@lab.test",
            "objectSid": sid(rid),
            "userAccountControl": "512",
            "primaryGroupID": "513",
            **{key.replace("_", "-"): value for key, value in more.items()},
        },
    )


def people(count: int, prefix: str = "user") -> str:
    """Write the records of `user0000` and so on."""
    return "".join(person(f"{prefix}{i:04d}", FIRST_RID + i) for i in range(count))


@dataclass(slots=True, kw_only=True)
class Slapd(DirectoryServer):
    """One server: where its files lie, how it is reached, and its process while it runs."""

    READY_S = 15.0

    port: int
    tls_port: int
    tls: Identity
    password: str = field(repr=False)
    """Of cn=admin and, over TLS, of the follower cn=kdc."""
    keytab: Path | None = None
    """For SASL GSSAPI; its entry is ldap/localhost or what the client asks for."""
    host: Host | None = None
    """The namespace that it runs in, if it has one of its own."""

    @property
    def url(self) -> str:
        """Without TLS at first; a client asks for StartTLS."""
        return f"ldap://{self.address}:{self.port}"

    @property
    def ldaps_url(self) -> str:
        """TLS from the first octet."""
        return f"ldaps://{self.address}:{self.tls_port}"

    @property
    def socket_path(self) -> Path:
        """The local socket."""
        return self.folder / "ldapi"

    @property
    def ldapi_url(self) -> str:
        """The local socket, as a URL."""
        return f"ldapi://{quote(str(self.socket_path), safe='')}"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "slapd.log"

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        users: int = 3,
        address: str = "127.0.0.1",
        names: Sequence[str] = (),
        issuer: Identity | None = None,
        more: str = "",
        host: Host | None = None,
    ) -> "Slapd":
        """Write configuration and first entries into a new folder.

        names: what its certificate names instead of its address and localhost.
        more: further records (LDIF). host: where it runs; the address is then the host's.
        """
        loader = peers.system_program("slapadd", PACKAGES)
        folder.mkdir(mode=0o700)
        address = host.address if host else address
        issuer = issuer or certificates.throwaway_issuer(folder, "ldap-ca")
        tls = certificates.tls_server(folder, "slapd", names or (address, "localhost"), issuer)
        made = cls(
            folder=folder,
            address=address,
            # A host of its own has all ports free.
            port=389 if host else free_port(address),
            tls_port=636 if host else free_port(address),
            host=host,
            issuer=issuer,
            tls=tls,
            password="Directory-Secret-1",  # noqa: S106  # of this private server
        )
        for name in ("conf", "db"):
            (folder / name).mkdir()
        configuration = folder / "slapd.ldif"
        configuration.write_text(made.configured((_CONF / "slapd.ldif").read_text()))
        made._load(loader, 0, configuration)
        entries = folder / "entries.ldif"
        base = (_CONF / "base.ldif").read_text().replace("{CRYPT}*", made.password)
        entries.write_text(f"{base}\n{people(users)}{more}")
        made._load(loader, 1, entries)
        return made

    def configured(self, text: str) -> str:
        """Change in a file of conf/ldap/ what its head tells an operator to change."""
        who = f"gidNumber={os.getgid()}\\+uidNumber={os.getuid()},cn=peercred"
        for old, new in (
            ("olcThreads: 8", "olcThreads: 8\nolcSaslHost: localhost"),
            ("/run/slapd", str(self.folder)),
            ("/etc/ldap/tls/ca.pem", str(self.ca)),
            ("/etc/ldap/tls/slapd.pem", str(self.tls.certificate)),
            ("/etc/ldap/tls/slapd.key", str(self.tls.key)),
            ("/var/lib/ldap", str(self.folder / "db")),
            ("file:///etc/ldap/schema/keytrust", f"file://{_CONF}/keytrust"),
            ("gidNumber=1000\\+uidNumber=1000,cn=peercred", who),
            # One user is the follower and the administrator here: the latter comes by password.
            ("gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth", ADMIN),
            (_NOT_THE_CONFIGURED_PASSWORD, self.password),
        ):
            text = text.replace(old, new)
        return text

    def _load(self, loader: peers.Program, database: int, ldif: Path) -> None:
        done = subprocess.run(
            [loader.path, "-q", "-n", str(database), "-F", self.folder / "conf", "-l", ldif],
            env=peers.clean_environment({}),
            capture_output=True,
            text=True,
            timeout=_LOAD_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # -- running it ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait until all three ways in answer."""
        program = peers.system_program("slapd", PACKAGES)
        keytab = {} if self.keytab is None else {"KRB5_KTNAME": f"FILE:{self.keytab}"}
        urls = f"{self.url} {self.ldaps_url} {self.ldapi_url}"
        prefix = self.host.prefix if self.host else ()
        arguments = ("-d", "0", "-F", str(self.folder / "conf"), "-h", urls)
        self._launch((*prefix, program.path, *arguments), keytab)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            for family, where in (
                (socket.AF_INET, (self.address, self.port)),
                (socket.AF_INET, (self.address, self.tls_port)),
                (socket.AF_UNIX, str(self.socket_path)),
            ):
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.settimeout(1.0)
                    probe.connect(where)
            return True
        return False

    def stop(self) -> None:
        """Stop the server: no port answers afterwards."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let the server take connections and answer nothing, as an overloaded one does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    # -- using it as an administrator ------------------------------------------------------------

    def command(
        self,
        name: str,
        *arguments: str,
        ldif: str = "",
        who: str | None = ADMIN,
        password: str | None = None,
        url: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of OpenLDAP's client programs over LDAPS, bound as `who`.

        who: None: over the local socket as the kernel says.
        """
        program = peers.system_program(name, PACKAGES)
        login = ["-x", "-H", url or self.ldaps_url, "-D", who or ""]
        login += ["-w", password or self.password]
        if who is None:
            login = ["-Q", "-Y", "EXTERNAL", "-H", self.ldapi_url]
        return subprocess.run(
            [program.path, *login, *arguments],
            env=peers.clean_environment({"LDAPTLS_CACERT": str(self.ca)}),
            input=ldif,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    def add(self, ldif: str) -> None:
        """Add records."""
        done = self.command("ldapadd", ldif=ldif)
        assert done.returncode == 0, done.stderr

    def modify(self, ldif: str) -> None:
        """Run LDIF changes."""
        done = self.command("ldapmodify", ldif=ldif)
        assert done.returncode == 0, done.stderr

    def change(self, dn: str, how: str, attribute: str, *values: str | bytes) -> None:
        """Change one attribute; how: add, delete or replace."""
        head, _, body = record(dn, {attribute: values}).partition("\n")
        self.modify(f"{head}\nchangetype: modify\n{how}: {attribute}\n{body}")

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        done = self.command("ldapdelete", dn)
        assert done.returncode == 0, done.stderr

    def values(self, dn: str, attribute: str, *, who: str = ADMIN) -> tuple[str, ...]:
        """Read an attribute's values; those that LDIF writes in Base64 come out decoded."""
        done = self.command(
            *("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn),
            *("(objectClass=*)", attribute),
            who=who,
        )
        assert done.returncode == 0, done.stderr
        found = []
        for line in done.stdout.splitlines():
            name, colon, value = line.partition(":")
            if name.lower() != attribute.lower() or not colon:
                continue
            if value.startswith(":"):
                found.append(base64.b64decode(value[1:]).decode("utf-8", "backslashreplace"))
            else:
                found.append(value.strip())
        return tuple(found)


@contextlib.contextmanager
def replicated(
    folder: Path,
    *,
    users: int = 3,
    hosts: tuple[Host, Host] | tuple[None, None] = (None, None),
    more: str = "",
) -> Iterator[tuple[Slapd, Slapd]]:
    """Run two servers that replicate to each other, as conf/ldap/replication.ldif says."""
    first = Slapd.make(folder / "one", users=users, host=hosts[0], more=more)
    second = Slapd.make(folder / "two", users=users, host=hosts[1], issuer=first.issuer)
    # The second begins empty and learns everything from the first.
    for file in (second.folder / "db").iterdir():
        file.unlink()
    template = (_CONF / "replication.ldif").read_text()
    template = template.replace("ldap://ldap1.lab.test", first.url)
    template = template.replace("ldap://ldap2.lab.test", second.url)
    with first.running(), second.running():
        for number, server in ((1, first), (2, second)):
            text = template.replace("olcServerID: 1", f"olcServerID: {number}")
            server.modify(server.configured(text))
        yield first, second
