"""A slapd with as many accounts as wanted, each with a key, and a realm that follows it."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.ldap.settings import LdapSettings, LdapUrl
from directory.ldap.write import WritingConnection
from pki.keys import PublicKey, public_key_from_cryptography, rsa_key
from tests.bench.realm import REALM
from tests.rig import slapd
from tests.rig.secret_files import write_secret
from tests.rig.slapd import BASE, PEOPLE, Slapd, person, record, sid

ACTIVE: Final = 100
"""Users whose private keys are there: those who log on. They are spread among all."""
GROUP_SIZE: Final = 500
_FIRST_GROUP_RID: Final = 1_000_000
_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command cost."""

    seconds: float
    cpu_s: float
    peak_mib: float
    """Resident memory at its peak, mapped files included (VmHWM)."""


def run(*arguments: str) -> Cost:
    """Run one command of `kdc` to its end."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdc", *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL
    )
    peak_kib = 0
    # Not ru_maxrss: that of a child begins with what its parent had when it was forked.
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak_kib = max(peak_kib, int(found[1]) if found else 0)
        time.sleep(0.01)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"kdc {' '.join(arguments)} ended with {process.returncode}")
    return Cost(
        seconds=time.monotonic() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=peak_kib / 1024,
    )


def name_of(number: int) -> str:
    """Name an account by its number."""
    return f"user{number:06d}"


def dn_of(name: str) -> str:
    """Say where an account's entry is."""
    return f"uid={name},{PEOPLE}"


def key_text(public_key: PublicKey, name: str) -> str:
    """Write a value of msDS-KeyCredentialLink."""
    new = NewKeyCredential(public_key=public_key, created=datetime.now(UTC))
    return encode_key_credential(new, dn_of(name))


def public_key_of(key: rsa.RSAPrivateKey) -> PublicKey:
    """Return the public half."""
    return public_key_from_cryptography(key.public_key())


def _nobodys_key() -> PublicKey:
    """Make a number of the shape of a key: making real ones would take hours."""
    modulus = secrets.randbits(2048) | 1 << 2047 | 1
    return rsa_key(modulus, 65537)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def private_keys(folder: Path, count: int = ACTIVE) -> list[rsa.RSAPrivateKey]:
    """Make the keys of those who log on, once; they are kept in the folder."""
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        path = folder / f"{number:03d}.pem"
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            write_secret(path, _pem(key))
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise TypeError(f"{path} is no RSA key")
        found.append(loaded)
    return found


def _records(count: int, active: dict[int, rsa.RSAPrivateKey]) -> Iterator[str]:
    for number in range(count):
        name = name_of(number)
        own = active.get(number)
        key = public_key_of(own) if own else _nobodys_key()
        yield person(name, slapd.FIRST_RID + number, msDS_KeyCredentialLink=key_text(key, name))
    for number, first in enumerate(range(0, count, GROUP_SIZE)):
        members = range(first, min(count, first + GROUP_SIZE))
        yield record(
            f"cn=team{number},ou=groups,{BASE}",
            {
                "objectClass": ("group", "securityPrincipal"),
                "cn": f"team{number}",
                "sAMAccountName": f"team{number}",
                "objectSid": sid(_FIRST_GROUP_RID + number),
                "groupType": "-2147483646",
                "member": [dn_of(name_of(member)) for member in members],
            },
        )


@dataclass(slots=True, kw_only=True)
class Place:
    """A directory that runs, and the state folder of a realm on it; `keys` are in that folder."""

    server: Slapd
    state: Path
    active: dict[str, rsa.RSAPrivateKey]
    first_load: Cost
    """Of `kdc init`: everything into an empty store."""
    ldif_s: float

    def connect(self) -> WritingConnection:
        """Bind as the directory's administrator."""
        settings = LdapSettings(
            urls=(LdapUrl.parse(self.server.ldaps_url),),
            flavour="openldap",
            bind_dn=slapd.ADMIN,
            bind_password=self.server.password.encode(),
            ca_file=str(self.server.ca),
        )
        return WritingConnection.open(settings.urls[0], settings)

    def follower(self) -> int:
        """Return the process that follows the directory."""
        done = subprocess.run(
            [sys.executable, "-m", "kdc", "directory", "status", "--json"],
            cwd=_ROOT,
            env={**os.environ, "KDC_STATE": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
        )
        return int(json.loads(done.stdout)["pid"])


def make(folder: Path, accounts: int, keys: list[rsa.RSAPrivateKey]) -> Place:
    """Fill a directory, start it, and make a realm on it; a folder of its own for each."""
    folder.mkdir()
    step = accounts // len(keys)
    active = {number * step: key for number, key in enumerate(keys)}
    began = time.monotonic()
    server = Slapd.make(folder / "slapd", users=0, more="".join(_records(accounts, active)))
    ldif_s = time.monotonic() - began
    server.start()
    state = folder / "state"
    try:
        cost = run(
            *("init", "--realm", REALM, "--directory", server.ldapi_url),
            *("--flavour", "openldap", "--directory-sasl", "external", "--state", str(state)),
        )
        with (state / "kdc.toml").open("a") as config:
            config.write('exempt_sources = ["127.0.0.0/8"]\n')
        (state / "keys").mkdir()
        for number, key in active.items():
            write_secret(state / "keys" / f"{name_of(number)}.key", _pem(key))
    except BaseException:
        server.stop()
        raise
    named = {name_of(number): key for number, key in active.items()}
    return Place(server=server, state=state, active=named, first_load=cost, ldif_s=ldif_s)
