"""The KDCs that are compared: ours, MIT's and Heimdal's, each one process on one core.

MIT's and Heimdal's are those of Debian. Their realms hold `alice`, who logs on with a certificate,
`pat` with a password, and the service host/web.lab.test; ours the same with a Hello key for alice.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.realm import PASSWORD, kdc, make_realm, serving, version
from tests.bench.realm import REALM as OUR_REALM
from tests.negative.mit import REALM as MIT_REALM
from tests.negative.mit import mit_world, pem_of_certificate, pem_of_key, served_by_mit
from tests.negative.wire.keys import RsaKey
from tests.negative.world import World
from tests.rig.peers import PEERS
from tests.rig.realm import free_port
from tests.rig.secret_files import write_secret

KDC_CORE: Final = 0
SERVICE: Final = "host/web.lab.test"
_MULTIARCH: Final = str(sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A KDC that runs, and how `kdc load` gets at it."""

    name: str
    version: str
    options: tuple[str, ...]
    """Of `kdc load`: target, realm, anchor and `pat` with his password."""
    keys: Path
    """The folder of alice's key."""
    trust: str
    """The kind of work by which alice logs on: keytrust or cert."""
    works: tuple[str, ...]
    """What it can do: groups of PKINIT (+nonce: with clientDHNonce), password, tgs."""
    pid: int
    flaw: str = ""
    """What `kdc load` says of replies that this KDC gets wrong now and then, by its own fault."""


class MissingError(Exception):
    """A KDC is not on this machine; the text says what is missing."""


def _target(port: int, realm: str, anchor: Path, password: str, folder: Path) -> tuple[str, ...]:
    secret = write_secret(folder / "password", password + "\n")
    return (
        *("--kdc", f"127.0.0.1:{port}", "--realm", realm, "--domain", realm.lower()),
        *("--anchor", str(anchor), "--users", "pat", "--password-file", str(secret)),
    )


def keytrust(
    name: str = "Keytrust",
    *,
    works: tuple[str, ...] = ("modp14", "p256", "password", "tgs"),
    kdc_key: str = "rsa2048",
    settings: str = "",
    program: str | None = None,
) -> Callable[[Path], contextlib.AbstractContextManager[Rival]]:
    """Return what serves a realm of ours with one worker.

    kdc_key: of the KDC's certificate. settings: lines for its kdc.toml. program: the `kdc` of a
    wheel that is installed elsewhere, the compiled one for instance.
    """

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[Rival]:
        make_realm(folder, key_users=1, kdc_key=kdc_key, settings=settings)
        if not (folder / "rival").exists():
            kdc("service", "add", SERVICE, "--state", str(folder))
            (folder / "rival").touch()
        with serving(folder, workers=1, cores=_cores(), program=program) as server:
            port = server.address[1]
            anchor = folder / "pki" / "ca.pem"
            yield Rival(
                name=name,
                version=version(program),
                options=_target(port, OUR_REALM, anchor, PASSWORD, folder),
                keys=folder / "keys",
                trust="keytrust",
                works=works,
                pid=server.supervisor.pid,
            )

    return serve


def _write_alice(world: World, folder: Path) -> Path:
    """Write alice's certificate and key where `kdc load` looks for them."""
    keys = folder / "keys"
    keys.mkdir(exist_ok=True)
    identity = world.people["alice"].identity
    if identity is None or not isinstance(identity.key, RsaKey):
        raise TypeError("alice has no RSA key")
    both = pem_of_certificate(identity.certificate.der) + pem_of_key(identity.key)
    write_secret(keys / "alice.pem", both)
    return keys


def mit_from(
    prefix: Path | None = None,
) -> Callable[[Path], contextlib.AbstractContextManager[Rival]]:
    """Return what serves a realm of MIT's with one process, named by its version.

    No lockout, no time of the last success kept. prefix: where a build of krb5 is installed; None:
    the system's.
    """

    @contextlib.contextmanager
    def mit(folder: Path) -> Iterator[Rival]:
        version = _mit_version(prefix)
        folder.mkdir(exist_ok=True)
        for old in folder.glob("principal*"):
            old.unlink()
        before = _children("krb5kdc")
        with served_by_mit(folder, prefix) as world:
            (pid,) = _children("krb5kdc") - before
            if cores := _cores():
                os.sched_setaffinity(pid, cores)
            password = world.people["pat"].password or ""
            release = re.match(r"\d+\.\d+(\.\d+)?", version)
            # MIT's KDC takes elliptic curves (RFC 5349) since 1.22.
            recent = [int(part) for part in release[0].split(".")] >= [1, 22] if release else False
            yield Rival(
                name=f"MIT {release[0]}" if release else "MIT",
                version=version,
                options=_target(world.address[1], MIT_REALM, folder / "ca.pem", password, folder),
                keys=_write_alice(world, folder),
                trust="cert",
                works=("password", "tgs", "modp14", *(("p256",) if recent else ())),
                pid=pid,
            )

    return mit


def _children(name: str) -> set[int]:
    """Return the pids of this process' children that run a program."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text() == name + "\n"}


def _mit_version(prefix: Path | None) -> str:
    """Return the version of a build of krb5, or of Debian's. Raises MissingError."""
    if prefix is None:
        if shutil.which("krb5kdc", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            raise MissingError("krb5kdc is not installed: apt-get install krb5-kdc krb5-pkinit")
        return _debian_version("krb5-kdc")
    if not (prefix / "lib/krb5/plugins/preauth/pkinit.so").exists():
        raise MissingError(f"no krb5 with its PKINIT plug-in is installed in {prefix}")
    command = [str(prefix / "bin/krb5-config"), "--version"]
    return subprocess.check_output(command, text=True).split()[-1]


_HEIMDAL_CONF: Final = """[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
[kdc]
  database = {{
    dbname = {folder}/heimdal
    realm = {realm}
    mkey_file = {folder}/mkey
    acl_file = {folder}/acl
    log_file = {folder}/iprop.log
  }}
  addresses = 127.0.0.1
  ports = {port}/udp {port}/tcp
  num-kdc-processes = 1
  enable-pkinit = true
  pkinit_identity = FILE:{folder}/kdc.pem,{folder}/kdc.key
  pkinit_anchors = FILE:{folder}/ca.pem
  pkinit_principal_in_certificate = true
  max-kdc-datagram-reply-length = 16384
[logging]
  kdc = 0-1/FILE:{folder}/kdc.log
"""
_HEIMDAL_PRINCIPALS: Final = """add --use-defaults --random-key alice
add --use-defaults --password={password} pat
add --use-defaults --random-key host/web.lab.test
"""


def _find_heimdal(root: Path | None) -> tuple[Path, Path, Path]:
    """Find Heimdal's kdc and kadmin, unpacked in a folder or installed; and where they are."""
    for top in (root,) if root else (PEERS / "heimdal", Path("/")):
        server, admin = top / "usr/lib/heimdal-servers/kdc", top / "usr/bin/kadmin.heimdal"
        if server.exists() and admin.exists():
            return server, admin, top
    raise MissingError(
        "Heimdal's kdc is not here: unpack Debian's heimdal-kdc, heimdal-clients and their "
        "libraries (libkdc2-heimdal, libkadm5srv8-heimdal ...) and give --heimdal FOLDER"
    )


def heimdal_in(root: Path | None) -> Callable[[Path], contextlib.AbstractContextManager[Rival]]:
    """Return what serves a realm of Heimdal's; root: where its packages are unpacked."""

    @contextlib.contextmanager
    def heimdal(folder: Path) -> Iterator[Rival]:
        server, admin, top = _find_heimdal(root)
        folder.mkdir(exist_ok=True)
        for old in (*folder.glob("heimdal*"), folder / "mkey"):
            old.unlink(missing_ok=True)
        port = free_port()
        world = mit_world(folder, port)
        (folder / "acl").touch()
        config = folder / "krb5.conf"
        config.write_text(_HEIMDAL_CONF.format(realm=MIT_REALM, port=port, folder=folder))
        libraries = top / "usr/lib" / _MULTIARCH
        environment = {
            **os.environ,
            "KRB5_CONFIG": str(config),
            "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'heimdal'}",
        }
        life = ("--realm-max-ticket-life=unlimited", "--realm-max-renewable-life=unlimited")
        commands = _HEIMDAL_PRINCIPALS.format(password=PASSWORD)
        for arguments, text in ((("init", *life, MIT_REALM), ""), ((), commands)):
            subprocess.run(
                [admin, "-l", "-r", MIT_REALM, *arguments],
                env=environment,
                input=text,
                text=True,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=60,
            )
        process = subprocess.Popen([server, f"--config-file={config}"], env=environment)
        try:
            if cores := _cores():
                os.sched_setaffinity(process.pid, cores)
            time.sleep(1.0)
            if process.poll() is not None:
                raise MissingError(f"Heimdal's kdc ended with {process.returncode}")
            yield Rival(
                name="Heimdal",
                version=_debian_version("heimdal-kdc", "libkrb5-26-heimdal") or "7.8",
                options=_target(port, MIT_REALM, folder / "ca.pem", PASSWORD, folder),
                keys=_write_alice(world, folder),
                trust="cert",
                # Debian's answers 31 to P-256.
                works=("password", "tgs", "modp14"),
                pid=process.pid,
                # 7.8 pads a shared secret that begins with a zero octet, and then hashes it
                # without its last one: one key in 256 is not RFC 4556 3.2.3.1's.
                flaw="the answer cannot be decrypted",
            )
        finally:
            process.terminate()
            process.wait(10)

    return heimdal


def _cores() -> set[int] | None:
    return {KDC_CORE} if (os.cpu_count() or 1) > 1 else None


def _debian_version(*packages: str) -> str:
    """Return the version of the first package that is installed; "" when none is."""
    for package in packages:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", package],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and done.stdout:
            return done.stdout
    return ""
