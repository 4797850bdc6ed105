"""Default-valid values of both sides of a sync run, and a tenant's side in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from directory.keymaterial import MaterialForm, encode_key_material
from directory.model import AccountKind, Sid
from pki.keys import public_key_from_cryptography
from tenant.sync.view import (
    DirectoryAccount,
    DirectoryView,
    TenantDevice,
    TenantKey,
    TenantUser,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DOMAIN = Sid.parse("S-1-5-21-1-2-3")
_SPACE = UUID("00000000-0000-4000-8000-000000000001")


def number(name: str) -> UUID:
    """Make the same UUID for the same name each time."""
    return uuid5(_SPACE, name)


@lru_cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return a real RSA-2048 key, one for each name."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def material(name: str) -> bytes:
    """Return the RSA1 blob of a key."""
    public = public_key_from_cryptography(rsa_key(name).public_key())
    return encode_key_material(public, MaterialForm.BCRYPT)


def spki(name: str) -> bytes:
    """Return the SubjectPublicKeyInfo of a key."""
    return public_key_from_cryptography(rsa_key(name).public_key()).spki_der()


def certificate(
    key: str, common_name: str, *, made: datetime = NOW - timedelta(days=1), days: int = 365
) -> bytes:
    """Make a self-signed certificate as a computer does for its registration."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(rsa_key(key).public_key())
        .serial_number(1)
        .not_valid_before(made)
        .not_valid_after(made + timedelta(days=days))
        .sign(rsa_key(key), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def account(name: str = "alice", rid: int = 1101, **more: object) -> DirectoryAccount:
    """Make a user of the directory; more: fields that differ."""
    made = DirectoryAccount(
        guid=number(f"guid {name}"),
        sid=DOMAIN.with_rid(rid),
        kind=AccountKind.USER,
        sam_account_name=name,
        upn=f"{name}@lab.test",
        dn=f"CN={name},CN=Users,DC=lab,DC=test",
        enabled=True,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # the test names fields that are there


def computer(name: str = "PC1$", rid: int = 1201, **more: object) -> DirectoryAccount:
    """Make a computer with a certificate as for its registration."""
    guid = number(f"guid {name}")
    made = account(
        name,
        rid,
        guid=guid,
        kind=AccountKind.COMPUTER,
        upn=f"{name}@lab.test",
        certificates=(certificate(f"key {name}", str(guid)),),
    )
    return replace(made, **more)  # type: ignore[arg-type]  # as above


def view(*accounts: DirectoryAccount, **more: object) -> DirectoryView:
    """Make what a directory shows."""
    made = DirectoryView(directory=str(DOMAIN), accounts=accounts, device_place="the store")
    return replace(made, **more)  # type: ignore[arg-type]  # as above


def user(name: str = "alice", *, of: DirectoryAccount | None = None, **more: object) -> TenantUser:
    """Make a user of the tenant; of: the account it is in step with."""
    made = TenantUser(object_id=number(f"oid {name}"), upn=f"{name}@lab.test", enabled=True)
    if of is not None:
        made = replace(made, guid=of.guid, sid=str(of.sid), sam_account_name=of.sam_account_name)
    return replace(made, **more)  # type: ignore[arg-type]  # as above


def key(name: str = "alice", owner: str = "alice", **more: object) -> TenantKey:
    """Make a key that a user registered."""
    made = TenantKey(
        kid=number(f"kid {name}"),
        user=number(f"oid {owner}"),
        device_id=number("device"),
        material=material(name),
        created=NOW,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # as above


def device(name: str = "laptop", **more: object) -> TenantDevice:
    """Make a registered device of the tenant."""
    made = TenantDevice(
        device_id=number(f"device {name}"),
        display_name=name,
        enabled=True,
        owner=number("oid alice"),
        certificate=certificate(name, str(number(f"device {name}"))),
        os_type="Windows",
        os_version="10.0.22631.1",
    )
    return replace(made, **more)  # type: ignore[arg-type]  # as above
