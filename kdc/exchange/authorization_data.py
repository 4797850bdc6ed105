"""What authorization data a ticket carries besides our PAC (RFC 4120 5.2.6, MS-KILE 3.3.5.7).

Rules
  1. What the TGT carries besides its PAC binds every ticket got with it: a restriction is not shed
     by asking once more. It was judged when the TGT was issued.
  2. What the client brings is taken over inside AD-IF-RELEVANT only, where a service may ignore
     what it does not know. There, too, nothing that speaks for the KDC: no PAC (MS14-068), no
     AD-KDC-ISSUED, no authentication indicator. Whoever brings such a thing gets no ticket.
  3. The two marks of FAST, empty, are its own to bring as they are: they only make the ticket good
     for less (RFC 6113 5.4.1.1, 5.4.2).
"""

from dataclasses import dataclass

from kdc.errors import KdcError
from kdc.wire.constants import AdType, ErrorCode
from kdc.wire.rfc4120 import AUTHORIZATION_DATA, AuthorizationDataElement
from pki import asn1

SPEAKS_FOR_THE_KDC = frozenset(
    {
        AdType.KDC_ISSUED,
        AdType.MANDATORY_FOR_KDC,
        AdType.FX_FAST_ARMOR,
        AdType.FX_FAST_USED,
        AdType.CAMMAC,
        AdType.AUTHENTICATION_INDICATOR,
        AdType.WIN2K_PAC,
        AdType.SIGNTICKET,
        # Containers inside a container could hide any of the above.
        AdType.IF_RELEVANT,
        AdType.AND_OR,
    }
)


def check_brought(brought: tuple[AuthorizationDataElement, ...]) -> None:
    """Refuse authorization data that a client may not bring: KDC_ERR_POLICY.

    Raises PkiError for an AD-IF-RELEVANT that is not DER.
    """
    for element in brought:
        if element.ad_type in (AdType.FX_FAST_ARMOR, AdType.FX_FAST_USED) and not element.ad_data:
            continue
        if element.ad_type != AdType.IF_RELEVANT:
            raise KdcError(
                ErrorCode.KDC_ERR_POLICY,
                "the client brings authorization data outside AD-IF-RELEVANT",
                ad_type=element.ad_type,
            )
        for inner in asn1.decode_as(AUTHORIZATION_DATA, element.ad_data):
            if inner.ad_type in SPEAKS_FOR_THE_KDC:
                raise KdcError(
                    ErrorCode.KDC_ERR_POLICY,
                    "the client brings authorization data that only a KDC may make",
                    ad_type=inner.ad_type,
                )


@dataclass(slots=True, kw_only=True)
class TicketData:
    """A ticket's authorization data, taken apart."""

    pac: bytes | None
    """None: the ticket has no PAC."""
    others: tuple[AuthorizationDataElement, ...]


def take_apart(elements: tuple[AuthorizationDataElement, ...]) -> TicketData:
    """Part a ticket's PAC, in AD-IF-RELEVANT (MS-PAC 2.11), from the other authorization data.

    Raises KdcError: KRB_ERR_GENERIC for two PACs; PkiError for an AD-IF-RELEVANT that is not DER.
    """
    pac = None
    others = []
    for element in elements:
        if element.ad_type != AdType.IF_RELEVANT:
            others.append(element)
            continue
        found = [
            inner.ad_data
            for inner in asn1.decode_as(AUTHORIZATION_DATA, element.ad_data)
            if inner.ad_type == AdType.WIN2K_PAC
        ]
        if not found:
            others.append(element)
        elif pac is not None or len(found) > 1:
            raise KdcError(ErrorCode.KRB_ERR_GENERIC, "more than one PAC in the ticket")
        else:
            # It stands alone in its container; what is beside it is not ours and goes with it.
            pac = found[0]
    return TicketData(pac=pac, others=tuple(others))
