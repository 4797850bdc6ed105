"""Certificate policies along a path (RFC 5280 6.1.3 d-f, 6.1.4 a-b and h-j, 6.1.5 a-b, g).

We ask for no policy ourselves (initial-any-policy), so the one question is whether a CA's
requireExplicitPolicy leaves any policy valid. For that the sets of valid policies of one level are
enough, and the tree, which a hostile chain can make exponential (RFC 9618), is never built.
"""

from pki import oids
from pki.certificate import Certificate
from pki.extensions import (
    decode_certificate_policies,
    decode_inhibit_any_policy,
    decode_policy_constraints,
    decode_policy_mappings,
)

_ANY = oids.ID_CE_ANY_POLICY
MAX_EXPECTED = 1024
"""Policies kept for one level; 64 in a certificate, mapped to 64 others, is already absurd."""


class PolicyState:
    """What policies are still valid, from the anchor down."""

    def __init__(self, length: int) -> None:
        """length: certificates of the path without the anchor."""
        self._explicit = self._mapping = self._inhibit_any = length + 1
        # Valid policy -> the policies expected in the next certificate in its place.
        self._valid: dict[str, frozenset[str]] = {_ANY: frozenset((_ANY,))}

    def take(self, certificate: Certificate, *, final: bool, self_issued: bool) -> str:
        """Take the next certificate; return the rule it breaks, or "". Raises PkiError."""
        self._intersect(certificate, final=final, self_issued=self_issued)
        if not self._explicit and not self._valid:
            return "requireExplicitPolicy"
        if final:
            if self._explicit:
                self._explicit -= 1
            self._constrain(certificate, final=True)
            return "" if self._explicit or self._valid else "requireExplicitPolicy"
        self._map(certificate)
        if not self_issued:
            self._explicit = max(self._explicit - 1, 0)
            self._mapping = max(self._mapping - 1, 0)
            self._inhibit_any = max(self._inhibit_any - 1, 0)
        self._constrain(certificate, final=False)
        if len(self._valid) > MAX_EXPECTED or sum(map(len, self._valid.values())) > MAX_EXPECTED:
            return "too many certificate policies"
        return ""

    def _intersect(self, certificate: Certificate, *, final: bool, self_issued: bool) -> None:
        value = certificate.extension(oids.ID_CE_CERTIFICATE_POLICIES)
        if value is None:
            self._valid = {}
            return
        policies = decode_certificate_policies(value)
        expected = frozenset().union(*self._valid.values()) if self._valid else frozenset()
        following = {
            policy: frozenset((policy,))
            for policy in policies
            if policy != _ANY and (policy in expected or _ANY in self._valid)
        }
        if _ANY in policies and (self._inhibit_any or (not final and self_issued)):
            for policy in expected:
                following.setdefault(policy, frozenset((policy,)))
        self._valid = following

    def _map(self, certificate: Certificate) -> None:
        value = certificate.extension(oids.ID_CE_POLICY_MAPPINGS)
        if value is None:
            return
        targets: dict[str, set[str]] = {}
        for issuer_policy, subject_policy in decode_policy_mappings(value):
            targets.setdefault(issuer_policy, set()).add(subject_policy)
        for policy, mapped in targets.items():
            if not self._mapping:
                self._valid.pop(policy, None)
            elif policy in self._valid or _ANY in self._valid:
                self._valid[policy] = frozenset(mapped)

    def _constrain(self, certificate: Certificate, *, final: bool) -> None:
        value = certificate.extension(oids.ID_CE_POLICY_CONSTRAINTS)
        if value is not None:
            constraints = decode_policy_constraints(value)
            explicit = constraints.require_explicit_policy
            if explicit is not None and (not final or explicit == 0):
                self._explicit = min(self._explicit, explicit)
            if constraints.inhibit_policy_mapping is not None:
                self._mapping = min(self._mapping, constraints.inhibit_policy_mapping)
        value = certificate.extension(oids.ID_CE_INHIBIT_ANY_POLICY)
        if value is not None:
            self._inhibit_any = min(self._inhibit_any, decode_inhibit_any_policy(value))
