"""The realm's own certification authority: root, KDC and client certificates, CRLs, PEM files.

Rules
  1. Keys and DER go in and out as values. Files, their modes and sealing are the caller's.
  2. Time is an argument. Serial numbers and new keys come from the operating system: this is the
     one module of `pki` that draws randomness.
  3. Every certificate goes through `_issue`: names are encoded by `pki.x500`, because the names
     that Windows puts into Hello certificates are longer than the 64 characters X.520 allows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pki import der, names, oids
from pki.certificate import Certificate, encode_time
from pki.crl import REASONS
from pki.errors import ChainFault, KeyFault, PkiError
from pki.templates import HTTP, ISSUING_CA, KDC, LOGON, OCSP, Template
from pki.x500 import Name, encode_name, simple_name

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
SubjectKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_Digest = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

BACKDATE = timedelta(minutes=5)  # a client's clock may be this far behind (RFC 4120: the same skew)
HELLO_DAYS = 10957  # Windows gives its self-signed Hello certificates 30 years
ROOT_DAYS = 3650
CRL_DAYS = 7


class KeyType(StrEnum):
    """Key types the realm makes; the values are those of the command line."""

    RSA_2048 = "rsa2048"
    EC_P256 = "ec-p256"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its private key; as an issuer, the realm's CA itself."""

    certificate_der: bytes
    private_key: PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointers:
    """URLs that a certificate names, for who judges it."""

    crl: str | None = None
    """Distribution point of the issuer's CRL."""
    issuer: str | None = None
    """Where the issuer's own certificate is (AIA caIssuers)."""
    ocsp: str | None = None
    """Where the issuer's OCSP responder is."""


NOWHERE = Pointers()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedCertificate:
    """One line of a CRL."""

    serial_number: int
    date: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified


def reason_flag(reason: int) -> x509.ReasonFlags:
    """Return the library's name for a CRLReason (RFC 5280 5.3.1)."""
    return x509.ReasonFlags(REASONS[reason])


# -- keys and PEM ----------------------------------------------------------------------------


def generate_key(key_type: KeyType) -> PrivateKey:
    """Generate a private key."""
    if key_type is KeyType.RSA_2048:
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def private_key_to_pem(key: PrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def private_key_from_pem(data: bytes) -> PrivateKey:
    """Read the first private key of a PEM file, unencrypted. Raises PkiError(KeyFault)."""
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise PkiError(KeyFault.MALFORMED, "private key PEM") from None
    except UnsupportedAlgorithm:
        raise PkiError(KeyFault.UNSUPPORTED, "private key PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PkiError(KeyFault.UNSUPPORTED, "private key PEM")
    return key


def certificate_to_pem(certificate_der: bytes) -> bytes:
    """Write one certificate as PEM."""
    return x509.load_der_x509_certificate(certificate_der).public_bytes(serialization.Encoding.PEM)


def certificates_from_pem(data: bytes) -> tuple[bytes, ...]:
    """Read all certificates of a PEM file, as DER in the order of the file. Raises PkiError."""
    try:
        found = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion):
        raise PkiError(ChainFault.MALFORMED, "certificate PEM") from None
    return tuple(c.public_bytes(serialization.Encoding.DER) for c in found)


# -- issuing ---------------------------------------------------------------------------------


def _digest_and_algorithm(key: PrivateKey) -> tuple[_Digest, bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        null = der.tlv(der.NULL, b"")
        return hashes.SHA256(), der.sequence(der.encode_oid(oids.SHA256_WITH_RSA), null)
    if key.curve.key_size <= 256:
        return hashes.SHA256(), der.sequence(der.encode_oid(oids.ECDSA_WITH_SHA256))
    if key.curve.key_size <= 384:
        return hashes.SHA384(), der.sequence(der.encode_oid(oids.ECDSA_WITH_SHA384))
    return hashes.SHA512(), der.sequence(der.encode_oid(oids.ECDSA_WITH_SHA512))


def _sign(key: PrivateKey, data: bytes, digest: _Digest) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, ec.ECDSA(digest))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = der.tlv(der.BOOLEAN, b"\xff") if critical else b""
    return der.sequence(der.encode_oid(oid), flag, der.encode_octet_string(value))


def _constraints(*, ca: bool, critical: bool, path_length: int | None = None) -> bytes:
    value = x509.BasicConstraints(ca=ca, path_length=path_length).public_bytes()
    return _extension(oids.ID_CE_BASIC_CONSTRAINTS, value, critical=critical)


def _purposes(*purposes: str) -> bytes:
    return _extension(oids.ID_CE_EXT_KEY_USAGE, der.sequence(*map(der.encode_oid, purposes)))


def _usage(key: SubjectKey, *, ca: bool = False) -> bytes:
    value = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca and isinstance(key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=not ca and isinstance(key, ec.EllipticCurvePublicKey),
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    return _extension(oids.ID_CE_KEY_USAGE, value.public_bytes(), critical=True)


def _key_id(key: SubjectKey) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def _key_identifiers(subject: SubjectKey, issuer_key_id: bytes) -> list[bytes]:
    own = der.encode_octet_string(_key_id(subject))
    issuer = der.sequence(der.tlv(0x80, issuer_key_id))
    return [
        _extension(oids.ID_CE_SUBJECT_KEY_IDENTIFIER, own),
        _extension(oids.ID_CE_AUTHORITY_KEY_IDENTIFIER, issuer),
    ]


def _spki(key: SubjectKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _issue(
    *,
    signer: PrivateKey,
    issuer: bytes,
    subject: bytes,
    public_key: SubjectKey,
    now: datetime,
    days: int,
    extensions: Iterable[bytes],
    latest: datetime | None = None,
) -> bytes:
    """Build and sign a version 3 certificate; issuer and subject are encoded Names.

    latest: it ends no later; a certificate that outlives its issuer's is of no use.
    """
    end = now + timedelta(days=days)
    if latest is not None:
        end = min(end, latest)
    digest, algorithm = _digest_and_algorithm(signer)
    tbs = der.sequence(
        der.explicit(0, der.encode_integer(2)),
        der.encode_integer(x509.random_serial_number()),
        algorithm,
        issuer,
        der.sequence(encode_time(now - BACKDATE), encode_time(end)),
        subject,
        _spki(public_key),
        der.explicit(3, der.sequence(*extensions)),
    )
    return der.sequence(tbs, algorithm, der.encode_bit_string(_sign(signer, tbs, digest)))


def _issue_under(
    ca: IssuedCertificate,
    template: Template,
    public_key: SubjectKey,
    subject: Name,
    now: datetime,
    days: int | None,
    extensions: Iterable[bytes],
    pointers: Pointers = NOWHERE,
) -> bytes:
    authority = Certificate(ca.certificate_der)
    key_id = authority.subject_key_identifier() or _key_id(ca.private_key.public_key())
    is_ca = template.is_ca
    return _issue(
        signer=ca.private_key,
        issuer=authority.subject,
        subject=encode_name(subject),
        public_key=public_key,
        now=now,
        days=template.days if days is None else days,
        extensions=[
            _constraints(ca=is_ca, critical=True, path_length=0 if is_ca else None),
            _usage(public_key, ca=is_ca),
            *([_purposes(*template.purposes)] if template.purposes else []),
            *extensions,
            *_pointers(pointers),
            *_key_identifiers(public_key, key_id),
        ],
        latest=authority.validity()[1],
    )


def create_root(
    realm: str,
    now: datetime,
    key: PrivateKey | None = None,
    days: int = ROOT_DAYS,
    *,
    common_name: str = "Keytrust root CA",
) -> IssuedCertificate:
    """Create a self-signed CA certificate named O=<realm>, CN=<common_name>.

    Without a key an RSA-2048 one is made. Also serves as a throwaway issuer for `kinit`, which
    sends no self-signed certificate; give that one a name of its own.
    """
    private_key = key or generate_key(KeyType.RSA_2048)
    public_key = private_key.public_key()
    name = encode_name(
        simple_name((oids.ID_AT_ORGANIZATION, realm), (oids.ID_AT_COMMON_NAME, common_name))
    )
    certificate = _issue(
        signer=private_key,
        issuer=name,
        subject=name,
        public_key=public_key,
        now=now,
        days=days,
        extensions=[
            _constraints(ca=True, critical=True),
            _usage(public_key, ca=True),
            *_key_identifiers(public_key, _key_id(public_key))[:1],
        ],
    )
    return IssuedCertificate(certificate_der=certificate, private_key=private_key)


def issue_kdc_certificate(
    ca: IssuedCertificate,
    realm: str,
    dns_names: tuple[str, ...],
    netbios: str | None,
    key_type: KeyType,
    now: datetime,
    days: int = KDC.days,
    *,
    key: PrivateKey | None = None,
    pointers: Pointers = NOWHERE,
    krbtgt_san: bool = True,
) -> IssuedCertificate:
    """Issue a KDC certificate that MIT, Heimdal and Windows clients accept.

    dns_names: the KDC's host names; the domain's own name (the realm in lower case) and the
    NetBIOS name are added, as the Kerberos Authentication template of Windows does. pointers: its
    CRL is what Windows clients under strict KDC validation fetch. krbtgt_san: without
    id-pkinit-san it is like a domain controller's, and MIT and Heimdal clients must be
    configured to go by the host name (tools of the impacket family cannot read that SAN).
    Source: RFC 4556 3.2.4; [MS-PKCA] 3.1.5.1.
    """
    private_key = key or generate_key(key_type)
    hosts = dict.fromkeys((*dns_names, realm.lower(), *((netbios,) if netbios else ())))
    krbtgt = (names.pkinit_name(names.krbtgt_name(realm)),) if krbtgt_san else ()
    alternative = names.encode_subject_alt_name(*krbtgt, *map(names.dns_name, hosts))
    extensions = [_extension(oids.ID_CE_SUBJECT_ALT_NAME, alternative)]
    subject = simple_name(
        (oids.ID_AT_ORGANIZATION, realm), (oids.ID_AT_COMMON_NAME, next(iter(hosts)))
    )
    certificate = _issue_under(
        ca, KDC, private_key.public_key(), subject, now, days, extensions, pointers
    )
    return IssuedCertificate(certificate_der=certificate, private_key=private_key)


def issue_tls_certificate(
    ca: IssuedCertificate,
    realm: str,
    dns_names: tuple[str, ...],
    addresses: tuple[str, ...],
    now: datetime,
    days: int = HTTP.days,
    *,
    key: PrivateKey | None = None,
    pointers: Pointers = NOWHERE,
) -> IssuedCertificate:
    """Issue the certificate of the realm's own HTTPS: serverAuth, with a P-256 key.

    dns_names: at least one; the first is the common name. addresses: IP addresses in text form,
    for clients that are configured with one. Source: RFC 5280 4.2.1.6, 4.2.1.12.
    """
    private_key = key or generate_key(KeyType.EC_P256)
    alternative = names.encode_subject_alt_name(
        *map(names.dns_name, dict.fromkeys(dns_names)),
        *map(names.ip_address_name, dict.fromkeys(addresses)),
    )
    extensions = [_extension(oids.ID_CE_SUBJECT_ALT_NAME, alternative)]
    subject = simple_name((oids.ID_AT_ORGANIZATION, realm), (oids.ID_AT_COMMON_NAME, dns_names[0]))
    certificate = _issue_under(
        ca, HTTP, private_key.public_key(), subject, now, days, extensions, pointers
    )
    return IssuedCertificate(certificate_der=certificate, private_key=private_key)


def issue_client_leaf(
    issuer: IssuedCertificate,
    public_key: SubjectKey,
    subject: Name,
    now: datetime,
    days: int | None = None,
    *,
    template: Template = LOGON,
    alternative_names: tuple[bytes, ...] = (),
    sid: str | None = None,
    extensions: tuple[bytes, ...] = (),
    pointers: Pointers = NOWHERE,
) -> bytes:
    """Issue a certificate for a user or a computer and return its DER.

    Under certificate trust the SID maps it to its account; without one the mapping is weak. For
    key trust no name in it matters and the issuer may be a throwaway one: MIT's kinit sends exactly
    this leaf. alternative_names: encoded GeneralNames; sid: adds the SID extension; extensions:
    further encoded ones. Source: MS-PKCA 3.1.5.2.1; KB5014754.
    """
    all_extensions = [*extensions]
    if alternative_names:
        value = names.encode_subject_alt_name(*alternative_names)
        all_extensions.append(_extension(oids.ID_CE_SUBJECT_ALT_NAME, value))
    if sid is not None:
        value = names.encode_sid_extension(sid)
        all_extensions.append(_extension(oids.ID_MS_SID_EXTENSION, value))
    return _issue_under(issuer, template, public_key, subject, now, days, all_extensions, pointers)


def issue_issuing_ca(
    root: IssuedCertificate,
    realm: str,
    now: datetime,
    days: int = ISSUING_CA.days,
    *,
    key: PrivateKey | None = None,
    common_name: str = "Keytrust issuing CA",
    pointers: Pointers = NOWHERE,
) -> IssuedCertificate:
    """Issue the certificate of a CA below a root: pathLenConstraint 0, so leaves alone."""
    private_key = key or generate_key(KeyType.RSA_2048)
    subject = simple_name((oids.ID_AT_ORGANIZATION, realm), (oids.ID_AT_COMMON_NAME, common_name))
    certificate = _issue_under(
        root, ISSUING_CA, private_key.public_key(), subject, now, days, (), pointers
    )
    return IssuedCertificate(certificate_der=certificate, private_key=private_key)


def issue_ocsp_certificate(
    ca: IssuedCertificate, realm: str, now: datetime, days: int = OCSP.days
) -> IssuedCertificate:
    """Issue the certificate of an OCSP responder that answers for this CA (RFC 6960 4.2.2.2).

    It has id-pkix-ocsp-nocheck, for nobody could say whether it is revoked: keep it short-lived.
    """
    private_key = generate_key(KeyType.EC_P256)
    subject = simple_name(
        (oids.ID_AT_ORGANIZATION, realm), (oids.ID_AT_COMMON_NAME, "Keytrust OCSP responder")
    )
    extensions = [_extension(oids.ID_PKIX_OCSP_NOCHECK, der.tlv(der.NULL, b""))]
    certificate = _issue_under(ca, OCSP, private_key.public_key(), subject, now, days, extensions)
    return IssuedCertificate(certificate_der=certificate, private_key=private_key)


def public_key_from_csr(data: bytes) -> SubjectKey:
    """Take the key out of a PKCS#10 request (PEM or DER) whose signature proves its possession.

    Nothing else of the request counts: names are the CA's to decide.
    Raises PkiError(KeyFault).
    """
    try:
        is_pem = b"-----BEGIN" in data
        request = (x509.load_pem_x509_csr if is_pem else x509.load_der_x509_csr)(data)
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, x509.InvalidVersion):
        raise PkiError(KeyFault.MALFORMED, "certificate request") from None
    except UnsupportedAlgorithm:
        raise PkiError(KeyFault.UNSUPPORTED, "certificate request") from None
    if not signed:
        raise PkiError(KeyFault.MALFORMED, "the request is not signed with its own key")
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise PkiError(KeyFault.UNSUPPORTED, "certificate request")
    return key


def _pointers(pointers: Pointers) -> list[bytes]:
    out = []
    if pointers.crl is not None:
        # DistributionPoint: distributionPoint [0] { fullName [0] GeneralNames }
        full_name = der.explicit(0, der.explicit(0, names.uri_name(pointers.crl)))
        points = der.sequence(der.sequence(full_name))
        out.append(_extension(oids.ID_CE_CRL_DISTRIBUTION_POINTS, points))
    places = ((oids.ID_AD_OCSP, pointers.ocsp), (oids.ID_AD_CA_ISSUERS, pointers.issuer))
    access = [
        der.sequence(der.encode_oid(method), names.uri_name(url))
        for method, url in places
        if url is not None
    ]
    if access:
        out.append(_extension(oids.ID_PE_AUTHORITY_INFO_ACCESS, der.sequence(*access)))
    return out


def self_signed_hello_certificate(
    key: PrivateKey,
    subject: Name,
    now: datetime,
    days: int = HELLO_DAYS,
    *,
    key_usage: bool = False,
) -> bytes:
    """Make the self-signed certificate that Windows makes for a Hello key, and return its DER.

    Exactly basicConstraints CA=FALSE and the smart card logon EKU: no SKI, no KeyUsage, no SAN.
    subject: for a user CN=<SID>/<GUID>/login.windows.net/<tenant GUID>/<UPN>, for a computer
    CN=<SID>; it has no effect on the logon.
    key_usage: add keyUsage digitalSignature as well: Heimdal's kinit (7.8) sends a request
    without any signature when its only certificate lacks it.
    """
    name = encode_name(subject)
    return _issue(
        signer=key,
        issuer=name,
        subject=name,
        public_key=key.public_key(),
        now=now,
        days=days,
        extensions=[
            _constraints(ca=False, critical=False),
            *([_usage(key.public_key())] if key_usage else []),
            _purposes(oids.ID_MS_KP_SMARTCARD_LOGON),
        ],
    )


def create_crl(
    ca: IssuedCertificate,
    number: int,
    revoked: Iterable[RevokedCertificate],
    now: datetime,
    days: int = CRL_DAYS,
) -> bytes:
    """Create a CRL (RFC 5280 5) and return its DER. The caller keeps `number` rising."""
    authority = x509.load_der_x509_certificate(ca.certificate_der)
    key_id = Certificate(ca.certificate_der).subject_key_identifier()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now.astimezone(UTC) - BACKDATE)
        .next_update(now.astimezone(UTC) + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier(key_id or _key_id(ca.private_key.public_key()), None, None),
            critical=False,
        )
    )
    for entry in revoked:
        line = (
            x509.RevokedCertificateBuilder()
            .serial_number(entry.serial_number)
            .revocation_date(entry.date.astimezone(UTC))
        )
        if entry.reason is not x509.ReasonFlags.unspecified:  # RFC 5280 5.3.1: absent then
            line = line.add_extension(x509.CRLReason(entry.reason), critical=False)
        builder = builder.add_revoked_certificate(line.build())
    crl = builder.sign(ca.private_key, _digest_and_algorithm(ca.private_key)[0])
    return crl.public_bytes(serialization.Encoding.DER)
