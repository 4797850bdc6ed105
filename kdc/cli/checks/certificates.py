"""The KDC's certificates, the CA's, and its revocation list (row S04)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from directory.sealing import read_secret_file
from kdc.cli.checks.finding import Finding, Patient, command_or, fail, guarded, ok, warn
from kdc.cli.state import MAX_PEM_BYTES
from kdc.client.errors import ClientError
from kdc.client.kdc_certificate import verify_kdc_certificate
from kdc.config import ConfigError
from kdc.server.certificates import load_cert_trust, problems_of
from kdc.server.revocation.status import read_status
from pki import ca, oids
from pki.certificate import Certificate
from pki.kdc_certificate import MIN_RSA_BITS, NO_KRBTGT_SAN, check_kdc_certificate
from pki.keys import public_key_from_certificate, public_key_from_cryptography

RENEW_KDC = timedelta(days=30)
RENEW_CA = timedelta(days=90)  # every client has to get the new one first
RENEW_CRL = timedelta(hours=24)  # row S04
MAX_SHOWN = 5  # of what could not be fetched
MAX_CRL_BYTES = 16 * 1024 * 1024

_ISSUE = "kdc cert issue-kdc, then SIGHUP to the server"
_MISSING_LISTS = "crl_urls, or the CA's current files in pki/crls and pki/trusted-roots"
_NEW_REALM = "kdc init --force makes a new realm; clients need its new pki/ca.pem"


def check_certificates(patient: Patient) -> Iterator[Finding]:
    """Look at everything that PKINIT clients judge the KDC by."""
    folder = patient.folder
    pairs = folder.kdc_certificates()
    if not pairs:
        yield fail(
            "certificates.kdc",
            "the KDC has no certificate: every logon with a key is refused (16)",
            f"kdc cert issue-kdc --dns kdc.{patient.config.domain}, then SIGHUP to the server",
        )
    anchors: list[bytes] = []
    yield from guarded("certificates.ca", _check_ca(patient, anchors))
    for certificate, key in pairs:
        yield from guarded(
            "certificates.kdc", _check_kdc(patient, certificate, key, tuple(anchors))
        )
    yield from guarded("certificates.logon_cas", _check_logon_cas(patient))
    yield from guarded("certificates.fetched", _check_fetched(patient))
    if folder.crl.exists():
        yield from guarded("certificates.crl", _check_crl(patient, tuple(anchors)))
    else:
        yield warn(
            "certificates.crl",
            f"there is no {folder.crl}: clients that look for one find none",
            command_or(("cert", "crl"), "only clients under strict KDC validation mind"),
        )


def _check_logon_cas(patient: Patient) -> Iterator[Finding]:
    """Look at what logons with certificates rest on: CAs, their roots, their lists."""
    name = "certificates.logon_cas"
    try:
        trust = load_cert_trust(patient.folder, patient.config)
    except ConfigError as error:
        yield fail(name, f"{error.path}: {error.why}", error.remedy)
        return
    if trust is None:
        yield ok(name, "there is no logon CA: only registered keys log on, not certificates")
        return
    problems = problems_of(trust, patient.now)
    for problem in problems:
        yield warn(name, problem, _MISSING_LISTS)
    if not problems:
        count = len(trust.certifiers())
        yield ok(name, f"{count} logon CA{'s' if count != 1 else ''}, with current CRLs")


def _check_fetched(patient: Patient) -> Iterator[Finding]:
    """Look at what was fetched of other CAs' revocation data, and what was not."""
    name, config = "certificates.fetched", patient.config
    if not config.fetch_revocation or config.revocation == "off":
        return
    status = read_status(patient.folder.fetched_status)
    if status is None or not status.sources:
        return
    bad = [s for s in status.sources if s.condition(patient.now) != "current"]
    for source in bad[:MAX_SHOWN]:
        condition = source.condition(patient.now)
        tell = fail if condition == "stale" and config.revocation == "require" else warn
        why = source.problem or "it was not asked for yet"
        yield tell(
            name,
            f"{source.urls[0]} ({source.issuer_name or 'of any CA'}): {condition}, {why}",
            "kdc cert fetched shows all of it; is the address right, and reached from here?",
        )
    if len(bad) > MAX_SHOWN:
        yield warn(name, f"and {len(bad) - MAX_SHOWN} more", "kdc cert fetched shows them")
    if not bad:
        count = len(status.sources)
        yield ok(name, f"{count} CRL{'s' if count != 1 else ''} or OCSP responses, all current")


# -- the KDC's -------------------------------------------------------------------------------


def _check_kdc(
    patient: Patient, path: Path, key_path: Path, anchors: tuple[bytes, ...]
) -> Iterator[Finding]:
    config, now, name = patient.config, patient.now, path.name
    found = ca.certificates_from_pem(path.read_bytes())
    leaf = found[0]
    problems = check_kdc_certificate(leaf, config.realm, config.domain)
    if config.compat == "tools":
        # The impacket family cannot read it, so such a realm's certificate is made without.
        problems = tuple(p for p in problems if not p.startswith(NO_KRBTGT_SAN))
    for problem in problems:
        yield fail("certificates.kdc", f"{name}: {problem}", _ISSUE)
    if not problems:
        yield ok("certificates.kdc", f"{name} has what MIT, Heimdal and Windows clients ask for")
    yield _judge_dates("certificates.kdc_dates", name, leaf, now, RENEW_KDC, _ISSUE)
    key = ca.private_key_from_pem(
        read_secret_file(key_path, MAX_PEM_BYTES, patient.trusted_paths)
    ).public_key()
    if public_key_from_cryptography(key) == public_key_from_certificate(leaf):
        yield ok("certificates.kdc_key", f"{key_path.name} is the key of {name}")
    else:
        yield fail("certificates.kdc_key", f"{key_path.name} is not the key of {name}", _ISSUE)
    try:
        verify_kdc_certificate(
            leaf,
            found[1:],
            anchors=anchors,
            realm=config.realm,
            domain=config.domain,
            # Dates have a line of their own.
            now=_within(leaf, now),
        )
        yield ok("certificates.chain", f"{name} chains to {patient.folder.ca_certificate.name}")
    except ClientError as error:
        yield fail("certificates.chain", f"{name}: {error.detail}", _ISSUE)


def _within(certificate: bytes, now: datetime) -> datetime:
    start, end = Certificate(certificate).validity()
    return min(max(now, start), end)


def _judge_dates(
    check: str, name: str, certificate: bytes, now: datetime, early: timedelta, fix: str
) -> Finding:
    start, end = Certificate(certificate).validity()
    # One that is made for a short life is not about to expire all its life.
    early = min(early, (end - start) / 4)
    if now < start:
        return fail(check, f"{name} is not valid before {start:%Y-%m-%d %H:%M} UTC", fix)
    if now > end:
        return fail(check, f"{name} expired on {end:%Y-%m-%d %H:%M} UTC", fix)
    shown = f"{name} is valid until {end:%Y-%m-%d}, {(end - now).days} days"
    return warn(check, shown, fix) if end - now < early else ok(check, shown)


# -- the CA's --------------------------------------------------------------------------------


def _check_ca(patient: Patient, anchors: list[bytes]) -> Iterator[Finding]:
    path = patient.folder.ca_certificate
    anchors += ca.certificates_from_pem(path.read_bytes())
    for data in anchors:
        weak = _weaknesses(x509.load_der_x509_certificate(data))
        for problem in weak:
            yield fail("certificates.ca", f"{path.name}: {problem}", _NEW_REALM)
        if not weak:
            yield ok("certificates.ca", f"{path.name} is a CA's, its key and signature are strong")
        yield _judge_dates(
            "certificates.ca_dates", path.name, data, patient.now, RENEW_CA, _NEW_REALM
        )


def _weaknesses(certificate: x509.Certificate) -> list[str]:
    problems = []
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_ca = constraints.value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        problems.append("it is not a CA's certificate")
    try:
        key, digest = certificate.public_key(), certificate.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return [*problems, "its key or signature is of an unknown kind"]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        problems.append(f"its RSA key has {key.key_size} bits; {MIN_RSA_BITS} is the least")
    elif not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        problems.append("its key is neither RSA nor on a curve that clients know")
    if not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        problems.append("it is not signed with SHA-256, SHA-384 or SHA-512")
    return problems


# -- the revocation list ---------------------------------------------------------------------


def _check_crl(patient: Patient, anchors: tuple[bytes, ...]) -> Iterator[Finding]:
    path, now = patient.folder.crl, patient.now
    data = path.read_bytes()[:MAX_CRL_BYTES]
    fix = command_or(
        ("cert", "crl"), "this version cannot renew it; only clients that fetch it mind"
    )
    try:
        is_pem = data.startswith(b"-----BEGIN")
        crl = (x509.load_pem_x509_crl if is_pem else x509.load_der_x509_crl)(data)
    except ValueError:
        yield fail("certificates.crl", f"{path} is no CRL", fix)
        return
    if not any(_signed_by(crl, anchor) for anchor in anchors):
        yield fail("certificates.crl", f"{path} is not signed by the realm's CA", fix)
        return
    for certificate, _ in patient.folder.kdc_certificates():
        for der in ca.certificates_from_pem(certificate.read_bytes())[:1]:
            serial = Certificate(der).serial_number
            if crl.get_revoked_certificate_by_serial_number(serial) is not None:
                yield fail("certificates.crl", f"{certificate.name} is revoked", _ISSUE)
    end = crl.next_update_utc
    # Without a distribution point no client knows where to look for it.
    level = fail if _is_referred_to(patient) else warn
    if end is None:
        yield warn("certificates.crl", f"{path.name} does not say when the next one comes", fix)
    elif now > end:
        shown = f"{path.name} expired on {end:%Y-%m-%d %H:%M} UTC"
        yield level("certificates.crl", shown, fix)
    elif end - now < RENEW_CRL:
        yield warn("certificates.crl", f"{path.name} expires on {end:%Y-%m-%d %H:%M} UTC", fix)
    else:
        yield ok("certificates.crl", f"{path.name} is valid until {end:%Y-%m-%d %H:%M} UTC")


def _signed_by(crl: x509.CertificateRevocationList, anchor: bytes) -> bool:
    key = x509.load_der_x509_certificate(anchor).public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    return crl.is_signature_valid(key)


def _is_referred_to(patient: Patient) -> bool:
    for path, _ in patient.folder.kdc_certificates():
        leaf = Certificate(ca.certificates_from_pem(path.read_bytes())[0])
        if leaf.extension(oids.ID_CE_CRL_DISTRIBUTION_POINTS) is not None:
            return True
    return False
