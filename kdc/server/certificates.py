"""From files to `CertTrust`: the CAs that may issue logon certificates, and what they have revoked.

Rules
  1. A logon CA is a file in `pki/logon-cas/`, or one named by `logon_cas`. It counts as an anchor
     when it is self-signed; any other needs its root in `pki/trusted-roots/`, which by itself may
     issue no logon certificate (NTAuth and the root store of Windows are divided so).
  2. A CA file that cannot be read is an error: a reload keeps the old snapshot. A CRL or an OCSP
     response that cannot be read is reported and left out, so that `require` refuses.
  3. Nothing here is asked during a request.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kdc.config import KdcConfig
from kdc.server.revocation_files import RevocationFiles, bad_file, list_files
from kdc.state_folder import StateFolder
from kdc.trust.cert_trust import EKU_PROFILES, CertTrust, ca_identity
from kdc.trust.mapping import MappingPolicy
from pki.ca import certificates_from_pem
from pki.certificate import Certificate
from pki.chain import ChainProfile, TrustPool, find_chain, is_self_issued
from pki.errors import PkiError
from pki.revocation import RevocationSource
from pki.signatures import Digest

log = logging.getLogger(__name__)

MAX_CA_FILE_BYTES = 1 << 20
CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer", ".der")
STALE_WARNING = timedelta(hours=24)
"""How long before a CRL ends the operator is told (row S04)."""


def read_ca_file(path: Path) -> tuple[Certificate, ...]:
    """Read the certificates of one file, PEM or DER. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise bad_file(path, error.strerror or "it cannot be read") from None
    try:
        if len(data) > MAX_CA_FILE_BYTES:
            raise bad_file(path, "it is too large for certificates")
        encoded = certificates_from_pem(data) if b"-----BEGIN" in data else (data,)
        found = tuple(map(Certificate, encoded))
        for certificate in found:
            ca_identity(certificate)
            certificate.extensions()
    except PkiError as error:
        raise bad_file(
            path, f"it is no certificate ({error.detail or error.fault.value})"
        ) from None
    if not found:
        raise bad_file(path, "it holds no certificate")
    return found


def _authorities(paths: list[Path]) -> Iterator[Certificate]:
    for path in paths:
        yield from read_ca_file(path)


def chain_profile(config: KdcConfig) -> ChainProfile:
    """Return what a logon certificate of this realm must be."""
    base = EKU_PROFILES[config.pkinit_eku_checking]
    digests = base.digests | ({Digest.SHA1} if config.legacy_sha1_cert else frozenset())
    return ChainProfile(
        purposes=base.purposes,
        purpose_required=base.purpose_required,
        any_purpose=base.any_purpose,
        digests=digests,
    )


def load_authorities(
    folder: StateFolder, config: KdcConfig
) -> tuple[TrustPool, frozenset[tuple[object, bytes]]]:
    """Load the CAs, and `ca_identity` of those that may issue logon certificates.

    Raises ConfigError for a file that cannot be used.
    """
    named = [folder.root / name for name in config.logon_cas]
    logon = tuple(_authorities([*list_files(folder.logon_cas, CERTIFICATE_SUFFIXES), *named]))
    roots = tuple(_authorities(list_files(folder.trusted_roots, CERTIFICATE_SUFFIXES)))
    anchors = (*(c for c in logon if is_self_issued(c)), *roots)
    pool = TrustPool(anchors, (c for c in logon if not is_self_issued(c)))
    return pool, frozenset(map(ca_identity, logon))


def load_cert_trust(
    folder: StateFolder, config: KdcConfig, files: RevocationFiles | None = None
) -> CertTrust | None:
    """Load the realm's certificate trust; None: there is no logon CA, and no chain is looked at.

    files: what was read of CRLs and OCSP responses before. Raises ConfigError for a CA file that
    cannot be used.
    """
    pool, logon = load_authorities(folder, config)
    if not logon:
        return None
    profile = chain_profile(config)
    files = files or RevocationFiles(folder)
    source = RevocationSource(
        config.revocation, profile, files.crls(), files.responses(), files.fetched()
    )
    return CertTrust(
        pool=pool,
        logon_cas=logon,
        profile=profile,
        mapping=MappingPolicy(
            strong_mapping=config.strong_mapping,
            backdating=timedelta(seconds=config.certificate_backdating_s),
            realm=config.realm,
            netbios=config.netbios,
            domain=config.domain,
        ),
        revocation=source,
    )


def serve_cert_trust(
    folder: StateFolder, config: KdcConfig, files: RevocationFiles | None = None
) -> CertTrust | None:
    """Load the realm's certificate trust for a worker; the log has what is wrong with it.

    Raises ConfigError.
    """
    trust = load_cert_trust(folder, config, files)
    if trust is not None:
        tell_problems(trust, datetime.now(UTC))
    return trust


def keep_newer_crls(trust: CertTrust | None, before: CertTrust | None) -> None:
    """Refuse CRLs in changed files whose number fell: what is loaded stays, and the log says so.

    trust: just loaded and not in use yet. The memory is the worker's own: it ends with it, and
    with the newer list.
    """
    if trust is None or before is None:
        return
    for fallen in trust.revocation.keep_newer(before.revocation):
        log.error("alarm: %s", fallen)


def tell_problems(trust: CertTrust, now: datetime) -> None:
    """Write into the log what would refuse logons, or soon will."""
    for problem in problems_of(trust, now):
        log.warning("certificate trust: %s", problem)


def problems_of(trust: CertTrust, now: datetime) -> tuple[str, ...]:
    """Say what would refuse logons, or soon will; one phrase each. For the log and for doctor."""
    problems = []
    profile = ChainProfile(
        target_is_ca=True, digests=trust.profile.digests, key_policy=trust.profile.key_policy
    )
    for authority in trust.certifiers():
        if trust.pool.is_anchor(authority):
            continue
        try:
            find_chain(authority, (), trust.pool, profile, now)
        except PkiError as error:
            problems.append(
                f"logon CA {authority.serial_number:x} leads to no trusted root: "
                f"{error.fault.value}"
            )
    if trust.revocation.policy == "off":
        return tuple(problems)
    authorities = (*trust.pool.anchors, *trust.pool.intermediates)
    problems += trust.revocation.prepare(authorities)
    expiry = trust.revocation.next_expiry()
    if expiry is None:
        problems.append("there is no CRL: revocation = require refuses every certificate")
    elif expiry < now:
        problems.append(f"a CRL ended on {expiry:%Y-%m-%d %H:%M} UTC")
    elif expiry - now < STALE_WARNING:
        problems.append(f"a CRL ends on {expiry:%Y-%m-%d %H:%M} UTC")
    return tuple(problems)
