"""The extensions of certificates and CRLs that decide trust (RFC 5280 4.2, 5.2), read strictly.

Rules
  1. Decoding raises PkiError and nothing else; every list has a bound.
  2. Nothing is judged here. A value that no rule asks for is never decoded.
"""

from dataclasses import dataclass
from enum import IntFlag

from pki import asn1, der, oids
from pki.errors import DerFault, PkiError
from pki.names import general_names

MAX_EXTENSIONS = 64
MAX_PURPOSES = 64
MAX_POINTS = 16  # an Active Directory CA writes one point with two names
MAX_SUBTREES = 256  # national bridge CAs list some dozens
MAX_POLICIES = 64
MAX_ACCESS_METHODS = 16

_URI = 0x86


@asn1.sequence
class _ExtensionSyntax:
    """Extension ::= SEQUENCE { extnID OID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }

    An explicit FALSE breaks DER, but old issuers wrote it: read as a plain BOOLEAN.
    """

    extn_id: str = asn1.plain(asn1.OID)
    critical: bool | None = asn1.plain(asn1.BOOLEAN, default=None)
    extn_value: bytes = asn1.plain(asn1.OCTET_STRING)


_EXTENSIONS = asn1.sequence_of(asn1.nested(_ExtensionSyntax), MAX_EXTENSIONS)


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: the DER inside its OCTET STRING, and whether it must be understood."""

    value: bytes
    critical: bool


def decode_extensions(raw: bytes) -> dict[str, Extension]:
    """Decode Extensions (DER) by identifier. Raises PkiError, also when one occurs twice."""
    found = asn1.decode_as(_EXTENSIONS, raw)
    out = {e.extn_id: Extension(e.extn_value, bool(e.critical)) for e in found}
    if len(out) != len(found):
        raise PkiError(DerFault.BAD_VALUE, "extension twice")
    return out


# -- what a key may be used for --------------------------------------------------------------


@asn1.sequence
class BasicConstraints:
    """BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint OPTIONAL }"""

    ca: bool | None = asn1.plain(asn1.BOOLEAN, default=None)
    path_len_constraint: int | None = asn1.plain(asn1.UINT32, default=None)


class KeyUsageBit(IntFlag):
    """Bits of keyUsage (RFC 5280 4.2.1.3), bit 0 the highest of 32."""

    DIGITAL_SIGNATURE = 1 << 31
    CONTENT_COMMITMENT = 1 << 30
    KEY_ENCIPHERMENT = 1 << 29
    DATA_ENCIPHERMENT = 1 << 28
    KEY_AGREEMENT = 1 << 27
    KEY_CERT_SIGN = 1 << 26
    CRL_SIGN = 1 << 25
    ENCIPHER_ONLY = 1 << 24
    DECIPHER_ONLY = 1 << 23


def decode_basic_constraints(value: bytes) -> BasicConstraints:
    """Decode a basicConstraints value. Raises PkiError."""
    return asn1.decode(BasicConstraints, value)


def decode_key_usage(value: bytes) -> KeyUsageBit:
    """Decode a keyUsage value. Raises PkiError."""
    return KeyUsageBit(asn1.decode_as(asn1.FLAGS32, value) & 0xFF800000)


_PURPOSES = asn1.sequence_of(asn1.OID, MAX_PURPOSES)


def decode_ext_key_usage(value: bytes) -> tuple[str, ...]:
    """Decode an extKeyUsage value into dotted purposes. Raises PkiError."""
    found = asn1.decode_as(_PURPOSES, value)
    if not found:
        raise PkiError(DerFault.MISSING_FIELD, "extKeyUsage")
    return found


# -- who issued ------------------------------------------------------------------------------


@asn1.sequence
class AuthorityKeyIdentifier:
    """AuthorityKeyIdentifier ::= SEQUENCE {

    keyIdentifier [0] OCTET STRING OPTIONAL, authorityCertIssuer [1] GeneralNames OPTIONAL,
    authorityCertSerialNumber [2] INTEGER OPTIONAL }
    """

    key_identifier: bytes | None = asn1.implicit(0, asn1.OCTET_STRING, default=None)
    authority_cert_issuer: tuple[bytes, ...] | None = asn1.implicit(
        1, asn1.sequence_of(asn1.ANY, MAX_POINTS), default=None
    )
    authority_cert_serial_number: int | None = asn1.implicit(2, asn1.INTEGER, default=None)


def decode_authority_key_identifier(value: bytes) -> AuthorityKeyIdentifier:
    """Decode an authorityKeyIdentifier value. Raises PkiError."""
    return asn1.decode(AuthorityKeyIdentifier, value)


# -- where to ask about revocation -----------------------------------------------------------

_GENERAL_NAMES = asn1.sequence_of(asn1.ANY, 64)


@asn1.sequence
class _DistributionPoint:
    """DistributionPoint ::= SEQUENCE {

    distributionPoint [0] DistributionPointName OPTIONAL, reasons [1] ReasonFlags OPTIONAL,
    cRLIssuer [2] GeneralNames OPTIONAL }
    """

    distribution_point: bytes | None = asn1.explicit(0, asn1.ANY, default=None)
    reasons: int | None = asn1.implicit(1, asn1.FLAGS32, default=None)
    crl_issuer: tuple[bytes, ...] | None = asn1.implicit(2, _GENERAL_NAMES, default=None)


@asn1.sequence
class _IssuingDistributionPoint:
    """IssuingDistributionPoint ::= SEQUENCE {

    distributionPoint [0] DistributionPointName OPTIONAL, onlyContainsUserCerts [1] BOOLEAN,
    onlyContainsCACerts [2] BOOLEAN, onlySomeReasons [3] ReasonFlags OPTIONAL,
    indirectCRL [4] BOOLEAN, onlyContainsAttributeCerts [5] BOOLEAN } (all DEFAULT FALSE)
    """

    distribution_point: bytes | None = asn1.explicit(0, asn1.ANY, default=None)
    only_contains_user_certs: bool | None = asn1.implicit(1, asn1.BOOLEAN, default=None)
    only_contains_ca_certs: bool | None = asn1.implicit(2, asn1.BOOLEAN, default=None)
    only_some_reasons: int | None = asn1.implicit(3, asn1.FLAGS32, default=None)
    indirect_crl: bool | None = asn1.implicit(4, asn1.BOOLEAN, default=None)
    only_contains_attribute_certs: bool | None = asn1.implicit(5, asn1.BOOLEAN, default=None)


_POINTS = asn1.sequence_of(asn1.nested(_DistributionPoint), MAX_POINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionPoint:
    """One CRL distribution point, or the scope of a CRL."""

    names: tuple[tuple[int, bytes], ...] = ()
    """fullName: (identifier octet, content) of each GeneralName."""
    relative: bool = False
    """Whether the point is named relative to the CRL's issuer: a form nobody uses."""
    reasons: int | None = None
    indirect: bool = False
    """cRLIssuer is there, or indirectCRL is true: the CRL is another's."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URIs among the names, in their order."""
        return tuple(
            content.decode("ascii")
            for tag, content in self.names
            if tag == _URI and content.isascii()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlScope:
    """The issuingDistributionPoint of a CRL: which certificates it speaks of."""

    point: DistributionPoint
    only_user: bool = False
    only_ca: bool = False
    only_attribute: bool = False


def _point_names(element: bytes | None) -> tuple[tuple[tuple[int, bytes], ...], bool]:
    """Decode DistributionPointName ::= CHOICE { fullName [0], nameRelativeToCRLIssuer [1] }."""
    if element is None:
        return (), False
    tag, start, end = der.read_tlv(element)
    if end != len(element) or tag not in (0xA0, 0xA1):
        raise PkiError(DerFault.BAD_TAG, "DistributionPointName")
    if tag == 0xA1:
        der.walk(element, start, end)
        return (), True
    return tuple(general_names(der.tlv(der.SEQUENCE, element[start:end]))), False


def decode_crl_distribution_points(value: bytes) -> tuple[DistributionPoint, ...]:
    """Decode a cRLDistributionPoints (or freshestCRL) value. Raises PkiError."""
    out = []
    for point in asn1.decode_as(_POINTS, value):
        full, relative = _point_names(point.distribution_point)
        out.append(
            DistributionPoint(
                names=full,
                relative=relative,
                reasons=point.reasons,
                indirect=point.crl_issuer is not None,
            )
        )
    return tuple(out)


def decode_issuing_distribution_point(value: bytes) -> CrlScope:
    """Decode an issuingDistributionPoint value. Raises PkiError."""
    idp = asn1.decode(_IssuingDistributionPoint, value)
    full, relative = _point_names(idp.distribution_point)
    return CrlScope(
        point=DistributionPoint(
            names=full,
            relative=relative,
            reasons=idp.only_some_reasons,
            indirect=bool(idp.indirect_crl),
        ),
        only_user=bool(idp.only_contains_user_certs),
        only_ca=bool(idp.only_contains_ca_certs),
        only_attribute=bool(idp.only_contains_attribute_certs),
    )


@asn1.sequence
class _AccessDescription:
    """AccessDescription ::= SEQUENCE { accessMethod OID, accessLocation GeneralName }"""

    access_method: str = asn1.plain(asn1.OID)
    access_location: bytes = asn1.plain(asn1.ANY)


_ACCESS = asn1.sequence_of(asn1.nested(_AccessDescription), MAX_ACCESS_METHODS)


def decode_authority_info_access(value: bytes, method: str = oids.ID_AD_OCSP) -> tuple[str, ...]:
    """List the URIs of one access method in an authorityInfoAccess value. Raises PkiError."""
    out = []
    for description in asn1.decode_as(_ACCESS, value):
        tag, start, end = der.read_tlv(description.access_location)
        content = description.access_location[start:end]
        if description.access_method == method and tag == _URI and content.isascii():
            out.append(content.decode("ascii"))
    return tuple(out)


# -- name constraints ------------------------------------------------------------------------


@asn1.sequence
class _GeneralSubtree:
    """GeneralSubtree ::= SEQUENCE { base GeneralName, minimum [0] DEFAULT 0, maximum [1] }

    RFC 5280 4.2.1.10: minimum MUST be zero (so absent) and maximum absent.
    """

    base: bytes = asn1.plain(asn1.ANY)


_SUBTREES = asn1.sequence_of(asn1.nested(_GeneralSubtree), MAX_SUBTREES)


@asn1.sequence
class _NameConstraints:
    """NameConstraints ::= SEQUENCE { permittedSubtrees [0], excludedSubtrees [1] OPTIONAL }"""

    permitted: tuple[_GeneralSubtree, ...] | None = asn1.implicit(0, _SUBTREES, default=None)
    excluded: tuple[_GeneralSubtree, ...] | None = asn1.implicit(1, _SUBTREES, default=None)


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """nameConstraints: each subtree as (identifier octet, content) of its base."""

    permitted: tuple[tuple[int, bytes], ...]
    excluded: tuple[tuple[int, bytes], ...]


def decode_name_constraints(value: bytes) -> NameConstraints:
    """Decode a nameConstraints value. Raises PkiError, also when it constrains nothing."""
    found = asn1.decode(_NameConstraints, value)

    def bases(trees: tuple[_GeneralSubtree, ...] | None) -> tuple[tuple[int, bytes], ...]:
        out = []
        for tree in trees or ():
            tag, start, end = der.read_tlv(tree.base)
            out.append((tag, tree.base[start:end]))
        return tuple(out)

    if not found.permitted and not found.excluded:
        raise PkiError(DerFault.MISSING_FIELD, "nameConstraints")
    return NameConstraints(bases(found.permitted), bases(found.excluded))


# -- certificate policies --------------------------------------------------------------------


@asn1.sequence
class _PolicyInformation:
    """PolicyInformation ::= SEQUENCE { policyIdentifier OID, policyQualifiers OPTIONAL }"""

    policy_identifier: str = asn1.plain(asn1.OID)
    policy_qualifiers: bytes | None = asn1.plain(asn1.ANY, default=None)


@asn1.sequence
class _PolicyMapping:
    """SEQUENCE { issuerDomainPolicy OID, subjectDomainPolicy OID }"""

    issuer_domain_policy: str = asn1.plain(asn1.OID)
    subject_domain_policy: str = asn1.plain(asn1.OID)


@asn1.sequence
class PolicyConstraints:
    """PolicyConstraints ::= SEQUENCE { requireExplicitPolicy [0], inhibitPolicyMapping [1] }"""

    require_explicit_policy: int | None = asn1.implicit(0, asn1.UINT32, default=None)
    inhibit_policy_mapping: int | None = asn1.implicit(1, asn1.UINT32, default=None)


_POLICIES = asn1.sequence_of(asn1.nested(_PolicyInformation), MAX_POLICIES)
_MAPPINGS = asn1.sequence_of(asn1.nested(_PolicyMapping), MAX_POLICIES)


def decode_certificate_policies(value: bytes) -> tuple[str, ...]:
    """Decode a certificatePolicies value into dotted policies. Raises PkiError."""
    found = tuple(p.policy_identifier for p in asn1.decode_as(_POLICIES, value))
    if not found or len(set(found)) != len(found):
        raise PkiError(DerFault.BAD_VALUE, "certificatePolicies")
    return found


def decode_policy_mappings(value: bytes) -> tuple[tuple[str, str], ...]:
    """Decode a policyMappings value into (issuer's, subject's) pairs. Raises PkiError."""
    found = tuple(
        (m.issuer_domain_policy, m.subject_domain_policy) for m in asn1.decode_as(_MAPPINGS, value)
    )
    if not found or any(oids.ID_CE_ANY_POLICY in pair for pair in found):
        raise PkiError(DerFault.BAD_VALUE, "policyMappings")
    return found


def decode_policy_constraints(value: bytes) -> PolicyConstraints:
    """Decode a policyConstraints value. Raises PkiError."""
    return asn1.decode(PolicyConstraints, value)


def decode_inhibit_any_policy(value: bytes) -> int:
    """Decode an inhibitAnyPolicy value. Raises PkiError."""
    return asn1.decode_as(asn1.UINT32, value)
