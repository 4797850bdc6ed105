"""Path validation (RFC 5280 section 6) for logon certificates, with the reasons told apart.

Rules
  1. Pure: certificates, the time and the budget come in, a `Chain` or a ChainError goes out. The
     error names the certificate at fault and the rule.
  2. What clients send is material for a path, never trust. Trust is in the pool alone.
  3. Work is bounded before it is done: certificates read, steps of the search, signatures checked.
  4. Rules are data: a `ChainProfile` says what a leaf must be for one use.
  5. Stricter than section 6: an anchor's own dates, constraints and usage count as any CA's, and a
     CA's extKeyUsage limits what it may issue certificates for (as Windows and OpenSSL have it).

Theory of operation. A search from the leaf upwards tries each certificate whose subject is the
issuer wanted, ours first, and follows only signatures that verify. A path that reaches an anchor is
walked from the anchor down. If it breaks a rule, the search goes on: a CA may have several
certificates. The fault reported is that of the path that got furthest.

Not built on `cryptography.x509.verification` (50.0, tried on the chains of tests/pki/chains.py);
its errors name neither certificate nor rule, it refuses directoryName and UPN constraints, policy
constraints and issuers written in another case, and SHA-1 cannot be had. What we use of it is the
verification of single signatures.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pki import asn1, oids
from pki.certificate import Certificate
from pki.cms_syntax import AlgorithmIdentifier
from pki.errors import ChainError, ChainFault, CmsFault, PkiError
from pki.extensions import (
    KeyUsageBit,
    decode_authority_key_identifier,
    decode_basic_constraints,
    decode_ext_key_usage,
    decode_key_usage,
)
from pki.keys import KeyPolicy, check_key
from pki.name_constraints import NameLimits
from pki.policies import PolicyState
from pki.signatures import DIGEST_BY_OID, Digest, read_scheme, verify_octets
from pki.x500 import Name, canonical_name, decode_name, render_rfc4514

KNOWN_EXTENSIONS = frozenset(
    (
        oids.ID_CE_SUBJECT_KEY_IDENTIFIER,
        oids.ID_CE_KEY_USAGE,
        oids.ID_CE_SUBJECT_ALT_NAME,
        oids.ID_CE_ISSUER_ALT_NAME,
        oids.ID_CE_BASIC_CONSTRAINTS,
        oids.ID_CE_NAME_CONSTRAINTS,
        oids.ID_CE_CRL_DISTRIBUTION_POINTS,
        oids.ID_CE_FRESHEST_CRL,
        oids.ID_CE_CERTIFICATE_POLICIES,
        oids.ID_CE_POLICY_MAPPINGS,
        oids.ID_CE_POLICY_CONSTRAINTS,
        oids.ID_CE_INHIBIT_ANY_POLICY,
        oids.ID_CE_AUTHORITY_KEY_IDENTIFIER,
        oids.ID_CE_EXT_KEY_USAGE,
        oids.ID_PE_AUTHORITY_INFO_ACCESS,
        oids.ID_PKIX_OCSP_NOCHECK,
        oids.ID_MS_SID_EXTENSION,
    )
)
"""What may be marked critical: all that this module, revocation or the mapping judges."""

DIGESTS = frozenset((Digest.SHA256, Digest.SHA384, Digest.SHA512))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProfile:
    """What certificates of a chain must be for one use."""

    purposes: frozenset[str] = frozenset()
    """One of these must be in the leaf's extKeyUsage; empty: it is not looked at."""
    purpose_required: bool = False
    """Whether a leaf without extKeyUsage is refused."""
    any_purpose: bool = False
    """Whether anyExtendedKeyUsage is as good as one of `purposes`."""
    target_is_ca: bool = False
    """The chain to judge is a CA's own, not that of an end entity."""
    digests: frozenset[Digest] = DIGESTS
    """Digests that certificates may be signed with."""
    key_policy: KeyPolicy = field(default_factory=KeyPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkBudget:
    """How much work one chain may make."""

    certificates: int = 10
    """Certificates received with a request. The longest chain seen in use has five."""
    depth: int = 8
    """Certificates of one path, leaf and anchor included."""
    signatures: int = 24
    """Signatures checked; each costs 25 us (RSA-2048) to 150 us (RSA-4096, P-521)."""
    steps: int = 128
    """Candidates looked at."""


BUDGET = WorkBudget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A valid path, the leaf first and the anchor last. Only `find_chain` makes one."""

    certificates: tuple[Certificate, ...]
    not_before: datetime
    not_after: datetime
    """The time within which every certificate of the path is valid, both ends included."""

    @property
    def leaf(self) -> Certificate:
        """The certificate that was judged."""
        return self.certificates[0]

    @property
    def issuer(self) -> Certificate:
        """The CA certificate that the leaf was issued with."""
        return self.certificates[1]


class TrustPool:
    """CA certificates of ours: anchors, and intermediates that lead to them. Immutable."""

    def __init__(
        self, anchors: Iterable[Certificate], intermediates: Iterable[Certificate] = ()
    ) -> None:
        self.anchors = tuple(anchors)
        anchor_bytes = frozenset(a.der for a in self.anchors)
        self.intermediates = tuple(c for c in intermediates if c.der not in anchor_bytes)
        self._anchor_bytes = anchor_bytes
        self._by_subject = _by_subject((*self.anchors, *self.intermediates))

    def is_anchor(self, certificate: Certificate) -> bool:
        """Tell whether a path may end with this very certificate."""
        return certificate.der in self._anchor_bytes

    def issued_by(self, name: object) -> tuple[Certificate, ...]:
        """List the certificates of a subject (canonical name), anchors first."""
        return self._by_subject.get(name, ())

    def __bool__(self) -> bool:
        return bool(self.anchors)


def _by_subject(certificates: Iterable[Certificate]) -> dict[object, tuple[Certificate, ...]]:
    out: dict[object, tuple[Certificate, ...]] = {}
    for certificate in certificates:
        name = canonical_name(certificate.subject)
        out[name] = (*out.get(name, ()), certificate)
    return out


def subject_text(certificate: Certificate) -> str:
    """Render the subject for people; "" when it cannot be read."""
    try:
        name: Name = decode_name(certificate.subject)
    except PkiError:
        return ""
    return render_rfc4514(name)


def chain_error(fault: ChainFault, rule: str, certificate: Certificate, index: int) -> ChainError:
    """Make the refusal of one certificate of a chain; index 0 is the leaf."""
    return ChainError(
        fault,
        rule,
        index=index,
        subject=subject_text(certificate),
        serial_number=certificate.serial_number,
        certificate=certificate.der,
    )


# -- one link --------------------------------------------------------------------------------


def check_issued_by(
    certificate: Certificate, issuer: Certificate, profile: ChainProfile, index: int
) -> None:
    """Check the signature of a certificate with its issuer's key.

    Raises ChainError: MALFORMED, DIGEST_NOT_ACCEPTED, ALGORITHM_NOT_ACCEPTED, KEY_NOT_ACCEPTED,
    BAD_SIGNATURE.
    """
    if certificate.signed_algorithm != certificate.signature_algorithm:
        rule = "the signature algorithm inside and outside differ"  # RFC 5280 4.1.1.2
        raise chain_error(ChainFault.MALFORMED, rule, certificate, index)
    try:
        scheme = read_scheme(asn1.decode(AlgorithmIdentifier, certificate.signature_algorithm))
    except PkiError as error:
        fault = ChainFault.MALFORMED
        if error.fault is CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED:
            fault = ChainFault.ALGORITHM_NOT_ACCEPTED
        raise chain_error(fault, error.detail, certificate, index) from None
    digest = DIGEST_BY_OID.get(scheme.digest_oid or "")
    if digest not in profile.digests:
        rule = {oids.SHA1: "SHA-1 is off (legacy_sha1_cert)", oids.MD5: "MD5"}.get(
            scheme.digest_oid or "", "unknown digest"
        )
        raise chain_error(ChainFault.DIGEST_NOT_ACCEPTED, rule, certificate, index)
    try:
        key = issuer.public_key()
        check_key(key, profile.key_policy)
    except PkiError as error:
        rule = str(error.fault.value)
        raise chain_error(ChainFault.KEY_NOT_ACCEPTED, rule, issuer, index + 1) from None
    if key.kind is not scheme.kind:
        rule = "the signature is not for the kind of key the issuer has"
        raise chain_error(ChainFault.BAD_SIGNATURE, rule, certificate, index)
    try:
        verify_octets(key, certificate.signature, certificate.tbs, digest, scheme.pss_salt)
    except PkiError:
        rule = "not signed by the issuer's key"
        raise chain_error(ChainFault.BAD_SIGNATURE, rule, certificate, index) from None


def _key_matches(certificate: Certificate, issuer: Certificate) -> bool:
    """Tell whether the key identifiers leave the issuer possible (RFC 5280 4.2.1.1)."""
    try:
        value = certificate.extension(oids.ID_CE_AUTHORITY_KEY_IDENTIFIER)
        if value is None:
            return True
        wanted = decode_authority_key_identifier(value)
        own = issuer.subject_key_identifier()
    except PkiError:
        return True  # the walk will say that it is malformed
    if wanted.key_identifier is not None and own is not None:
        return wanted.key_identifier == own
    serial_number = wanted.authority_cert_serial_number
    return serial_number is None or serial_number == issuer.serial_number


def is_self_issued(certificate: Certificate) -> bool:
    """Tell whether subject and issuer are one name (RFC 5280 6.1). Raises PkiError."""
    return certificate.subject == certificate.issuer or (
        canonical_name(certificate.subject) == canonical_name(certificate.issuer)
    )


# -- the walk --------------------------------------------------------------------------------


def _check_form(certificate: Certificate, index: int, profile: ChainProfile, now: datetime) -> None:
    """Check what is asked of every certificate: extensions, key, dates."""
    for oid, extension in certificate.extensions().items():
        if extension.critical and oid not in KNOWN_EXTENSIONS:
            rule = f"extension {oid}"
            raise chain_error(ChainFault.UNKNOWN_CRITICAL_EXTENSION, rule, certificate, index)
    try:
        check_key(certificate.public_key(), profile.key_policy)
    except PkiError as error:
        rule = str(error.fault.value)
        raise chain_error(ChainFault.KEY_NOT_ACCEPTED, rule, certificate, index) from None
    not_before, not_after = certificate.validity()
    if now < not_before:
        raise chain_error(ChainFault.NOT_YET_VALID, "notBefore", certificate, index)
    if now > not_after:
        raise chain_error(ChainFault.EXPIRED, "notAfter", certificate, index)


def _check_ca(certificate: Certificate, index: int, below: int) -> None:
    """Check that a certificate is a CA's (6.1.4 k-n); below: intermediates under it that count."""
    value = certificate.extension(oids.ID_CE_BASIC_CONSTRAINTS)
    constraints = None if value is None else decode_basic_constraints(value)
    if certificate.version != 3 or constraints is None or not constraints.ca:
        rule = "basicConstraints does not say CA:TRUE"
        raise chain_error(ChainFault.NOT_A_CA, rule, certificate, index)
    limit = constraints.path_len_constraint
    if limit is not None and below > limit:
        raise chain_error(ChainFault.PATH_TOO_LONG, "pathLenConstraint", certificate, index)
    usage = certificate.extension(oids.ID_CE_KEY_USAGE)
    if usage is not None and not decode_key_usage(usage) & KeyUsageBit.KEY_CERT_SIGN:
        rule = "keyUsage without keyCertSign"
        raise chain_error(ChainFault.NOT_A_CA, rule, certificate, index)


def _check_leaf(certificate: Certificate) -> None:
    usage = certificate.extension(oids.ID_CE_KEY_USAGE)
    if usage is not None and not decode_key_usage(usage) & KeyUsageBit.DIGITAL_SIGNATURE:
        rule = "keyUsage without digitalSignature"
        raise chain_error(ChainFault.WRONG_KEY_USAGE, rule, certificate, 0)


def _check_purposes(path: tuple[Certificate, ...], profile: ChainProfile) -> None:
    """Check that one purpose is allowed by the leaf and by every CA that limits purposes."""
    if not profile.purposes:
        return
    allowed = profile.purposes
    for index, certificate in enumerate(path):
        value = certificate.extension(oids.ID_CE_EXT_KEY_USAGE)
        if value is None:
            if index == 0 and profile.purpose_required:
                rule = "no extKeyUsage"
                raise chain_error(ChainFault.WRONG_EKU, rule, certificate, 0)
            continue
        present = frozenset(decode_ext_key_usage(value))
        # A CA's anyExtendedKeyUsage limits nothing; a leaf's counts only where the profile says.
        if oids.ID_CE_ANY_EXT_KEY_USAGE in present and (index or profile.any_purpose):
            continue
        allowed &= present
        if not allowed:
            rule = "extKeyUsage has none of the purposes asked for"
            if index:
                rule = "the CA's extKeyUsage does not allow the purpose"
            raise chain_error(ChainFault.WRONG_EKU, rule, certificate, index)


def _walk(
    path: tuple[Certificate, ...], profile: ChainProfile, now: datetime
) -> tuple[datetime, datetime]:
    """Walk a path whose signatures verify, anchor to leaf; return when all of it is valid.

    Raises ChainError.
    """
    limits = NameLimits()
    policies = PolicyState(len(path) - 1)
    self_issued = [False] * len(path)
    start = end = None
    for index in range(len(path) - 1, -1, -1):
        certificate = path[index]
        is_ca = bool(index) or profile.target_is_ca
        try:
            _check_form(certificate, index, profile, now)
            self_issued[index] = is_self_issued(certificate)
            if is_ca:
                below = sum(not is_self_issued(c) for c in path[1:index])
                _check_ca(certificate, index, below)
            if index == 0 or not self_issued[index]:
                rule = limits.broken_by(certificate)
                if rule:
                    raise chain_error(ChainFault.NAME_CONSTRAINT, rule, certificate, index)
            if index < len(path) - 1:
                rule = policies.take(certificate, final=index == 0, self_issued=self_issued[index])
                if rule:
                    raise chain_error(ChainFault.POLICY_CONSTRAINT, rule, certificate, index)
            limits.add(certificate)
            not_before, not_after = certificate.validity()
        except ChainError:
            raise
        except PkiError as error:
            detail = error.detail or str(error.fault.value)
            raise chain_error(ChainFault.MALFORMED, detail, certificate, index) from None
        start = not_before if start is None else max(start, not_before)
        end = not_after if end is None else min(end, not_after)
    try:
        if not profile.target_is_ca:
            _check_leaf(path[0])
        _check_purposes(path, profile)
    except ChainError:
        raise
    except PkiError as error:
        detail = error.detail or str(error.fault.value)
        raise chain_error(ChainFault.MALFORMED, detail, path[0], 0) from None
    if start is None or end is None:
        raise ValueError("an empty path")
    return start, end


# -- the search ------------------------------------------------------------------------------


class _Search:
    """One search for a path; counts its work and keeps the fault of the best attempt."""

    def __init__(
        self,
        leaf: Certificate,
        received: tuple[Certificate, ...],
        pool: TrustPool,
        profile: ChainProfile,
        budget: WorkBudget,
    ) -> None:
        self._leaf = leaf
        self._pool = pool
        self._received = _by_subject(received)
        self._profile = profile
        self._budget = budget
        self._steps = 0
        self._verified: dict[tuple[bytes, bytes], ChainError | None] = {}
        self._best: tuple[int, ChainError] | None = None

    def note(self, rank: int, error: ChainError) -> None:
        """Remember a fault unless one of a path that got further is known."""
        if self._best is None or rank > self._best[0]:
            self._best = rank, error

    def fault(self) -> ChainError:
        """Return the fault of the attempt that got furthest."""
        if self._best is None:
            rule = "no issuer found"
            return chain_error(ChainFault.UNKNOWN_ISSUER, rule, self._leaf, 0)
        return self._best[1]

    def _spend(self, amount: int, limit: int) -> None:
        if amount > limit:
            raise chain_error(ChainFault.OVER_BUDGET, "the work budget is used up", self._leaf, 0)

    def _link(self, certificate: Certificate, issuer: Certificate, index: int) -> bool:
        """Check one signature, each pair once; a fault is noted."""
        key = (certificate.der, issuer.subject_public_key_info)
        if key not in self._verified:
            self._spend(len(self._verified) + 1, self._budget.signatures)
            try:
                check_issued_by(certificate, issuer, self._profile, index)
                self._verified[key] = None
            except ChainError as error:
                self._verified[key] = error
        broken = self._verified[key]
        if broken is not None:
            self.note(2, broken)
        return broken is None

    def paths(self) -> Iterator[tuple[Certificate, ...]]:
        """Yield each path that ends in an anchor and whose signatures verify.

        Raises ChainError(OVER_BUDGET).
        """
        # Depth first, without recursion: each frame is a path and the candidates not tried yet.
        stack: list[tuple[tuple[Certificate, ...], Iterator[Certificate]]] = []
        path: tuple[Certificate, ...] = (self._leaf,)
        stack.append((path, iter(self._candidates(path))))
        while stack:
            path, candidates = stack[-1]
            issuer = next(candidates, None)
            if issuer is None:
                stack.pop()
                continue
            self._steps += 1
            self._spend(self._steps, self._budget.steps)
            if not self._link(path[-1], issuer, len(path) - 1):
                continue
            longer = (*path, issuer)
            if self._pool.is_anchor(issuer):
                yield longer
            elif len(longer) < self._budget.depth:
                stack.append((longer, iter(self._candidates(longer))))
            else:
                rule = "the path is too deep"
                self.note(1, chain_error(ChainFault.OVER_BUDGET, rule, issuer, len(longer) - 1))

    def _candidates(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """List who may have issued the end of a path: ours first, none that is in it already."""
        last = path[-1]
        try:
            name = canonical_name(last.issuer)
            # The same subject with the same key again is a loop, whatever the certificate.
            seen = {(canonical_name(c.subject), c.subject_public_key_info) for c in path}
        except PkiError:
            return ()
        found = tuple(
            c
            for c in (*self._pool.issued_by(name), *self._received.get(name, ()))
            if (name, c.subject_public_key_info) not in seen and _key_matches(last, c)
        )
        if not found:
            rule = "no certificate of the issuer is known"
            self.note(1, chain_error(ChainFault.UNKNOWN_ISSUER, rule, last, len(path) - 1))
        return found


def _readable(received: Iterable[bytes]) -> Iterator[Certificate]:
    """Read what was received; what cannot be read cannot be a link."""
    for data in received:
        try:
            certificate = Certificate(data)
            canonical_name(certificate.subject)
        except PkiError:
            continue
        yield certificate


def find_chain(
    leaf: Certificate,
    received: tuple[bytes, ...],
    pool: TrustPool,
    profile: ChainProfile,
    now: datetime,
    *,
    budget: WorkBudget = BUDGET,
    accept: Callable[[Chain], None] | None = None,
) -> Chain:
    """Find a valid path from `leaf` to an anchor of the pool.

    received: DER of the other certificates that came with the leaf, unread. accept: a further
    judgement of a valid path (revocation, who may issue); raises ChainError, and the search goes
    on. Raises ChainError with the fault of the path that got furthest.
    Source: RFC 5280 6.1; RFC 4158 for the search.
    """
    if len(received) > budget.certificates:
        rule = "more certificates in the message than a chain needs"
        raise chain_error(ChainFault.OVER_BUDGET, rule, leaf, 0)
    search = _Search(leaf, tuple(_readable(received)), pool, profile, budget)
    try:
        for path in search.paths():
            try:
                not_before, not_after = _walk(path, profile, now)
                chain = Chain(certificates=path, not_before=not_before, not_after=not_after)
                if accept is not None:
                    accept(chain)
            except ChainError as error:
                search.note(3, error)
            else:
                return chain
    except ChainError as error:  # over budget: a fault found on a whole path says more
        search.note(2, error)
    raise search.fault()
