"""Names in certificates: the forms of subjectAltName, the SID forms, X.500 names as text.

Rules
  1. Decoding raises PkiError and nothing else; every list and text has a bound.
  2. Text comes out as the certificate says it: no case folding, no trimming. Whoever compares
     decides what is equal, and refuses what is suspicious (a NUL, a trailing dot).
  3. Name forms we have no use for are skipped, but must be well-formed.
"""

import ipaddress
import re
from dataclasses import dataclass

from pki import asn1, der, oids
from pki.errors import DerFault, PkiError

MAX_GENERAL_NAMES = 64  # a web server's certificate may have many; a logon certificate has three
MAX_TEXT_BYTES = 1024  # the longest legal UPN: 64 + 1 + 255 characters, some of four octets
MAX_RDNS = 64  # OpenSSL's and Windows' names stay below 20

# -- subjectAltName (RFC 5280 4.2.1.6) -------------------------------------------------------

_OTHER_NAME = 0xA0
_RFC822_NAME = 0x81
_DNS_NAME = 0x82
_URI = 0x86
_IP_ADDRESS = 0x87
_SKIPPED = frozenset((0xA3, 0xA4, 0xA5, 0x87, 0x88))  # x400, directory, ediParty, IP, registered

NT_SRV_INST = 2
"""PrincipalName name-type of krbtgt/REALM (RFC 4120 6.2)."""


@asn1.sequence
class AnotherName:
    """AnotherName ::= SEQUENCE { type-id OBJECT IDENTIFIER, value [0] EXPLICIT ANY }"""

    type_id: str = asn1.plain(asn1.OID)
    value: bytes = asn1.explicit(0, asn1.ANY)


@asn1.sequence
class _PrincipalName:
    """PrincipalName ::= SEQUENCE { name-type [0] Int32, name-string [1] SEQUENCE OF String }"""

    name_type: int = asn1.explicit(0, asn1.INT32)
    name_string: tuple[str, ...] = asn1.explicit(1, asn1.sequence_of(asn1.GENERAL_STRING, 16))


@asn1.sequence
class _Krb5PrincipalName:
    """KRB5PrincipalName ::= SEQUENCE { realm [0] Realm, principalName [1] PrincipalName }"""

    realm: str = asn1.explicit(0, asn1.GENERAL_STRING)
    principal_name: _PrincipalName = asn1.explicit(1, asn1.nested(_PrincipalName))


@dataclass(frozen=True, slots=True, kw_only=True)
class PkinitName:
    """The value of an id-pkinit-san otherName (RFC 4556 3.2.2)."""

    realm: str
    name_type: int
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectAltNames:
    """The forms of a subjectAltName that a KDC reads, each in the order of the certificate."""

    upns: tuple[str, ...] = ()
    pkinit: tuple[PkinitName, ...] = ()
    dns: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def _ia5(raw: bytes) -> str:
    if len(raw) > MAX_TEXT_BYTES:
        raise PkiError(DerFault.OVER_LIMIT, "GeneralName")
    if not raw.isascii():
        raise PkiError(DerFault.BAD_VALUE, "GeneralName")
    return raw.decode("ascii")


def _bounded(spec: asn1.Spec[str], element: bytes) -> str:
    if len(element) > MAX_TEXT_BYTES:
        raise PkiError(DerFault.OVER_LIMIT, spec.name)
    return asn1.decode_as(spec, element)


def _pkinit_name(element: bytes) -> PkinitName:
    if len(element) > MAX_TEXT_BYTES:
        raise PkiError(DerFault.OVER_LIMIT, "KRB5PrincipalName")
    name = asn1.decode(_Krb5PrincipalName, element)
    return PkinitName(
        realm=name.realm,
        name_type=name.principal_name.name_type,
        components=name.principal_name.name_string,
    )


def general_names(value: bytes) -> list[tuple[int, bytes]]:
    """List the elements of a GeneralNames value as (identifier octet, content)."""
    start, end = der.open_tlv(value, der.SEQUENCE)
    names = der.children(value, start, end, MAX_GENERAL_NAMES)
    if not names:
        raise PkiError(DerFault.MISSING_FIELD, "GeneralNames")
    return [(tag, value[content:stop]) for tag, _, content, stop in names]


def decode_subject_alt_name(value: bytes) -> SubjectAltNames:
    """Decode the value of a subjectAltName extension (the DER inside its OCTET STRING).

    otherNames of other types are skipped. Raises PkiError.
    """
    upns: list[str] = []
    pkinit: list[PkinitName] = []
    texts: dict[int, list[str]] = {_DNS_NAME: [], _RFC822_NAME: [], _URI: []}
    for tag, content in general_names(value):
        if tag in texts:
            texts[tag].append(_ia5(content))
        elif tag == _OTHER_NAME:
            other = asn1.decode(AnotherName, der.tlv(der.SEQUENCE, content))
            if other.type_id == oids.ID_MS_SAN_UPN:
                upns.append(_bounded(asn1.UTF8_STRING, other.value))
            elif other.type_id == oids.ID_PKINIT_SAN:
                pkinit.append(_pkinit_name(other.value))
            else:
                der.walk(other.value)
        elif tag in _SKIPPED:
            if tag & 0x20:
                der.walk(content)
        else:
            raise PkiError(DerFault.BAD_TAG, "GeneralName")
    return SubjectAltNames(
        upns=tuple(upns),
        pkinit=tuple(pkinit),
        dns=tuple(texts[_DNS_NAME]),
        emails=tuple(texts[_RFC822_NAME]),
        uris=tuple(texts[_URI]),
    )


def other_name(type_id: str, element: bytes) -> bytes:
    """Encode a GeneralName of the otherName form around an encoded value."""
    return der.tlv(_OTHER_NAME, der.encode_oid(type_id) + der.explicit(0, element))


def upn_name(upn: str) -> bytes:
    """Encode a GeneralName that holds a user principal name."""
    return other_name(oids.ID_MS_SAN_UPN, asn1.encode_as(asn1.UTF8_STRING, upn))


def pkinit_name(name: PkinitName) -> bytes:
    """Encode a GeneralName that holds a Kerberos principal (id-pkinit-san)."""
    principal = _PrincipalName(name_type=name.name_type, name_string=name.components)
    value = asn1.encode(_Krb5PrincipalName(realm=name.realm, principal_name=principal))
    return other_name(oids.ID_PKINIT_SAN, value)


def krbtgt_name(realm: str) -> PkinitName:
    """Return krbtgt/REALM@REALM, the name that stands in a KDC's certificate (RFC 4556 3.2.4)."""
    return PkinitName(realm=realm, name_type=NT_SRV_INST, components=("krbtgt", realm))


def dns_name(host: str) -> bytes:
    """Encode a GeneralName of the dNSName form; host must be ASCII (an IDN in its A-labels)."""
    return der.tlv(_DNS_NAME, host.encode("ascii"))


def email_name(address: str) -> bytes:
    """Encode a GeneralName of the rfc822Name form."""
    return der.tlv(_RFC822_NAME, address.encode("ascii"))


def uri_name(uri: str) -> bytes:
    """Encode a GeneralName of the uniformResourceIdentifier form."""
    return der.tlv(_URI, uri.encode("ascii"))


def ip_address_name(address: str) -> bytes:
    """Encode a GeneralName of the iPAddress form from an address in text form."""
    return der.tlv(_IP_ADDRESS, ipaddress.ip_address(address).packed)


def encode_subject_alt_name(*names: bytes) -> bytes:
    """Encode the value of a subjectAltName extension from encoded GeneralNames."""
    return der.sequence(*names)


# -- security identifiers --------------------------------------------------------------------

SID_URI_PREFIX = "tag:microsoft.com,2022-09-14:sid:"
_SID = re.compile(r"S-1-(?:0|[1-9][0-9]{0,9}|0x[0-9a-fA-F]{12})(?:-(?:0|[1-9][0-9]{0,9})){1,15}")


def check_sid_text(text: str) -> str:
    """Return a SID in its text form unchanged; raise PkiError if it is none ([MS-DTYP] 2.4.2.1)."""
    if _SID.fullmatch(text) is None or any(
        int(part, 0) >= 2**32 for part in text.split("-")[2:] if not part.startswith("0x")
    ):
        raise PkiError(DerFault.BAD_VALUE, "SID")
    return text


def decode_sid_extension(value: bytes) -> str:
    """Decode the value of the SID extension ([MS-WCCE] 2.2.2.7.7.4) into "S-1-5-...".

    Shape: GeneralNames with one otherName szOID_NTDS_OBJECTSID, an OCTET STRING of ASCII text.
    """
    found = None
    for tag, content in general_names(value):
        if tag != _OTHER_NAME:
            raise PkiError(DerFault.BAD_TAG, "SID extension")
        other = asn1.decode(AnotherName, der.tlv(der.SEQUENCE, content))
        if other.type_id != oids.ID_MS_SID_VALUE or found is not None:
            raise PkiError(DerFault.BAD_VALUE, "SID extension")
        found = asn1.decode_as(asn1.OCTET_STRING, other.value)
    if found is None or not found.isascii():
        raise PkiError(DerFault.BAD_VALUE, "SID extension")
    return check_sid_text(found.decode("ascii"))


def encode_sid_extension(sid: str) -> bytes:
    """Encode the value of the SID extension."""
    text = der.encode_octet_string(check_sid_text(sid).encode("ascii"))
    return der.sequence(other_name(oids.ID_MS_SID_VALUE, text))


def decode_sid_uri(uri: str) -> str | None:
    """Return the SID of a SAN URI `tag:microsoft.com,2022-09-14:sid:...`, or None for another URI.

    Raises PkiError when the prefix is there and no SID follows. Source: [MS-PKCA] 3.1.5.2.1.6.
    """
    if not uri.startswith(SID_URI_PREFIX):
        return None
    return check_sid_text(uri[len(SID_URI_PREFIX) :])


def encode_sid_uri(sid: str) -> str:
    """Return the SAN URI that carries a SID."""
    return SID_URI_PREFIX + check_sid_text(sid)
