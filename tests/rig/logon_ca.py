"""A CA for logon certificates, made with none of our own code: root, issuing CA, leaves, CRLs."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID, ObjectIdentifier

from tests.rig.secret_files import write_secret

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_SID = ObjectIdentifier("1.3.6.1.4.1.311.25.2")
_SMART_CARD_LOGON = ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")
_PKINIT_CLIENT = ObjectIdentifier("1.3.6.1.5.2.3.4")
_DAY = datetime.timedelta(days=1)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _tlv(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes((tag, len(content))) + content


def sid_extension(sid: str) -> x509.UnrecognizedExtension:
    """Make the SID extension of MS-WCCE 2.2.2.7.7.4."""
    oid = _tlv(0x06, bytes.fromhex("2b060104018237190201"))
    other = _tlv(0xA0, oid + _tlv(0xA0, _tlv(0x04, sid.encode())))
    return x509.UnrecognizedExtension(_SID, _tlv(0x30, other))


def new_key(kind: str = "rsa") -> PrivateKey:
    """Make an RSA-2048 key, or one on `P-256`, `P-384`, `P-521`."""
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogonIdentity:
    """A logon certificate with its key, in the two files that kinit wants."""

    certificate: Path
    """The leaf, and behind it the intermediate CAs."""
    key: Path
    leaf: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    def pkcs12(self, password: str) -> bytes:
        """Put leaf, key and intermediate CAs into one PKCS #12 file."""
        cover = serialization.BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(
            b"logon", self.private_key, self.leaf, list(self.chain), cover
        )

    @property
    def mit(self) -> str:
        """The identity as MIT's X509_user_identity wants it."""
        return f"FILE:{self.certificate},{self.key}"


@dataclass(slots=True, kw_only=True)
class LogonCa:
    """A CA and what it does."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()
    """Itself and its superiors below the root, for clients to send."""
    revoked: list[int] = field(default_factory=list)
    crl_number: int = 0
    crl_url: str = ""
    """Where certificates that it issues say its CRL is; "": they say nothing."""
    freshest_url: str = ""
    """Where its CRLs say that the delta CRL is."""
    ocsp_url: str = ""

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issuing_ca(self, name: str = "Issuing CA") -> "LogonCa":
        """Issue a CA below this one."""
        key = new_key()
        certificate = _ca_certificate(
            name, key, self.certificate.subject, self.private_key, 0, self._pointers()
        )
        return LogonCa(certificate=certificate, private_key=key, chain=(certificate, *self.chain))

    def _pointers(self) -> list[x509.ExtensionType]:
        """Return what certificates that it issues say about where its revocation data is."""
        found: list[x509.ExtensionType] = []
        if self.crl_url:
            found.append(x509.CRLDistributionPoints([_point(self.crl_url)]))
        if self.ocsp_url:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(self.ocsp_url)
            )
            found.append(x509.AuthorityInformationAccess([access]))
        return found

    def crl(
        self,
        days: int = 7,
        *,
        base: int | None = None,
        ends_in: datetime.timedelta | None = None,
        more: Sequence[int] = (),
    ) -> bytes:
        """Make the next CRL, DER; base: a delta CRL to that number.

        ends_in: instead of days. more: serial numbers revoked besides, in this list alone.
        """
        self.crl_number += 1
        now = _now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _DAY)
            .next_update(now + (days * _DAY if ends_in is None else ends_in))
            .add_extension(x509.CRLNumber(self.crl_number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.private_key.public_key()),
                critical=False,
            )
        )
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
        elif self.freshest_url:
            builder = builder.add_extension(
                x509.FreshestCRL([_point(self.freshest_url)]), critical=False
            )
        for serial in (*self.revoked, *more):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self.private_key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.DER)

    def issue(
        self,
        folder: Path,
        stem: str,
        *,
        upn: str | None = None,
        sid: str | None = None,
        key: PrivateKey | None = None,
        days: int = 30,
    ) -> LogonIdentity:
        """Issue a logon certificate and write it with its key; negative days: expired."""
        private_key = key or new_key()
        now = _now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)]))
            .issuer_name(self.certificate.subject)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - (abs(days) + 1) * _DAY)
            .not_valid_after(now + days * _DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([_PKINIT_CLIENT, _SMART_CARD_LOGON]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.private_key.public_key()),
                critical=False,
            )
        )
        for pointer in self._pointers():
            builder = builder.add_extension(pointer, critical=False)
        if upn is not None:
            name = x509.OtherName(_UPN, _tlv(0x0C, upn.encode()))
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        if sid is not None:
            builder = builder.add_extension(sid_extension(sid), critical=False)
        leaf = builder.sign(self.private_key, hashes.SHA256())
        certificate, secret = folder / f"{stem}.pem", folder / f"{stem}.key"
        pem = serialization.Encoding.PEM
        certificate.write_bytes(b"".join(c.public_bytes(pem) for c in (leaf, *self.chain)))
        write_secret(
            secret,
            private_key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return LogonIdentity(
            certificate=certificate,
            key=secret,
            leaf=leaf,
            private_key=private_key,
            chain=self.chain,
        )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _point(url: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)


def _ca_certificate(
    name: str,
    key: PrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    path_length: int,
    pointers: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    now = _now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * _DAY)
        .not_valid_after(now + 365 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    for pointer in pointers:
        builder = builder.add_extension(pointer, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def new_root(name: str = "Logon Root CA") -> LogonCa:
    """Make a self-signed root; it is in no chain that clients send."""
    key = new_key()
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return LogonCa(certificate=_ca_certificate(name, key, issuer, key, 1), private_key=key)
