"""What goes into a value that the sync job writes, and what it takes from one. Pure.

The value of msDS-KeyCredentialLink has the shape that Entra Connect writes for a Hello key:
version 0x200; KeyID; KeyHash; KeyMaterial as it was registered (RSA1 blob); KeyUsage NGC; KeySource
AzureAD; DeviceId; CustomKeyInformation; the time of the last logon; the time of creation (MS-ADTS
2.2.20, in this order).

KeySource: values that Entra Connect has written show 0x01, and their times are .NET's
DateTime.ToBinary in the place of FILETIME (so DSInternals reads them, and what was made after it).
MS-ADTS describes KeySource AD alone. Whatever stands there never decides a logon (row K06).

CustomKeyInformation: version 1 and the flags. MFA_NOT_USED is never set, for the tenant registers
no key without a fresh second factor, so a KDC may give S-1-18-5. ATTESTATION (S-1-18-6) is set when
the statement that came with the key was verified.
"""

import base64
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha1, sha256
from uuid import UUID

from directory.keycredential import (
    KeySource,
    NewKeyCredential,
    decode_blob,
    encode_blob,
    parse_dn_binary,
)
from directory.keymaterial import MaterialForm, decode_key_material
from pki import oids
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.keys import KeyKind
from pki.x500 import decode_name
from tenant.sync.view import TenantKey

_INFORMATION_VERSION = 1
_ATTESTATION = 0x01
MAX_CERTIFICATES = 64
"""Of one computer that are looked at; Windows writes one for each time it registers."""


class MappingError(Exception):
    """Something cannot be taken to the other side; the text is one fixed phrase."""


# -- keys, down ------------------------------------------------------------------------------


def key_blob(key: TenantKey) -> bytes:
    """Encode a registered key as a KEYCREDENTIALLINK_BLOB.

    Its KeyID is the SHA-256 of the material as it was registered: the `kid` of Hello assertions.
    Raises MappingError.
    """
    try:
        form, public_key = decode_key_material(key.material)
    except PkiError:
        raise MappingError("its key material cannot be read") from None
    if form is not MaterialForm.BCRYPT:
        raise MappingError("its key material is no RSA1 blob")

    new = NewKeyCredential(
        public_key=public_key,
        material_octets=key.material,
        source=KeySource.AZURE_AD,
        device_id=key.device_id,
        custom_key_information=bytes((_INFORMATION_VERSION, _ATTESTATION if key.attested else 0)),
        # A value that changed with each logon would have to be written with each logon: as Windows
        # does it for a new key, both times are the same.
        last_logon=key.created,
        created=key.created,
    )
    blob = encode_blob(new)
    credential = decode_blob(blob, text="")
    if not credential.usable:
        raise MappingError(f"its key could not log on: {credential.reason}")
    return blob


def blobs_of(values: Iterable[str]) -> dict[bytes, str]:
    """Return the blob of each value of msDS-KeyCredentialLink that is one, and its text.

    The DN in a value changes with its owner's name: what is ours is told by the blob.
    """
    found: dict[bytes, str] = {}
    for text in values:
        try:
            blob, _ = parse_dn_binary(text)
        except ValueError:
            continue
        found.setdefault(blob, text)
    return found


def key_of(blob: bytes) -> bytes | None:
    """Return the digest of the public key that a blob registers, whatever else it says.

    None: it registers none that could log on.
    """
    key = decode_blob(blob, text="").public_key
    return None if key is None else key.digest


# -- computers' certificates, up -------------------------------------------------------------


def device_certificate(values: Iterable[bytes], guid: UUID, now: datetime) -> Certificate | None:
    """Choose the userCertificate that stands for a computer's device; None: it has none.

    As Entra Connect chooses: a certificate that can be read, whose subject is CN=objectGUID and
    that has not expired. Of several the one made last: the computer replaces its certificate when
    it registers anew, and may leave the old one. Only RSA keys of 2048 bits and up count.
    """
    found: list[tuple[datetime, bytes, Certificate]] = []
    for value in list(values)[:MAX_CERTIFICATES]:
        try:
            certificate = Certificate(value)
            not_before, not_after = certificate.validity()
            names = decode_name(certificate.subject)
            key = certificate.public_key()
        except PkiError:
            continue
        if key.kind is not KeyKind.RSA or key.bits < 2048 or not_after <= now:
            continue
        common = [a.value for rdn in names for a in rdn if a.oid == oids.ID_AT_COMMON_NAME]
        if len(common) == 1 and _is_guid(common[0], guid):
            found.append((not_before, sha256(value).digest(), certificate))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _is_guid(text: str | bytes, guid: UUID) -> bool:
    if not isinstance(text, str) or len(text) not in (36, 38):
        return False
    try:
        return UUID(text) == guid
    except ValueError:
        return False


# -- device objects, back --------------------------------------------------------------------


def alt_security_identity(certificate: bytes) -> str:
    """Return what msDS-Device says of its certificate: X509:<SHA1-TP-PUBKEY>, two digests.

    The second digest is taken over the key inside the SubjectPublicKeyInfo, as .NET's GetPublicKey
    gives it; MS-DVRJ 3.1.5.1.1.3 says "public key" alone. Raises MappingError.
    """
    try:
        key = Certificate(certificate).public_key()
        inner = key.rsa_public_key_der() if key.kind is KeyKind.RSA else key.point()
    except PkiError:
        raise MappingError("its device certificate cannot be read") from None
    thumbprint = sha1(certificate, usedforsecurity=False).hexdigest().upper()
    digest = base64.b64encode(sha256(inner).digest()).decode("ascii")
    return f"X509:<SHA1-TP-PUBKEY>{thumbprint}+{digest}"
