"""The extensions of certificates in one line each, for the tree of a message."""

from collections.abc import Callable, Mapping

from kdc.explain import names
from pki import asn1, der, oids
from pki.errors import DerFault, PkiError
from pki.extensions import (
    decode_authority_info_access,
    decode_authority_key_identifier,
    decode_certificate_policies,
    decode_crl_distribution_points,
    decode_name_constraints,
    decode_policy_constraints,
)
from pki.names import AnotherName, decode_sid_extension, decode_subject_alt_name
from pki.x500 import decode_name, render_rfc4514

MAX_SHOWN = 8

_KEY_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
_FORMS = {0x81: "email", 0x82: "DNS", 0x86: "URI"}


def general_name_text(tag: int, content: bytes) -> str:
    """Render a GeneralName given as identifier octet and content. Raises PkiError."""
    if tag == 0xA4:
        return f"directory {render_rfc4514(decode_name(content))}"
    if tag == 0xA0:
        other = asn1.decode(AnotherName, der.tlv(der.SEQUENCE, content))
        if other.type_id == oids.ID_MS_SAN_UPN:
            return f"UPN {asn1.decode_as(asn1.UTF8_STRING, other.value)}"
        return f"otherName {other.type_id}"
    if tag == 0x87:
        return f"IP {content.hex()}"
    return f"{_FORMS.get(tag, f'form {tag:#04x}')} {content.decode('latin-1')}"


def _listed(found: tuple[str, ...]) -> str:
    more = f", and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(found[:MAX_SHOWN]) + more


def _name_constraints(value: bytes) -> str:
    found = decode_name_constraints(value)
    out = []
    for what, trees in (("permitted", found.permitted), ("excluded", found.excluded)):
        if trees:
            shown = tuple(general_name_text(tag, content) for tag, content in trees)
            out.append(f"{what}: {_listed(shown)}")
    return "; ".join(out)


def _distribution_points(value: bytes) -> str:
    urls = tuple(url for point in decode_crl_distribution_points(value) for url in point.urls)
    return _listed(urls) or "(no URI)"


def _information_access(value: bytes) -> str:
    out = [f"OCSP {url}" for url in decode_authority_info_access(value, oids.ID_AD_OCSP)]
    out += [f"issuer {url}" for url in decode_authority_info_access(value, oids.ID_AD_CA_ISSUERS)]
    return _listed(tuple(out)) or "(no URI)"


def _authority_key(value: bytes) -> str:
    found = decode_authority_key_identifier(value)
    if found.key_identifier is not None:
        return found.key_identifier.hex()
    serial_number = found.authority_cert_serial_number
    return "(empty)" if serial_number is None else f"serial number {serial_number:x}"


def _policies(value: bytes) -> str:
    return _listed(decode_certificate_policies(value))


def _policy_constraints(value: bytes) -> str:
    found = decode_policy_constraints(value)
    out = []
    if found.require_explicit_policy is not None:
        out.append(f"explicit policy after {found.require_explicit_policy}")
    if found.inhibit_policy_mapping is not None:
        out.append(f"no mapping after {found.inhibit_policy_mapping}")
    if not out:
        raise PkiError(DerFault.MISSING_FIELD, "policyConstraints")
    return ", ".join(out)


def _key_usage(value: bytes) -> str:
    start, end = der.open_tlv(value, der.BIT_STRING)
    bits = int.from_bytes(value[start + 1 : end].ljust(2, b"\0")[:2], "big")
    named = [name for index, name in enumerate(_KEY_USAGES) if bits >> (15 - index) & 1]
    return ", ".join(named) or "(none)"


_OID_LIST: asn1.Spec[tuple[str, ...]] = asn1.sequence_of(asn1.OID)


def _ext_key_usage(value: bytes) -> str:
    purposes: tuple[str, ...] = asn1.decode_as(_OID_LIST, value)
    return ", ".join(map(names.oid_short, purposes))


def _basic_constraints(value: bytes) -> str:
    start, end = der.open_tlv(value, der.SEQUENCE)
    parts = der.children(value, start, end, 2)
    is_ca = any(t == der.BOOLEAN and value[s] != 0 for t, _, s, _ in parts)
    lengths = [der.decode_integer(value, s, e) for t, _, s, e in parts if t == der.INTEGER]
    return f"CA: {'TRUE' if is_ca else 'FALSE'}" + "".join(f", pathLen {n}" for n in lengths)


def _alt_name(value: bytes) -> str:
    found = decode_subject_alt_name(value)
    shown = [f"UPN {upn}" for upn in found.upns]
    shown += [f"principal {'/'.join(p.components)}@{p.realm}" for p in found.pkinit]
    shown += [f"DNS {dns}" for dns in found.dns]
    shown += [f"email {email}" for email in found.emails]
    shown += [f"URI {uri}" for uri in found.uris]
    return ", ".join(shown) or "(no name of a kind that a KDC reads)"


def _key_identifier(value: bytes) -> str:
    return asn1.decode_as(asn1.OCTET_STRING, value).hex()


CA_EXTENSIONS: Mapping[str, Callable[[bytes], str]] = {
    oids.ID_CE_NAME_CONSTRAINTS: _name_constraints,
    oids.ID_CE_CRL_DISTRIBUTION_POINTS: _distribution_points,
    oids.ID_CE_FRESHEST_CRL: _distribution_points,
    oids.ID_PE_AUTHORITY_INFO_ACCESS: _information_access,
    oids.ID_CE_AUTHORITY_KEY_IDENTIFIER: _authority_key,
    oids.ID_CE_CERTIFICATE_POLICIES: _policies,
    oids.ID_CE_POLICY_CONSTRAINTS: _policy_constraints,
}
"""Extension -> what writes its value; each raises PkiError for a malformed one."""

EXTENSIONS: Mapping[str, Callable[[bytes], str]] = {
    oids.ID_CE_SUBJECT_KEY_IDENTIFIER: _key_identifier,
    oids.ID_CE_KEY_USAGE: _key_usage,
    oids.ID_CE_EXT_KEY_USAGE: _ext_key_usage,
    oids.ID_CE_BASIC_CONSTRAINTS: _basic_constraints,
    oids.ID_CE_SUBJECT_ALT_NAME: _alt_name,
    oids.ID_MS_SID_EXTENSION: decode_sid_extension,
    **CA_EXTENSIONS,
}
"""All that are written; a malformed value raises PkiError, IndexError or ValueError."""
