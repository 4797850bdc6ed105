"""A realm on a private OpenLDAP server: keys in msDS-KeyCredentialLink, our KDC beside it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from directory.keycredential import NewKeyCredential, encode_key_credential
from pki.ca import certificates_from_pem
from pki.certificate import Certificate
from tests.rig import certificates
from tests.rig.certificates import Identity
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.secret_files import write_secret
from tests.rig.slapd import FOLLOWER, PEOPLE, Slapd, person

ATTRIBUTE = "msDS-KeyCredentialLink"
WAIT_S = 10.0


@dataclass(slots=True, kw_only=True)
class Owner:
    """A user with a Hello key."""

    name: str
    dn: str
    value: str
    """The key as msDS-KeyCredentialLink holds it."""
    identity: Identity
    leaf: Identity
    """The same key under an issuer that MIT's client knows."""


def make_owner(folder: Path, name: str, issuer: Identity) -> Owner:
    """Make a key for `uid=NAME,ou=people`."""
    key = certificates.new_key()
    identity = certificates.self_signed(folder, name, key)
    dn = f"uid={name},{PEOPLE}"
    return Owner(
        name=name,
        dn=dn,
        value=key_credential(identity, dn),
        identity=identity,
        leaf=certificates.leaf(folder, f"{name}-leaf", key, issuer),
    )


def key_credential(identity: Identity, dn: str, *, device_id: UUID | None = None) -> str:
    """Write an identity's key as a value of msDS-KeyCredentialLink."""
    (der,) = certificates_from_pem(identity.certificate.read_bytes())
    public_key = Certificate(der).public_key()
    return encode_key_credential(
        NewKeyCredential(public_key=public_key, created=datetime.now(UTC), device_id=device_id),
        dn,
    )


def record_of(owner: Owner, rid: int, *, with_key: bool = True) -> str:
    """Write the LDIF record of an owner."""
    key = {ATTRIBUTE.replace("-", "_"): owner.value} if with_key else {}
    return person(owner.name, rid, **key)


def local_options(server: Slapd) -> tuple[str, ...]:
    """Options of `kdc init` for the local socket: the kernel says who the follower is."""
    return (
        *("--directory", server.ldapi_url, "--flavour", "openldap"),
        *("--directory-sasl", "external"),
    )


def network_options(server: Slapd, folder: Path, url: str) -> tuple[str, ...]:
    """Options of `kdc init` for LDAPS, or StartTLS for an ldap:// URL."""
    secret = write_secret(folder / "bind-password", f"{server.password}\n")
    return (
        *("--directory", url, "--flavour", "openldap", "--directory-ca", str(server.ca)),
        *("--directory-bind-dn", FOLLOWER, "--directory-bind-password-file", str(secret)),
        *(("--directory-starttls",) if url.startswith("ldap://") else ()),
    )


@contextlib.contextmanager
def served(folder: Path, *options: str, more: str = "") -> Iterator[LiveRealm]:
    """Make a realm on a directory and serve it. more: lines for kdc.toml."""
    live = make_realm(folder / "state", *options)
    if more:
        file = live.state / "kdc.toml"
        file.write_text(file.read_text() + more)
    with live.served(workers=2):
        yield live


def without_push(server: Slapd) -> None:
    """Take the change stream away from a server that is not running yet."""
    (overlay,) = server.folder.glob("conf/cn=config/olcDatabase=*mdb/olcOverlay=*syncprov.ldif")
    overlay.unlink()


def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait until something is so; bounded."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.02)
