"""Would clients accept this KDC certificate? The demands of MIT, Heimdal and Windows, in words."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import names, oids
from pki.certificate import Certificate
from pki.errors import PkiError

MIN_RSA_BITS = 2048
NO_KRBTGT_SAN = "no id-pkinit-san"
"""How the problem begins that a realm with compat = tools has on purpose."""
RENEW_BEFORE = timedelta(days=14)  # time to notice and renew before logons stop

_KNOWN_EXTENSIONS = frozenset(
    (
        oids.ID_CE_SUBJECT_KEY_IDENTIFIER,
        oids.ID_CE_KEY_USAGE,
        oids.ID_CE_SUBJECT_ALT_NAME,
        oids.ID_CE_BASIC_CONSTRAINTS,
        oids.ID_CE_CRL_DISTRIBUTION_POINTS,
        oids.ID_CE_AUTHORITY_KEY_IDENTIFIER,
        oids.ID_CE_EXT_KEY_USAGE,
    )
)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

Problems = list[str]


def _key_problems(certificate: x509.Certificate) -> Problems:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ["its public key cannot be read"]
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            return [f"its RSA key has {key.key_size} bits; Windows asks for {MIN_RSA_BITS}"]
        return []
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return []
    return ["its key is neither RSA nor on P-256, P-384 or P-521"]


def _signature_problems(certificate: x509.Certificate) -> Problems:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    if isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        return []
    return ["it is not signed with SHA-256, SHA-384 or SHA-512"]


def _purpose_problems(certificate: x509.Certificate) -> Problems:
    try:
        present = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        purposes = {purpose.dotted_string for purpose in present}
    except x509.ExtensionNotFound:
        purposes = set()
    demands = (
        (oids.ID_PKINIT_KP_KDC, "id-pkinit-KPKdc (1.3.6.1.5.2.3.5): MIT, Heimdal and Windows"),
        (oids.ID_KP_SERVER_AUTH, "serverAuth: Windows"),
        (oids.ID_KP_CLIENT_AUTH, "clientAuth: Windows"),
    )
    return [f"its EKU lacks {who} ask for it" for oid, who in demands if oid not in purposes]


def _name_problems(certificate_der: bytes, realm: str, host: str) -> Problems:
    alternative = names.SubjectAltNames()
    try:
        value = Certificate(certificate_der).extension(oids.ID_CE_SUBJECT_ALT_NAME)
        if value is not None:
            alternative = names.decode_subject_alt_name(value)
    except PkiError:
        return ["its subjectAltName is malformed"]
    problems = []
    wanted = names.krbtgt_name(realm)
    if not any(
        name.realm == wanted.realm and name.components == wanted.components
        for name in alternative.pkinit
    ):
        problems.append(
            f"{NO_KRBTGT_SAN} krbtgt/{realm}@{realm} in its subjectAltName: "
            "MIT and Heimdal ask for it"
        )
    present = {name.lower() for name in alternative.dns}
    if realm.lower() not in present:
        problems.append(
            f"no dNSName {realm.lower()} (the domain) in its subjectAltName: Windows asks for it"
        )
    if host.lower() not in present:
        problems.append(
            f"no dNSName {host} (the host) in its subjectAltName: "
            "MIT with pkinit_kdc_hostname and Windows ask for it"
        )
    return problems


def _usage_problems(certificate: x509.Certificate) -> Problems:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return []  # RFC 5280 4.2.1.3: absent means any use
    problems = []
    if not usage.digital_signature:
        problems.append("its keyUsage lacks digitalSignature: every client asks for it")
    try:
        is_rsa = isinstance(certificate.public_key(), rsa.RSAPublicKey)
    except (ValueError, UnsupportedAlgorithm):
        return problems
    if is_rsa and not usage.key_encipherment:
        problems.append("its keyUsage lacks keyEncipherment: Windows asks for it")
    return problems


def _form_problems(certificate: x509.Certificate) -> Problems:
    problems = []
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        if constraints.value.ca:
            problems.append("it is a CA's certificate (basicConstraints CA:TRUE)")
    except x509.ExtensionNotFound:
        pass
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        if extension.critical and oid not in _KNOWN_EXTENSIONS:
            problems.append(f"it has a critical extension that clients do not know ({oid})")
    return problems


def _time_problems(certificate: x509.Certificate, now: datetime) -> Problems:
    if now < certificate.not_valid_before_utc:
        return [f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"]
    end = certificate.not_valid_after_utc
    if now > end:
        return [f"it expired on {end:%Y-%m-%d %H:%M} UTC"]
    # A short-lived certificate is not "about to expire" for its whole life.
    if end - now < min(RENEW_BEFORE, (end - certificate.not_valid_before_utc) / 4):
        return [f"it expires on {end:%Y-%m-%d %H:%M} UTC: renew it"]
    return []


def check_kdc_certificate(
    certificate_der: bytes, realm: str, host: str, now: datetime | None = None
) -> tuple[str, ...]:
    """Say what in a KDC certificate would make MIT, Heimdal or Windows clients refuse it.

    One phrase a problem ("its EKU lacks ..."), most important first; empty: all accept it. The
    chain, its revocation and the distribution point are not looked at, nor the dates without now.
    Source: RFC 4556 3.2.4; [MS-PKCA] 3.1.5.1; clients tried: MIT 1.20, Heimdal 7.8.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        extensions = certificate.extensions
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm):
        return ("it is not a well-formed X.509 certificate",)
    if certificate.version is not x509.Version.v3 or not len(extensions):
        return ("it is not a version 3 certificate with extensions",)
    return (
        *_key_problems(certificate),
        *_signature_problems(certificate),
        *_purpose_problems(certificate),
        *_name_problems(certificate_der, realm, host),
        *_usage_problems(certificate),
        *_form_problems(certificate),
        *([] if now is None else _time_problems(certificate, now)),
    )
