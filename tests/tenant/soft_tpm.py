"""A TPM 2.0 in software, as far as an attestation goes: what TPM2_Certify returns, and the AIK.

Written from the structures of TPM 2.0 part 2 and not from the reader that is tested with it.
"""

import struct
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pki import oids
from pki.ca import IssuedCertificate, create_root, issue_client_leaf
from pki.certificate import Certificate
from pki.chain import TrustPool
from pki.templates import Template
from pki.x500 import simple_name
from tests.kdc.builders import NOW

AIK_TEMPLATE = Template(
    name="aik",
    help="an attestation identity key's",
    subject="realm",
    purposes=("2.23.133.8.3",),
    days=365,
    renew_at=1,
)
HELLO_ATTRIBUTES = 0x00040072  # fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign


@cache
def root() -> IssuedCertificate:
    """The CA that certifies attestation identity keys."""
    return create_root("TPM", NOW, common_name="TPM vendor root")


@cache
def pool() -> TrustPool:
    """The roots as the tenant has them."""
    return TrustPool((Certificate(root().certificate_der),))


@cache
def aik() -> rsa.RSAPrivateKey:
    """An attestation identity key."""
    return rsa.generate_private_key(65537, 2048)


def aik_certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    *,
    ca: IssuedCertificate | None = None,
    template: Template = AIK_TEMPLATE,
    now: datetime = NOW,
) -> bytes:
    """Certify an attestation identity key (DER)."""
    name = simple_name((oids.ID_AT_COMMON_NAME, "AIK"))
    public = (key or aik()).public_key()
    return issue_client_leaf(ca or root(), public, name, now, template=template)


def tpm2b(data: bytes) -> bytes:
    """Put the length before octets."""
    return struct.pack(">H", len(data)) + data


def public_area(
    key: rsa.RSAPublicKey,
    *,
    attributes: int = HELLO_ATTRIBUTES,
    name_algorithm: int = 0x000B,
    symmetric: bytes = b"\x00\x10",
    kind: int = 0x0001,
) -> bytes:
    """Write a TPMT_PUBLIC."""
    numbers = key.public_numbers()
    bits = numbers.n.bit_length()
    exponent = 0 if numbers.e == 65537 else numbers.e
    return (
        struct.pack(">HHI", kind, name_algorithm, attributes)
        + tpm2b(b"")
        + symmetric
        + struct.pack(">HHHI", 0x0014, 0x000B, bits, exponent)
        + tpm2b(numbers.n.to_bytes((bits + 7) // 8, "big"))
    )


def attest(
    name: bytes, extra: bytes, *, magic: int = 0xFF544347, kind: int = 0x8017, safe: int = 1
) -> bytes:
    """Write a TPMS_ATTEST."""
    return (
        struct.pack(">IH", magic, kind)
        + tpm2b(b"\x00\x0b" + bytes(32))
        + tpm2b(extra)
        + struct.pack(">QIIBQ", 123456, 7, 3, safe, 0x0001000200030004)
        + tpm2b(name)
        + tpm2b(b"\x00\x0b" + bytes(range(32)))
    )


def tpmt_signature(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, signed: bytes, *, pss: bool = False
) -> bytes:
    """Sign and write a TPMT_SIGNATURE with SHA-256."""
    digest = hashes.SHA256()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        parts = tpm2b(r.to_bytes(32, "big")) + tpm2b(s.to_bytes(32, "big"))
        return struct.pack(">HH", 0x0018, 0x000B) + parts
    if pss:
        value = key.sign(signed, padding.PSS(padding.MGF1(digest), 32), digest)
        return struct.pack(">HH", 0x0016, 0x000B) + tpm2b(value)
    value = key.sign(signed, padding.PKCS1v15(), digest)
    return struct.pack(">HH", 0x0014, 0x000B) + tpm2b(value)


def frame(attested: bytes, signature: bytes, blob: bytes, *, magic: bytes = b"KADS") -> bytes:
    """Write a KeyAttestation (MS-WCCE 2.2.2.5)."""
    sizes = (2, 24, len(attested), len(signature), len(blob))
    return magic + struct.pack("<5I", *sizes) + attested + signature + blob


def pcp_blob(area: bytes) -> bytes:
    """Write the public half of a PCP_20_KEY_BLOB."""
    public = tpm2b(area)
    return struct.pack("<4s3I9IH", b"PCPM", 54, 2, 0, len(public), *([0] * 8), 0) + public


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attestation to build: all right unless something is given."""

    key: rsa.RSAPublicKey
    nonce: str = "a nonce"
    extra: bytes | None = None
    magic: int = 0xFF544347
    kind: int = 0x8017
    safe: int = 1
    attributes: int = HELLO_ATTRIBUTES
    name: bytes | None = None
    certified_key: rsa.RSAPublicKey | None = None
    signer: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(default_factory=aik)
    pss: bool = False
    bare_signature: bool = False
    bare_public: bool = False

    def build(self) -> bytes:
        """Write it."""
        area = public_area(self.certified_key or self.key, attributes=self.attributes)
        name = self.name or b"\x00\x0b" + sha256(area).digest()
        extra = self.extra if self.extra is not None else sha256(self.nonce.encode()).digest()
        signed = attest(name, extra, magic=self.magic, kind=self.kind, safe=self.safe)
        if self.bare_signature and isinstance(self.signer, rsa.RSAPrivateKey):
            signature = self.signer.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = tpmt_signature(self.signer, signed, pss=self.pss)
        return frame(signed, signature, tpm2b(area) if self.bare_public else pcp_blob(area))
