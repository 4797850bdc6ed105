"""Certificate trust: the signer's certificate leads to a logon CA and is this account's.

Rules
  1. `CertTrust` is one immutable snapshot: anchors, logon CAs, revocation data, policies. A reload
     makes another. What it owns besides is a bounded memory of chains that were valid.
  2. Order, cheap before dear: known chain, else path, logon CA, revocation; then the mapping, which
     is judged on every logon because accounts change.
  3. The issuer of a logon certificate must itself be a logon CA (as NTAuth demands): a CA that is
     trusted for something else, or that stands above, may not make logons (CVE-2025-26647).
  4. Nothing here is asked for a key that is registered on an account (row C12).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from directory.backend import Directory
from directory.model import Account
from kdc.errors import KdcError
from kdc.trust import KINDS, SignerEvidence, TrustVerdict
from kdc.trust.chain_refusal import refusal_from_chain
from kdc.trust.logon_names import LogonNames, read_logon_names
from kdc.trust.mapping import MappingPolicy, judge_mapping
from kdc.wire.constants import ErrorCode
from pki import oids
from pki.certificate import Certificate
from pki.chain import Chain, ChainProfile, TrustPool, chain_error, find_chain, subject_text
from pki.errors import ChainError, ChainFault, PkiError
from pki.revocation import RevocationSource, Status
from pki.x500 import canonical_name

MAX_REMEMBERED = 4096
"""Chains remembered; one costs about 4 KiB with its names."""

LOGON_PURPOSES = frozenset(
    (oids.ID_MS_KP_SMARTCARD_LOGON, oids.ID_KP_CLIENT_AUTH, oids.ID_PKINIT_KP_CLIENT_AUTH)
)
EKU_PROFILES: dict[str, ChainProfile] = {
    # MS-PKCA 3.1.5.2.1: without extKeyUsage everything is allowed.
    "windows": ChainProfile(purposes=LOGON_PURPOSES, any_purpose=True),
    "kpClientAuth": ChainProfile(
        # RFC 4556 3.2.2: a KDC that asks for the purpose takes smart-card logon for it as well.
        purposes=frozenset((oids.ID_PKINIT_KP_CLIENT_AUTH, oids.ID_MS_KP_SMARTCARD_LOGON)),
        purpose_required=True,
    ),
    "none": ChainProfile(),
}
"""`pkinit_eku_checking` -> what a logon certificate must be for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogonChain:
    """A logon certificate that was found valid, and until when that holds."""

    names: LogonNames
    not_after: datetime
    """When the first certificate of the chain expires: no ticket lives longer."""
    valid_from: datetime
    valid_until: datetime
    """The end of what the verdict rests on: certificates, CRLs, OCSP responses."""
    facts: tuple[tuple[str, str], ...]
    """The fields that Windows' event 4768 has of a certificate."""
    warnings: tuple[str, ...] = ()
    asked: tuple[bytes, ...] = ()
    """SHA-256 of each certificate whose revocation was asked about."""
    marks: tuple[bytes | None, ...] = ()
    """Which fetched OCSP responses answered then (`RevocationSource.marks`)."""
    edition: object | None = None
    """Of the fetched responses that the marks were last compared with. Not themselves: thousands of
    remembered chains would keep as many megabytes of what was replaced."""


class ChainMemory:
    """Chains that were valid, by the SHA-256 of the leaf. Owner: CertTrust. Bound: LRU."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._chains: OrderedDict[bytes, LogonChain] = OrderedDict()

    def find(self, digest: bytes, now: datetime) -> LogonChain | None:
        """Return a chain that still holds now."""
        found = self._chains.get(digest)
        if found is None:
            return None
        if not found.valid_from <= now <= found.valid_until:
            del self._chains[digest]
            return None
        self._chains.move_to_end(digest)
        return found

    def remember(self, digest: bytes, chain: LogonChain) -> None:
        """Keep a valid chain; the one used longest ago makes room."""
        self._chains[digest] = chain
        while len(self._chains) > self._limit:
            self._chains.popitem(last=False)

    def __len__(self) -> int:
        return len(self._chains)


def ca_identity(certificate: Certificate) -> tuple[object, bytes]:
    """Return what a CA is known by: its name and key, which a renewed certificate keeps."""
    return canonical_name(certificate.subject), certificate.subject_public_key_info


@dataclass(slots=True, kw_only=True)
class CertTrust:
    """Everything certificate trust rests on. A reload makes a new one."""

    pool: TrustPool
    logon_cas: frozenset[tuple[object, bytes]]
    """`ca_identity` of each CA that may issue logon certificates."""
    profile: ChainProfile
    mapping: MappingPolicy
    revocation: RevocationSource
    memory: ChainMemory = field(default_factory=ChainMemory)
    seen: Callable[[bytes], None] | None = None
    """Told of each leaf (DER) whose path was found valid, before revocation is asked: who fetches
    revocation data learns so what will be needed. Never of a stranger's certificate."""

    def certifiers(self) -> tuple[Certificate, ...]:
        """List the CAs that a client could have a certificate of: for TD-TRUSTED-CERTIFIERS."""
        cas: Iterable[Certificate] = (*self.pool.anchors, *self.pool.intermediates)
        return tuple(c for c in cas if ca_identity(c) in self.logon_cas)

    def valid_chain(
        self, certificate: bytes, intermediates: tuple[bytes, ...], now: datetime
    ) -> LogonChain:
        """Return the valid chain of a logon certificate, remembered or found now.

        certificate, intermediates: DER; nothing is said of who holds the key. Raises ChainError.
        """
        digest = hashlib.sha256(certificate).digest()
        found = self.memory.find(digest, now)
        edition = self.revocation.fetched.edition
        if found is not None and found.edition is not edition:
            # Other responses were fetched: the chain holds as long as its own are the same.
            if self.revocation.marks(found.asked) == found.marks:
                found = replace(found, edition=edition)
                self.memory.remember(digest, found)
            else:
                found = None
        if found is None:
            found = self._validate(certificate, intermediates, now)
            self.memory.remember(digest, found)
        return found

    def _validate(
        self, certificate: bytes, intermediates: tuple[bytes, ...], now: datetime
    ) -> LogonChain:
        leaf = Certificate(certificate)
        statuses: list[Status] = []

        def accept(chain: Chain) -> None:
            if ca_identity(chain.issuer) not in self.logon_cas:
                rule = "the issuer is trusted, but is not a logon CA"
                raise chain_error(ChainFault.NOT_A_LOGON_CA, rule, chain.issuer, 1)
            if self.seen is not None:
                self.seen(certificate)
            statuses[:] = [self.revocation.check_chain(chain, now)]

        chain = find_chain(leaf, intermediates, self.pool, self.profile, now, accept=accept)
        try:
            names = read_logon_names(leaf)
        except PkiError as error:
            detail = error.detail or str(error.fault.value)
            raise chain_error(ChainFault.MALFORMED, detail, leaf, 0) from None
        (status,) = statuses
        asked = tuple(hashlib.sha256(c.der).digest() for c in chain.certificates[:-1])
        return LogonChain(
            names=names,
            not_after=chain.not_after,
            valid_from=max(chain.not_before, status.valid_from or chain.not_before),
            valid_until=min(chain.not_after, status.valid_until or chain.not_after),
            facts=(
                ("certificate_issuer", subject_text(chain.issuer)),
                ("certificate_serial", f"{leaf.serial_number:x}"),
                # Windows shows the SHA-1 of the certificate under this name.
                ("certificate_thumbprint", _thumbprint(leaf)),
            ),
            warnings=status.warnings,
            asked=asked,
            marks=self.revocation.marks(asked),
            edition=self.revocation.fetched.edition,
        )


def _thumbprint(certificate: Certificate) -> str:
    return hashlib.sha1(certificate.der, usedforsecurity=False).hexdigest()


def valid_logon_chain(
    certificate: bytes, intermediates: tuple[bytes, ...], trust: CertTrust, now: datetime
) -> LogonChain:
    """Return the valid chain of a logon certificate.

    Raises KdcError: the codes of `kdc.errors.FAULT_CODES` for chains, with TD-TRUSTED-CERTIFIERS or
    TD-INVALID-CERTIFICATES.
    """
    try:
        return trust.valid_chain(certificate, intermediates, now)
    except ChainError as error:
        raise refusal_from_chain(error, trust.certifiers(), trust.profile) from None


def judge_certificate_trust(
    evidence: SignerEvidence,
    account: Account,
    directory: Directory,
    trust: CertTrust,
    now: datetime,
) -> TrustVerdict:
    """Judge a signer by its certificate. Assumes that its key is registered on no account.

    account: the one the request names.
    Raises KdcError: those of `valid_logon_chain`; KDC_ERR_CERTIFICATE_MISMATCH,
    KDC_ERR_CLIENT_NAME_MISMATCH.
    Source: MS-PKCA 3.1.5.2.1; RFC 4556 3.2.2.
    """
    chain = valid_logon_chain(evidence.certificate, evidence.intermediates, trust, now)
    if account.kind not in KINDS:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
            "accounts of this kind do not log on with certificates",
        )
    mapping = judge_mapping(chain.names, account, directory, trust.mapping)
    warnings = chain.warnings
    if mapping.strength == "weak":
        warnings = (*warnings, f"weak certificate mapping ({mapping.by})")
    return TrustVerdict(
        model="certificate",
        account_id=account.account_id,
        key_id="",
        strong=mapping.strength == "strong",
        mapping=mapping.by,
        not_after=chain.not_after,
        facts=chain.facts,
        warnings=warnings,
    )
