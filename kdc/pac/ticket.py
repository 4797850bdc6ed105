"""Where the PAC lies in a ticket: AD-IF-RELEVANT (1) { AD-WIN2K-PAC (128) } (MS-PAC 2.11).

How a service ticket is made with its ticket signature:

    signed = EncTicketPart with (wrap_if_relevant(PLACEHOLDER), ...) as authorization data
    pac = service_pac(facts, service_key, krbtgt_key, signed)
    plain = EncTicketPart with (wrap_if_relevant(pac), ...), all else alike: what is encrypted

and how one is judged, from the decrypted octets as they arrived:

    found = split_ticket(plain)                # found.pac, found.signed
    verify_pac(parse_pac(found.pac), server_key=..., krbtgt_keys=..., ticket=found.signed)
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from kdc.pac.faults import PacError, PacFault, malformed
from kdc.wire.rfc4120 import AuthorizationDataElement
from pki import der
from pki.errors import PkiError

AD_IF_RELEVANT = 1
AD_WIN2K_PAC = 128

PLACEHOLDER = b"\0"
"""What stands for the PAC while the ticket signature is made (MS-PAC 2.8.3)."""

MAX_ELEMENTS = 64  # of one authorization-data list
MAX_FIELDS = 16  # EncTicketPart has eleven

_ENC_TICKET_PART = 0x63  # APPLICATION 3
_AUTHORIZATION_DATA = 0xAA  # [10]
_FIELD_0 = 0xA0
_FIELD_1 = 0xA1
_IF_RELEVANT = der.explicit(0, der.encode_integer(AD_IF_RELEVANT))
_PAC_TYPE = der.explicit(0, der.encode_integer(AD_WIN2K_PAC))


def wrap_if_relevant(pac: bytes) -> AuthorizationDataElement:
    """Return the authorization-data element that carries a PAC."""
    octets = der.tlv(_FIELD_1, der.tlv(der.OCTET_STRING, pac))
    element = der.tlv(der.SEQUENCE, _PAC_TYPE + octets)
    return AuthorizationDataElement(ad_type=AD_IF_RELEVANT, ad_data=der.tlv(der.SEQUENCE, element))


def encode_if_relevant(pac: bytes) -> bytes:
    """Return the DER of `wrap_if_relevant(pac)`."""
    octets = der.tlv(_FIELD_1, der.tlv(der.OCTET_STRING, pac))
    element = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, _PAC_TYPE + octets))
    data = der.tlv(_FIELD_1, der.tlv(der.OCTET_STRING, element))
    return der.tlv(der.SEQUENCE, _IF_RELEVANT + data)


@dataclass(slots=True, kw_only=True)
class TicketPac:
    """A decrypted ticket, taken apart for verification."""

    pac: bytes | None
    """None: the ticket has no PAC."""
    signed: bytes = field(repr=False)
    """The EncTicketPart with one zero octet as its PAC: what the ticket signature covers."""


class _Level(NamedTuple):
    """One element on the way to the PAC."""

    tag: int
    start: int
    """Of the element; its end is that of its content."""
    content: int
    end: int


def split_ticket(enc_ticket_part: bytes) -> TicketPac:
    """Find the PAC in a decrypted ticket.

    enc_ticket_part: DER of EncTicketPart as received, already decoded once by the caller; it is
    cut, not encoded again, so that a signature covers what arrived.
    Raises PacError: MALFORMED, SEVERAL.
    """
    path = _find(enc_ticket_part)
    if path is None:
        return TicketPac(pac=None, signed=enc_ticket_part)
    place = path[-1]
    return TicketPac(
        pac=enc_ticket_part[place.content : place.end],
        signed=_replace(enc_ticket_part, path, PLACEHOLDER),
    )


def _replace(buf: bytes, path: list[_Level], value: bytes) -> bytes:
    """Encode every element on the path anew around another value of the last."""
    inner_start, inner_end = path[-1].content, path[-1].end
    for level in reversed(path):
        content = buf[level.content : inner_start] + value + buf[inner_end : level.end]
        value = der.tlv(level.tag, content)
        inner_start, inner_end = level.start, level.end
    return value


def _find(buf: bytes) -> list[_Level] | None:
    """Return the elements from EncTicketPart down to the PAC's OCTET STRING; None without one."""
    try:
        outer = _open(buf, 0, len(buf), _ENC_TICKET_PART)
        body = _open(buf, outer.content, outer.end, der.SEQUENCE)
        for tag, start, content, end in der.children(buf, body.content, body.end, MAX_FIELDS):
            if tag == _AUTHORIZATION_DATA:
                top = [outer, body, _Level(tag, start, content, end)]
                return _find_in_list(buf, top)
    except PkiError:
        raise malformed("authorization-data of the ticket") from None
    return None


def _find_in_list(buf: bytes, top: list[_Level]) -> list[_Level] | None:
    found = None
    for path in _elements(buf, top, AD_IF_RELEVANT):
        for inner in _elements(buf, path, AD_WIN2K_PAC):
            if found is not None:
                raise PacError(PacFault.SEVERAL)
            found = inner
    return found


def _elements(buf: bytes, above: list[_Level], ad_type: int) -> list[list[_Level]]:
    """List the elements of one type in the AuthorizationData inside the last of `above`."""
    listed = _open(buf, above[-1].content, above[-1].end, der.SEQUENCE)
    found = []
    for tag, start, content, end in der.children(buf, listed.content, listed.end, MAX_ELEMENTS):
        fields = list(der.children(buf, content, end, 2))
        if tag != der.SEQUENCE or [f[0] for f in fields] != [_FIELD_0, _FIELD_1]:
            raise malformed("authorization-data of the ticket")
        number = _open(buf, fields[0][2], fields[0][3], der.INTEGER)
        if der.decode_integer(buf, number.content, number.end) == ad_type:
            octets = _open(buf, fields[1][2], fields[1][3], der.OCTET_STRING)
            element = _Level(tag, start, content, end)
            found.append([*above, listed, element, _Level(*fields[1]), octets])
    return found


def _open(buf: bytes, start: int, end: int, tag: int) -> _Level:
    """Read the one element that fills this range."""
    content, stop = der.open_tlv(buf, tag, start, end)
    return _Level(tag, start, content, stop)
