"""What handlers work with: one value, made at the start and handed to each of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import MasterKey
from kdc.formats.cloud_key import CloudKey, CloudKeyError, decode_cloud_key
from pki.ca import IssuedCertificate, certificates_from_pem, private_key_from_pem
from pki.certificate import Certificate
from pki.chain import TrustPool, is_self_issued
from tenant.audit import Audit
from tenant.config import TenantConfig
from tenant.state.database import Database
from tenant.state.password_work import PasswordWork
from tenant.state_folder import TenantFolder

SIGNING_KEY_AAD: Final = b"keytrust tenant signing key"
DEVICE_CA_AAD: Final = b"keytrust tenant device CA key"
CLOUD_KEY_AAD: Final = b"keytrust tenant cloud key"
"""What each sealed file is: one put in another's place does not open."""

MAX_SECRET_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """The RSA key that access tokens are signed with, and its certificate."""

    private_key: rsa.RSAPrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    """DER, self-signed; published in the key set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a handler may use besides its request."""

    config: TenantConfig
    folder: TenantFolder
    database: Database
    now: Callable[[], datetime]
    """The clock, aware and in UTC; read once a request."""
    entropy: Callable[[int], bytes]
    """Random octets."""
    master_key: MasterKey
    """Seals what has to be read again, such as session keys, each bound to its row."""
    signing_key: SigningKey
    device_ca: IssuedCertificate = field(repr=False)
    """Issues device certificates; a root of its own that nothing else trusts."""
    attestation_roots: TrustPool = field(repr=False)
    """What certifies attestation keys of TPMs; empty: no attestation is believed."""
    cloud_key: CloudKey | None
    """Of the realm's cloud trust; None: no partial TGTs are issued."""
    audit: Audit
    password_work: PasswordWork = field(default_factory=PasswordWork, repr=False)
    """Where passwords are compared, beside the event loop."""


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def open_services(folder: TenantFolder, *, now: Callable[[], datetime] = utc_now) -> Services:
    """Open a tenant's files. Raises ConfigError, DirectoryError, PkiError, OSError."""
    config = folder.load_config()
    master_key = MasterKey.load(folder.master_key)
    signing = _open_pair(folder.signing_key, master_key, SIGNING_KEY_AAD)
    if not isinstance(signing.private_key, rsa.RSAPrivateKey):
        raise DirectoryError(DirectoryFault.CORRUPT, "the signing key is no RSA key")
    return Services(
        config=config,
        folder=folder,
        database=Database.open(folder.database),
        now=now,
        entropy=os.urandom,
        master_key=master_key,
        signing_key=SigningKey(
            private_key=signing.private_key, certificate=signing.certificate_der
        ),
        device_ca=_open_pair(folder.device_ca, master_key, DEVICE_CA_AAD),
        attestation_roots=read_attestation_roots(folder),
        cloud_key=open_cloud_key(folder, master_key),
        audit=Audit(folder.audit_log),
    )


def open_cloud_key(folder: TenantFolder, master_key: MasterKey) -> CloudKey | None:
    """Open the sealed key of the cloud trust; None when there is none. Raises DirectoryError."""
    if not folder.cloud_key.exists():
        return None
    data = master_key.open_file(folder.cloud_key, CLOUD_KEY_AAD, MAX_SECRET_BYTES)
    try:
        return decode_cloud_key(data)
    except CloudKeyError as error:
        raise DirectoryError(
            DirectoryFault.CORRUPT, f"{folder.cloud_key} cannot be used: {error}"
        ) from None


def read_attestation_roots(folder: TenantFolder) -> TrustPool:
    """Read the CAs of attestation keys: self-issued ones are anchors. Raises PkiError, OSError."""
    path = folder.attestation_roots
    if not path.exists():
        return TrustPool(())
    found = [Certificate(der) for der in certificates_from_pem(path.read_bytes())]
    anchors = [certificate for certificate in found if is_self_issued(certificate)]
    return TrustPool(anchors, (c for c in found if c not in anchors))


def _open_pair(place: tuple[Path, Path], master_key: MasterKey, aad: bytes) -> IssuedCertificate:
    certificate_path, key_path = place
    key = private_key_from_pem(master_key.open_file(key_path, aad, MAX_SECRET_BYTES))
    certificate = certificates_from_pem(certificate_path.read_bytes())[0]
    return IssuedCertificate(certificate_der=certificate, private_key=key)
