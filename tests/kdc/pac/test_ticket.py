"""Where the PAC lies in a ticket, and the octets that a ticket signature covers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdc.pac import (
    PLACEHOLDER,
    PacError,
    PacFault,
    encode_if_relevant,
    parse_pac,
    service_pac,
    split_ticket,
    verify_pac,
    wrap_if_relevant,
)
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    AuthorizationDataElement,
    EncryptionKey,
    EncTicketPart,
    PrincipalName,
    TransitedEncoding,
)
from pki import asn1, der
from tests.kdc.pac.builders import ALICE, KRBTGT, NOW, SERVICE, facts

PART = EncTicketPart(
    flags=0x40E10000,
    key=EncryptionKey(keytype=18, keyvalue=bytes(32)),
    crealm="LAB.TEST",
    cname=PrincipalName(name_type=1, name_string=("alice",)),
    transited=TransitedEncoding(tr_type=1, contents=b""),
    authtime=NOW,
    starttime=NOW,
    endtime=NOW,
    renew_till=None,
    caddr=None,
    authorization_data=None,
)
OTHER = AuthorizationDataElement(ad_type=-7, ad_data=b"other")


def ticket(*elements: AuthorizationDataElement) -> bytes:
    return asn1.encode(replace(PART, authorization_data=elements or None))


def if_relevant(*elements: AuthorizationDataElement) -> AuthorizationDataElement:
    return AuthorizationDataElement(ad_type=1, ad_data=asn1.encode_as(AUTHORIZATION_DATA, elements))


def test_pac_is_wrapped_in_if_relevant() -> None:
    """RFC 4120 5.2.6.1 and MS-PAC 2.11: 1 { 128 }."""
    pac = AuthorizationDataElement(ad_type=128, ad_data=b"the PAC")
    assert wrap_if_relevant(b"the PAC") == if_relevant(pac)


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 255, 256, 900, 65_535, 65_536])
def test_spliced_element_is_the_declared_one(size: int) -> None:
    """DER of every length of length (X.690 8.1.3)."""
    assert encode_if_relevant(bytes(size)) == asn1.encode(wrap_if_relevant(bytes(size)))


@pytest.mark.parametrize("before", [(), (OTHER,)])
@pytest.mark.parametrize("inside", [(), (OTHER,)])
def test_split_gives_the_pac_and_the_octets_that_were_signed(
    before: tuple[AuthorizationDataElement, ...], inside: tuple[AuthorizationDataElement, ...]
) -> None:
    """MS-PAC 2.8.3: the PAC is one zero octet, everything else as it was."""

    def made(pac: bytes) -> bytes:
        element = AuthorizationDataElement(ad_type=128, ad_data=pac)
        return ticket(*before, if_relevant(*inside, element), OTHER)

    found = split_ticket(made(b"x" * 700))
    assert found.pac == b"x" * 700
    assert found.signed == made(b"\0")


def test_service_ticket_made_and_judged() -> None:
    """The two recipes of `kdc.pac.ticket` fit each other."""
    signed = ticket(wrap_if_relevant(PLACEHOLDER))
    plain = ticket(wrap_if_relevant(service_pac(facts(), SERVICE, KRBTGT, signed)))
    found = split_ticket(plain)
    assert found.pac is not None
    read = verify_pac(
        parse_pac(found.pac), server_key=SERVICE, krbtgt_keys=(KRBTGT,), ticket=found.signed
    )
    assert read.logon_info.sid == ALICE.sid


def test_forwardable_flag_set_by_the_service_is_noticed() -> None:
    """Row T12, CVE-2020-17049: the service knows the ticket's key, and nothing more."""
    signed = ticket(wrap_if_relevant(PLACEHOLDER))
    plain = ticket(wrap_if_relevant(service_pac(facts(), SERVICE, KRBTGT, signed)))
    part = asn1.decode(EncTicketPart, plain)
    part.flags ^= 1 << 30
    found = split_ticket(asn1.encode(part))
    assert found.pac is not None
    with pytest.raises(PacError) as caught:
        verify_pac(
            parse_pac(found.pac), server_key=SERVICE, krbtgt_keys=(KRBTGT,), ticket=found.signed
        )
    assert caught.value.fault is PacFault.BAD_TICKET_SIGNATURE


@pytest.mark.parametrize(
    "elements",
    [
        (),
        (OTHER,),
        (if_relevant(OTHER),),
        (AuthorizationDataElement(ad_type=128, ad_data=b"bare"),),
    ],
    ids=["nothing", "other", "other inside", "bare"],
)
def test_ticket_without_a_pac(elements: tuple[AuthorizationDataElement, ...]) -> None:
    """A PAC outside AD-IF-RELEVANT is none: nobody of ours wrote it."""
    found = split_ticket(ticket(*elements))
    assert (found.pac, found.signed) == (None, ticket(*elements))


@pytest.mark.parametrize(
    "elements",
    [
        (wrap_if_relevant(b"a"), wrap_if_relevant(b"b")),
        (if_relevant(*(AuthorizationDataElement(ad_type=128, ad_data=b"a") for _ in range(2))),),
    ],
)
def test_two_pacs_are_refused(elements: tuple[AuthorizationDataElement, ...]) -> None:
    """Which one a service reads is its own choice: none of ours has two."""
    with pytest.raises(PacError) as caught:
        split_ticket(ticket(*elements))
    assert caught.value.fault is PacFault.SEVERAL


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30\x00",
        ticket(wrap_if_relevant(b"a")) + b"\0",
        ticket(AuthorizationDataElement(ad_type=1, ad_data=b"not DER")),
        ticket(AuthorizationDataElement(ad_type=1, ad_data=b"\x30\x02\x05\x00")),
        ticket(AuthorizationDataElement(ad_type=1, ad_data=b"\x30\x02\x30\x00")),
        ticket(if_relevant(*(OTHER for _ in range(65)))),
    ],
    ids=range(7),
)
def test_malformed_authorization_data_is_refused(octets: bytes) -> None:
    """Only what is on the way to a PAC is looked at, and that strictly."""
    with pytest.raises(PacError) as caught:
        split_ticket(octets)
    assert caught.value.fault is PacFault.MALFORMED


@given(st.binary(max_size=80))
def test_any_octets_are_split_or_refused(octets: bytes) -> None:
    """Nothing but PacError leaves, at any place where octets of others may stand."""
    element = AuthorizationDataElement(ad_type=1, ad_data=octets)
    for plain in (octets, der.tlv(0x63, octets), ticket(element)):
        try:
            split_ticket(plain)
        except PacError as error:
            assert error.fault in (PacFault.MALFORMED, PacFault.SEVERAL)
