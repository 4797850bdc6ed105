"""From files to `CertTrust`: the CAs that may issue logon certificates, and what they have revoked.

Rules
  1. A logon CA is a file in `pki/logon-cas/`, or one named by `logon_cas`. It counts as an anchor
     when it is self-signed; any other needs its root in `pki/trusted-roots/`, which by itself may
     issue no logon certificate (NTAuth and the root store of Windows are divided so).
  2. A CA file that cannot be read is an error: a reload keeps the old snapshot. A CRL or an OCSP
     response that cannot be read is reported and left out, so that `require` refuses.
  3. Nothing here is asked during a request, but for one look a second at the files' times.
"""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kdc.config import ConfigError, KdcConfig
from kdc.state_folder import StateFolder
from kdc.trust.cert_trust import EKU_PROFILES, CertTrust, ca_identity
from kdc.trust.mapping import MappingPolicy
from pki.ca import certificates_from_pem
from pki.certificate import Certificate
from pki.chain import ChainProfile, TrustPool, find_chain, is_self_issued
from pki.crl import MAX_CRL_BYTES, Crl
from pki.errors import PkiError
from pki.ocsp import MAX_OCSP_BYTES, OcspResponse
from pki.pem import from_pem
from pki.revocation import RevocationSource
from pki.signatures import Digest

log = logging.getLogger(__name__)

MAX_CA_FILE_BYTES = 1 << 20
MAX_FILES = 1024  # in one folder
CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer", ".der")
CRL_SUFFIXES = (".crl", ".pem", ".der")
OCSP_SUFFIXES = (".ocsp", ".der", ".resp")
STALE_WARNING = timedelta(hours=24)
"""How long before a CRL ends the operator is told (row S04)."""


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a folder, by name; none when it is not there."""
    if not folder.is_dir():
        return []
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if len(found) > MAX_FILES:
        raise _bad(folder, f"it holds more than {MAX_FILES} files")
    return found


def _bad(path: Path, why: str) -> ConfigError:
    return ConfigError(
        str(path), None, "certificate trust cannot be set up", why, "mend or remove the file"
    )


def read_ca_file(path: Path) -> tuple[Certificate, ...]:
    """Read the certificates of one file, PEM or DER. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _bad(path, error.strerror or "it cannot be read") from None
    try:
        if len(data) > MAX_CA_FILE_BYTES:
            raise _bad(path, "it is too large for certificates")
        encoded = certificates_from_pem(data) if b"-----BEGIN" in data else (data,)
        found = tuple(map(Certificate, encoded))
        for certificate in found:
            ca_identity(certificate)
            certificate.extensions()
    except PkiError as error:
        raise _bad(path, f"it is no certificate ({error.detail or error.fault.value})") from None
    if not found:
        raise _bad(path, "it holds no certificate")
    return found


def _authorities(paths: list[Path]) -> Iterator[Certificate]:
    for path in paths:
        yield from read_ca_file(path)


def _crls(folder: StateFolder) -> Iterator[Crl]:
    paths = _files(folder.crls, CRL_SUFFIXES)
    for path in [*paths, *([folder.crl] if folder.crl.is_file() else [])]:
        try:
            if path.stat().st_size > MAX_CRL_BYTES:
                raise ValueError("it is too large")
            yield Crl(from_pem(path.read_bytes()))
        except (OSError, ValueError, PkiError) as error:
            log.error("%s is no CRL and is left out: %s", path.name, error)


def _responses(folder: StateFolder) -> Iterator[OcspResponse]:
    for path in _files(folder.ocsp, OCSP_SUFFIXES):
        try:
            if path.stat().st_size > MAX_OCSP_BYTES:
                raise ValueError("it is too large")
            yield OcspResponse(path.read_bytes())
        except (OSError, ValueError, PkiError) as error:
            log.error("%s is no OCSP response and is left out: %s", path.name, error)


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


def load_cert_trust(folder: StateFolder, config: KdcConfig) -> CertTrust | None:
    """Load the realm's certificate trust; None: there is no logon CA, and no chain is looked at.

    Raises ConfigError for a CA file that cannot be used.
    """
    named = [folder.root / name for name in config.logon_cas]
    logon = tuple(_authorities([*_files(folder.logon_cas, CERTIFICATE_SUFFIXES), *named]))
    if not logon:
        return None
    roots = tuple(_authorities(_files(folder.trusted_roots, CERTIFICATE_SUFFIXES)))
    anchors = (*(c for c in logon if is_self_issued(c)), *roots)
    pool = TrustPool(anchors, (c for c in logon if not is_self_issued(c)))
    profile = chain_profile(config)
    source = RevocationSource(config.revocation, profile, _crls(folder), _responses(folder))
    return CertTrust(
        pool=pool,
        logon_cas=frozenset(map(ca_identity, logon)),
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


def serve_cert_trust(folder: StateFolder, config: KdcConfig) -> CertTrust | None:
    """Load the realm's certificate trust for a worker; the log has what is wrong with it.

    Raises ConfigError.
    """
    trust = load_cert_trust(folder, config)
    if trust is not None:
        _tell(trust, datetime.now(UTC))
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


def _tell(trust: CertTrust, now: datetime) -> None:
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


Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(folder: StateFolder, config: KdcConfig) -> Fingerprint:
    """Return names, times and sizes of every file that certificate trust rests on."""
    places = (
        (folder.logon_cas, CERTIFICATE_SUFFIXES),
        (folder.trusted_roots, CERTIFICATE_SUFFIXES),
        (folder.crls, CRL_SUFFIXES),
        (folder.ocsp, OCSP_SUFFIXES),
    )
    paths = [path for place, suffixes in places for path in _files(place, suffixes)]
    paths += [folder.crl, *(folder.root / name for name in config.logon_cas)]
    found = []
    for path in paths:
        try:
            state = path.stat()
        except OSError:
            continue
        found.append((str(path), state.st_mtime_ns, state.st_size))
    return tuple(found)


WATCH_S = 1.0
"""How often the files are looked at: a revocation counts within a second or so."""
REMINDER_S = 3600.0
"""How often the log says again that a CRL is about to end."""


class CertificateWatch:
    """Notices changed CA, CRL and OCSP files between reloads. Owner: the worker."""

    def __init__(self, folder: StateFolder, config: KdcConfig) -> None:
        self._folder = folder
        self._config = config
        self._seen = fingerprint(folder, config)
        self._next_look = time.monotonic() + WATCH_S
        self._next_reminder = time.monotonic() + REMINDER_S

    def changed(self, trust: CertTrust | None, now: datetime) -> bool:
        """Tell whether a file changed since the last look; at most one look a second."""
        moment = time.monotonic()
        if moment < self._next_look:
            return False
        self._next_look = moment + WATCH_S
        if trust is not None and moment >= self._next_reminder:
            self._next_reminder = moment + REMINDER_S
            _tell(trust, now)
        try:
            found = fingerprint(self._folder, self._config)
        except (ConfigError, OSError):
            return False
        if found == self._seen:
            return False
        self._seen = found
        return True
