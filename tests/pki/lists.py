"""CRLs and OCSP responses for the tests of revocation, made with another library."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.pki import chains
from tests.pki.chains import NOW, MadeChain, key

HOUR = datetime.timedelta(hours=1)
CA, ROOT = 1, 2
"""Indexes of the issuing CA and of the root in a chain of three."""


def load(made: MadeChain, index: int) -> x509.Certificate:
    """Return a certificate of a chain of three."""
    encoded = (made.leaf, *made.sent, made.root)
    return x509.load_der_x509_certificate(encoded[index])


def crl(
    made: MadeChain,
    issuer: int = CA,
    *,
    revoked: dict[int, x509.ReasonFlags] | None = None,
    number: int | None = 1,
    base: int | None = None,
    scope: x509.IssuingDistributionPoint | None = None,
    signer: str = "",
    this_update: datetime.datetime = NOW - HOUR,
    next_update: datetime.datetime = NOW + 24 * HOUR,
    critical: x509.ExtensionType | None = None,
    authority: str = "",
) -> bytes:
    """Make a CRL of a CA of the chain."""
    signing = key(signer or f"CA {issuer}")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(load(made, issuer).subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    if scope is not None:
        builder = builder.add_extension(scope, critical=True)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    if authority:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key(authority).public_key())
        builder = builder.add_extension(identifier, critical=False)
    for serial, reason in (revoked or {}).items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - HOUR)
        if reason is not x509.ReasonFlags.unspecified:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    made_list = builder.sign(signing, hashes.SHA256())
    return made_list.public_bytes(serialization.Encoding.DER)


def responder(
    made: MadeChain,
    *,
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.OCSP_SIGNING,),
    issuer_key: str = "CA 1",
    no_check: bool = True,
    not_after: datetime.datetime = NOW + 24 * HOUR,
) -> x509.Certificate:
    """Make the certificate of a delegated responder."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(chains.directory_name((x509.NameOID.COMMON_NAME, "responder")))
        .issuer_name(load(made, CA).subject)
        .public_key(key("responder").public_key())
        .serial_number(7777)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(not_after)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if no_check:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    return builder.sign(key(issuer_key), hashes.SHA256())


def response(
    made: MadeChain,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    by: x509.Certificate | None = None,
    this_update: datetime.datetime = NOW - HOUR,
    next_update: datetime.datetime | None = NOW + 24 * HOUR,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """Make an OCSP response about the leaf; by: a delegated responder."""
    issuer = load(made, CA)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=load(made, 0),
            issuer=issuer,
            algorithm=digest or hashes.SHA1(),  # noqa: S303  # the usual hash of a CertID
            cert_status=status,
            this_update=this_update,
            next_update=next_update,
            revocation_time=NOW - HOUR if revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, by or issuer)
    )
    if by is not None:
        builder = builder.certificates([by])
    signing = key("responder" if by is not None else "CA 1")
    made_response = builder.sign(signing, hashes.SHA256())
    return made_response.public_bytes(serialization.Encoding.DER)
