"""Is a certificate of a valid path revoked? Answered from lists and responses that are at hand.

Rules
  1. Nothing is fetched here, and nothing that came with a request is looked at: revocation data is
     ours alone, loaded when the snapshot is made.
  2. Every certificate of the path but the anchor is asked about. What any current source calls
     revoked is revoked; what none calls anything is unknown.
  3. `require`: unknown refuses. `soft`: unknown is a warning. `off`: nobody is asked.
  4. A list counts while thisUpdate <= now <= nextUpdate, with a little patience for clocks before.
     While there is none, what an older one calls revoked for good stays so: `soft` lets the status
     be unknown, not be forgotten.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pki import oids
from pki.certificate import Certificate
from pki.chain import Chain, ChainProfile, chain_error
from pki.crl import CERTIFICATE_HOLD, REASONS, REMOVE_FROM_CRL, Crl
from pki.errors import ChainFault, PkiError, RevocationFault
from pki.extensions import (
    DistributionPoint,
    decode_basic_constraints,
    decode_crl_distribution_points,
)
from pki.ocsp import OcspResponse, SingleStatus
from pki.ocsp_bundle import OcspBundle
from pki.x500 import canonical_name

RevocationPolicy = Literal["require", "soft", "off"]

CLOCK_PATIENCE = timedelta(minutes=5)
"""How far ahead of our clock a thisUpdate may be."""
SOFT_LIFE = timedelta(minutes=5)
"""How long an unknown status that was let pass is believed."""

_UNDONE = frozenset((CERTIFICATE_HOLD, REMOVE_FROM_CRL))
"""Reasons that a later list may take back (RFC 5280 5.3.1)."""

ALL_REASONS = 0x7F800000  # ReasonFlags bits 1 to 8, of 32 with bit 0 highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """No certificate of a path is revoked, as far as the policy asks; and until when that holds."""

    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """None: nothing that could change was asked."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the sources say of one certificate: revoked, good until a time, or nothing and why."""

    reason: int | None = None
    good_until: datetime | None = None
    why_unknown: str = ""


class RevocationSource:
    """CRLs and OCSP responses of a snapshot, indexed. Immutable but for what was verified."""

    def __init__(
        self,
        policy: RevocationPolicy,
        profile: ChainProfile,
        crls: Iterable[Crl] = (),
        responses: Iterable[OcspResponse] = (),
        fetched: OcspBundle | None = None,
    ) -> None:
        """fetched: further responses, by certificate; they may be exchanged (`with_fetched`)."""
        self.policy: RevocationPolicy = policy
        self.fetched = fetched or OcspBundle()
        self._profile = profile
        self._crls: dict[object, list[Crl]] = {}
        for crl in crls:
            self._crls.setdefault(crl.issuer, []).append(crl)
        self._responses: dict[int, list[tuple[OcspResponse, SingleStatus]]] = {}
        for response in responses:
            for status in response.statuses:
                serial_number = status.cert_id.serial_number
                self._responses.setdefault(serial_number, []).append((response, status))

    def with_fetched(self, fetched: OcspBundle) -> "RevocationSource":
        """Return the same lists and responses with other fetched ones."""
        other = RevocationSource(self.policy, self._profile, fetched=fetched)
        other._crls = self._crls
        other._responses = self._responses
        return other

    def marks(self, certificates: Iterable[bytes]) -> tuple[bytes | None, ...]:
        """Say which fetched response there is for each certificate, by their SHA-256."""
        return tuple(map(self.fetched.mark, certificates))

    def prepare(self, authorities: Iterable[Certificate]) -> tuple[str, ...]:
        """Verify the lists of known CAs now, so that no logon waits; say which fail and why."""
        problems = []
        for authority in authorities:
            for crl in self._crls.get(canonical_name(authority.subject), ()):
                try:
                    self._check(crl, authority)
                except PkiError as error:
                    problems.append(f"CRL: {error.fault.value} ({error.detail})")
        return tuple(problems)

    def keep_newer(self, before: "RevocationSource") -> tuple[str, ...]:
        """Keep the lists of the snapshot before whose place lists with lower numbers took.

        Only before the snapshot is used. A list that is gone for good is no list with a lower
        number; a new key of an issuer begins to count anew. Returns what fell, a phrase each.
        Source: RFC 5280 5.2.3 (CRL numbers increase); rows S04, Q04.
        """
        fell = []
        for issuer, old_lists in before._crls.items():
            for old in old_lists:
                found = [c.number for c in self._crls.get(issuer, ()) if same_series(c, old)]
                newest = max((number for number in found if number is not None), default=None)
                if old.number is None or not old.is_verified or newest is None:
                    continue
                if newest < old.number:
                    self._crls[issuer].append(old)
                    fell.append(f"CRL number fell from {old.number} to {newest}: the newer is kept")
        return tuple(fell)

    def next_expiry(self) -> datetime | None:
        """Return when the first complete list stops being current."""
        complete = (c.next_update for crls in self._crls.values() for c in crls if not c.is_delta)
        return min(complete, default=None)

    def check_chain(self, chain: Chain, now: datetime) -> Status:
        """Ask about every certificate of a path but its anchor.

        Raises ChainError: REVOKED, STATUS_UNKNOWN.
        """
        if self.policy == "off":
            return Status()
        until: datetime | None = None
        unknown = False
        for index in range(len(chain.certificates) - 1):
            certificate, issuer = chain.certificates[index : index + 2]
            answer = self._ask(certificate, issuer, now)
            if answer.reason is not None:
                rule = REASONS[answer.reason]
                raise chain_error(ChainFault.REVOKED, rule, certificate, index)
            if answer.why_unknown:
                if self.policy == "require":
                    raise chain_error(
                        ChainFault.STATUS_UNKNOWN, answer.why_unknown, certificate, index
                    )
                unknown = True
            limit = answer.good_until or now + SOFT_LIFE
            until = limit if until is None else min(until, limit)
        return Status(
            valid_from=now - CLOCK_PATIENCE,
            valid_until=until,
            warnings=("revocation status not known (revocation = soft)",) if unknown else (),
        )

    def _ask(self, certificate: Certificate, issuer: Certificate, now: datetime) -> _Answer:
        try:
            by_list = self._ask_lists(certificate, issuer, now)
        except PkiError as error:
            by_list = _Answer(why_unknown=error.detail or str(error.fault.value))
        if by_list.reason is not None:
            return by_list
        by_response = self._ask_responses(certificate, issuer, now)
        if by_response is None:
            return by_list
        if by_response.reason is not None or by_list.why_unknown:
            return by_response
        return by_list

    # -- lists -------------------------------------------------------------------------------

    def _check(self, crl: Crl, issuer: Certificate) -> None:
        crl.check_signature(issuer, self._profile.digests, self._profile.key_policy)

    def _ask_lists(self, certificate: Certificate, issuer: Certificate, now: datetime) -> _Answer:
        why = "no CRL of the issuer"
        chosen: dict[bytes, Crl] = {}
        deltas: list[Crl] = []
        ended: list[Crl] = []
        points = _points(certificate)
        for crl in self._crls.get(canonical_name(certificate.issuer), ()):
            if not _in_scope(crl, certificate, points):
                continue
            if not _is_current(crl, now):
                why = "the issuer's CRL is not current"
                if now > crl.next_update and not crl.is_delta:
                    ended.append(crl)
                continue
            try:
                self._check(crl, issuer)
            except PkiError as error:
                why = f"the issuer's CRL: {error.fault.value}"
                continue
            if crl.is_delta:
                deltas.append(crl)
                continue
            known = chosen.get(crl.scope_bytes)
            if known is None or _age(crl) > _age(known):
                chosen[crl.scope_bytes] = crl
        covered = 0
        until: datetime | None = None
        for scope, crl in chosen.items():
            reason = crl.reason_of(certificate.serial_number)
            end = crl.next_update
            delta = _newest_delta(crl, [d for d in deltas if d.scope_bytes == scope])
            if delta is not None:
                changed = delta.reason_of(certificate.serial_number)
                if changed is not None:
                    reason = None if changed == REMOVE_FROM_CRL else changed
                end = min(end, delta.next_update)
            if reason is not None and reason != REMOVE_FROM_CRL:
                return _Answer(reason=reason)
            some = crl.scope.point.reasons if crl.scope is not None else None
            covered |= ALL_REASONS if some is None else some & ALL_REASONS
            until = end if until is None else min(until, end)
        if until is None:
            return self._ask_ended(ended, certificate, issuer) or _Answer(why_unknown=why)
        if covered != ALL_REASONS:
            return _Answer(why_unknown="the issuer's CRLs do not cover all reasons")
        return _Answer(good_until=until)

    def _ask_ended(
        self, ended: list[Crl], certificate: Certificate, issuer: Certificate
    ) -> _Answer | None:
        """Ask lists that have ended, where no current one speaks: they can only refuse."""
        for crl in ended:
            reason = crl.reason_of(certificate.serial_number)
            if reason is None or reason in _UNDONE:
                continue
            with suppress(PkiError):
                self._check(crl, issuer)
                return _Answer(reason=reason)
        return None

    # -- responses ---------------------------------------------------------------------------

    def _ask_responses(
        self, certificate: Certificate, issuer: Certificate, now: datetime
    ) -> _Answer | None:
        """Ask the OCSP responses at hand; None: none of them is about this certificate."""
        answer: _Answer | None = None
        found = [
            *self._responses.get(certificate.serial_number, ()),
            *self._fetched_response(certificate),
        ]
        for response, status in found:
            if not status.is_about(certificate, issuer):
                continue
            if not _is_current(status, now):
                answer = answer or _Answer(why_unknown="the OCSP response is not current")
                continue
            try:
                self._check_responder(response, issuer, now)
            except PkiError as error:
                why = f"the OCSP response: {error.fault.value}"
                answer = answer or _Answer(why_unknown=why)
                continue
            if status.reason is not None:
                return _Answer(reason=status.reason)
            if status.known:
                answer = _Answer(good_until=status.next_update)
            else:
                answer = answer or _Answer(why_unknown="the OCSP responder does not know it")
        return answer

    def _fetched_response(
        self, certificate: Certificate
    ) -> list[tuple[OcspResponse, SingleStatus]]:
        if not len(self.fetched):
            return []
        try:
            data = self.fetched.response(hashlib.sha256(certificate.der).digest())
            response = None if data is None else OcspResponse(data)
        except PkiError:
            return []  # as if it were not there: what was fetched was readable then
        return [] if response is None else [(response, one) for one in response.statuses]

    def _check_responder(self, response: OcspResponse, issuer: Certificate, now: datetime) -> None:
        signer = response.responder(issuer, self._profile, now)
        if signer is issuer or signer.extension(oids.ID_PKIX_OCSP_NOCHECK) is not None:
            return
        if self._ask_lists(signer, issuer, now).good_until is None:
            raise PkiError(RevocationFault.NOT_ALLOWED, "the responder's own status is not known")


def is_of_the_future(this_update: datetime, now: datetime) -> bool:
    """Tell whether something was made later than any clock in use says."""
    # Not thisUpdate - CLOCK_PATIENCE: that of the year 1 would overflow.
    return this_update > now + CLOCK_PATIENCE


def _is_current(source: Crl | SingleStatus, now: datetime) -> bool:
    return not is_of_the_future(source.this_update, now) and now <= source.next_update


def same_series(one: Crl, other: Crl) -> bool:
    """Tell whether two lists of an issuer are numbered together."""
    return (one.scope_bytes, one.is_delta, one.key_identifier) == (
        other.scope_bytes,
        other.is_delta,
        other.key_identifier,
    )


def _age(crl: Crl) -> tuple[int, datetime]:
    return (-1 if crl.number is None else crl.number), crl.this_update


def _newest_delta(base: Crl, deltas: list[Crl]) -> Crl | None:
    """Choose the delta to apply to a complete list (RFC 5280 5.2.4)."""
    if base.number is None:
        return None
    fitting = [
        d
        for d in deltas
        if d.base_number is not None
        and d.number is not None
        and d.base_number <= base.number < d.number
    ]
    return max(fitting, key=_age, default=None)


def _points(certificate: Certificate) -> tuple[DistributionPoint, ...]:
    value = certificate.extension(oids.ID_CE_CRL_DISTRIBUTION_POINTS)
    return () if value is None else decode_crl_distribution_points(value)


def _is_ca(certificate: Certificate) -> bool:
    value = certificate.extension(oids.ID_CE_BASIC_CONSTRAINTS)
    return value is not None and bool(decode_basic_constraints(value).ca)


def _in_scope(crl: Crl, certificate: Certificate, points: tuple[DistributionPoint, ...]) -> bool:
    """Tell whether a list speaks of this certificate (RFC 5280 6.3.3 b)."""
    scope = crl.scope
    if scope is None:
        return True
    if scope.only_attribute or (scope.only_user and _is_ca(certificate)):
        return False
    if scope.only_ca and not _is_ca(certificate):
        return False
    if scope.point.relative:
        return False
    if not scope.point.names:
        return True
    wanted = frozenset(scope.point.names)
    return any(not p.indirect and not wanted.isdisjoint(p.names) for p in points)
