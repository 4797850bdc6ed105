"""PAC signatures: which there are, what each covers, and what is never accepted (T05-T07, T18)."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.model import Sid
from kdc.crypto.etypes import CHECKSUM_BYTES, CHECKSUM_TYPES, EncType, ProtocolKey, make_checksum
from kdc.pac import (
    AUTHENTICATION_AUTHORITY_ASSERTED,
    KEY_TRUST,
    DelegationInfo,
    PacError,
    PacFault,
    PacType,
    VerifiedPac,
    parse_pac,
    service_pac,
    tgt_pac,
    verify_pac,
)
from kdc.pac.read import MAX_BUFFERS, MAX_PAC_BYTES
from tests.kdc.crypto.vectors import cases
from tests.kdc.pac.builders import (
    ALICE,
    DOMAIN,
    FOREIGN,
    KRBTGT,
    NOW,
    SERVICE,
    TICKET,
    facts,
    flip,
    key,
    place,
    sign_again,
    with_buffer,
    without,
)

TGT = tgt_pac(facts(), KRBTGT)
FOR_SERVICE = service_pac(facts(), SERVICE, KRBTGT, TICKET)

SIGNATURES = (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM)
SERVICE_SIGNATURES = (*SIGNATURES, PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM)


def verify_tgt(pac: bytes, *krbtgt_keys: ProtocolKey) -> VerifiedPac:
    keys = krbtgt_keys or (KRBTGT,)
    return verify_pac(parse_pac(pac), server_key=keys[0], krbtgt_keys=keys, ticket=None)


def verify_service(
    pac: bytes, ticket: bytes = TICKET, krbtgt_keys: tuple[ProtocolKey, ...] = (KRBTGT,)
) -> VerifiedPac:
    return verify_pac(parse_pac(pac), server_key=SERVICE, krbtgt_keys=krbtgt_keys, ticket=ticket)


def fault_of_tgt(pac: bytes) -> PacFault:
    with pytest.raises(PacError) as caught:
        verify_tgt(pac)
    return caught.value.fault


def fault_of_service(pac: bytes, ticket: bytes = TICKET) -> PacFault:
    with pytest.raises(PacError) as caught:
        verify_service(pac, ticket)
    return caught.value.fault


# -- what there is ---------------------------------------------------------------------------


def test_buffers_of_a_tgt_in_their_order() -> None:
    """MS-PAC 2.4; REQUESTOR and ATTRIBUTES are in TGTs only; no ticket signature."""
    assert list(parse_pac(TGT).buffers) == [1, 10, 12, 17, 18, 6, 7]


def test_buffers_of_a_pkinit_tgt_with_an_nt_hash() -> None:
    """CREDENTIAL_INFO follows LOGON_INFO."""
    told = facts()
    told.credential_info = b"sealed"
    assert list(parse_pac(tgt_pac(told, KRBTGT)).buffers) == [1, 2, 10, 12, 17, 18, 6, 7]


def test_buffers_of_a_service_ticket_in_their_order() -> None:
    """MS-PAC 2.8.3, 2.8.5: ticket and full signature are in service tickets only."""
    told = facts()
    told.credential_info = b"sealed"
    assert list(parse_pac(service_pac(told, SERVICE, KRBTGT, TICKET)).buffers) == [
        *(1, 10, 12),
        *(6, 7, 16, 19),
    ]
    told = replace(told, delegation=DelegationInfo(proxy_target="host/a"))
    pac = parse_pac(service_pac(told, SERVICE, KRBTGT, TICKET))
    assert list(pac.buffers) == [1, 10, 11, 12, 6, 7, 16, 19]


@pytest.mark.parametrize("pac", [TGT, FOR_SERVICE])
def test_buffers_are_aligned_and_the_last_is_not_empty(pac: bytes) -> None:
    """MS-PAC 2.3: multiples of 8. Windows refuses a PAC that ends in an empty buffer."""
    places = list(parse_pac(pac).buffers.values())
    assert all(offset % 8 == 0 and size for offset, size in places)
    assert len(pac) == (places[-1][0] + places[-1][1] + 7) // 8 * 8


@pytest.mark.parametrize("etype", list(EncType))
def test_signature_has_the_type_of_its_key(etype: EncType) -> None:
    """MS-PAC 2.8.1: server by the service's key, the three others by the krbtgt key."""
    service = key("s", etype)
    pac = parse_pac(service_pac(facts(), service, KRBTGT, TICKET))
    for kind in SERVICE_SIGNATURES:
        mine = service if kind is PacType.SERVER_CHECKSUM else KRBTGT
        buffer = pac.buffer(kind) or b""
        assert struct.unpack_from("<I", buffer)[0] == CHECKSUM_TYPES[mine.enctype]
        assert len(buffer) == 4 + CHECKSUM_BYTES[mine.enctype]


def test_signatures_cover_what_the_document_says() -> None:
    """MS-PAC 2.8.2 to 2.8.5, computed here step by step."""
    pac = parse_pac(FOR_SERVICE)
    values = {kind: (pac.buffer(kind) or b"")[4:] for kind in SERVICE_SIGNATURES}

    def zeroed(*kinds: PacType) -> bytes:
        out = FOR_SERVICE
        for kind in kinds:
            offset, size = place(FOR_SERVICE, kind)
            out = out[: offset + 4] + bytes(size - 4) + out[offset + size :]
        return out

    covered = {
        PacType.TICKET_CHECKSUM: TICKET,
        PacType.FULL_CHECKSUM: zeroed(*SIGNATURES, PacType.FULL_CHECKSUM),
        PacType.SERVER_CHECKSUM: zeroed(*SIGNATURES),
        PacType.KDC_CHECKSUM: values[PacType.SERVER_CHECKSUM],
    }
    for kind, octets in covered.items():
        mine = SERVICE if kind is PacType.SERVER_CHECKSUM else KRBTGT
        assert values[kind] == make_checksum(mine, 17, octets), kind.name


# -- what is read and carried ----------------------------------------------------------------


def test_verified_tgt_pac_says_what_was_written() -> None:
    """Requirement 9: requester, attributes, identities and logon time are what the TGS needs."""
    read = verify_tgt(TGT)
    assert read.requestor == read.logon_info.sid == ALICE.sid
    assert (read.client_info.name, read.client_info.authtime) == ("alice", NOW)
    assert read.attributes == 2
    assert read.logon_info.group_ids == (513, 1200, 1201)


def test_only_asserted_identities_are_carried_over() -> None:
    """Requirement 9: no group, no foreign SID, nothing that looks like S-1-18 but is not."""
    told = facts()
    told.extra_sids = (
        AUTHENTICATION_AUTHORITY_ASSERTED,
        KEY_TRUST,
        KEY_TRUST,
        FOREIGN,
        Sid(5, (18,)),
        Sid(18, (1, 2)),
        DOMAIN.sid.with_rid(512),
    )
    told.delegation = DelegationInfo(proxy_target="host/a", transited=("host/b",))
    carried = verify_tgt(tgt_pac(told, KRBTGT)).carried
    assert carried.asserted_sids == (AUTHENTICATION_AUTHORITY_ASSERTED, KEY_TRUST)
    assert (carried.logon_time, carried.pac_attributes) == (NOW, 2)
    assert verify_service(service_pac(told, SERVICE, KRBTGT, TICKET)).carried.delegation == (
        told.delegation
    )


def test_service_pac_has_no_requestor_and_no_attributes() -> None:
    """Row T02 can then be told from a service ticket."""
    read = verify_service(FOR_SERVICE)
    assert (read.requestor, read.attributes) == (None, None)


# -- signatures that do not verify -----------------------------------------------------------

BAD = {
    PacType.SERVER_CHECKSUM: PacFault.BAD_KDC_SIGNATURE,  # covered by the KDC's, looked at first
    PacType.KDC_CHECKSUM: PacFault.BAD_KDC_SIGNATURE,
    PacType.TICKET_CHECKSUM: PacFault.BAD_SERVER_SIGNATURE,
    PacType.FULL_CHECKSUM: PacFault.BAD_SERVER_SIGNATURE,
}


@pytest.mark.parametrize("kind", SIGNATURES)
@pytest.mark.parametrize("pac", [TGT, FOR_SERVICE], ids=["tgt", "service"])
def test_flipped_or_zeroed_signature_is_refused(pac: bytes, kind: PacType) -> None:
    """Row T05."""
    offset, size = place(pac, kind)
    judged = fault_of_tgt if pac is TGT else fault_of_service
    for at in range(offset + 4, offset + size):
        assert judged(flip(pac, at)) is BAD[kind]
    zeroed = pac[: offset + 4] + bytes(size - 4) + pac[offset + size :]
    assert judged(zeroed) is BAD[kind]


@pytest.mark.parametrize("kind", SERVICE_SIGNATURES)
def test_missing_signature_is_refused(kind: PacType) -> None:
    """Rows T05, T07: also when all the others are made to fit."""
    if kind in SIGNATURES:
        assert fault_of_tgt(without(TGT, kind)) is PacFault.MISSING_SIGNATURE
        assert fault_of_service(without(FOR_SERVICE, kind)) is PacFault.MISSING_SIGNATURE
    else:
        changed = sign_again(without(FOR_SERVICE, kind), SERVICE, KRBTGT)
        assert fault_of_service(changed) is PacFault.MISSING_SIGNATURE


@pytest.mark.parametrize(
    ("checksum_type", "size"),
    [(1, 4), (2, 16), (7, 16), (8, 24), (10, 20), (14, 20), (0xFFFFFF76, 16), (15, 12), (20, 24)],
)
@pytest.mark.parametrize("kind", SIGNATURES)
def test_signature_of_another_type_than_the_keys_is_refused(
    kind: PacType, checksum_type: int, size: int
) -> None:
    """Row T06, MS14-068: CRC32, MD4, MD5, SHA-1, HMAC-MD5 and other keys' types."""
    del size  # the value is never looked at
    changed = with_buffer(TGT, kind, struct.pack("<I", checksum_type))
    assert fault_of_tgt(changed) is PacFault.CHECKSUM_TYPE


@pytest.mark.parametrize("kind", [PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM])
def test_ticket_signatures_of_another_type_are_refused(kind: PacType) -> None:
    """Row T06, for the two that only service tickets have."""
    changed = with_buffer(FOR_SERVICE, kind, struct.pack("<I", 7))
    assert fault_of_service(sign_again(changed, SERVICE, KRBTGT)) is PacFault.CHECKSUM_TYPE


def test_pac_with_a_genuine_windows_signature_of_another_kind_is_refused() -> None:
    """HMAC-MD5 (-138) belongs to RC4 keys, which do not exist here."""
    pac = cases("pac", "windows")[0].octets("pac")
    assert fault_of_tgt(pac) is PacFault.CHECKSUM_TYPE


def test_tgt_signed_with_another_krbtgt_key_is_refused() -> None:
    """A key of the right type that is not ours."""
    assert fault_of_tgt(tgt_pac(facts(), key("other"))) is PacFault.BAD_KDC_SIGNATURE


def test_kdc_signature_of_an_earlier_krbtgt_key_verifies() -> None:
    """After a rotation, service tickets of the last generation are still shown as evidence."""
    keys = (key("new"), key("new", EncType.AES128_CTS_HMAC_SHA1_96), KRBTGT)
    assert verify_service(FOR_SERVICE, krbtgt_keys=keys).logon_info.sid == ALICE.sid


def test_service_that_signs_as_krbtgt_is_refused() -> None:
    """A service knows its own key: the server signature alone proves nothing."""
    forged = service_pac(facts(), SERVICE, SERVICE, TICKET)
    assert fault_of_service(forged) is PacFault.CHECKSUM_TYPE
    other = key("service", KRBTGT.enctype)
    assert fault_of_service(service_pac(facts(), SERVICE, other, TICKET)) is (
        PacFault.BAD_KDC_SIGNATURE
    )


def test_pac_of_one_ticket_in_another_is_refused() -> None:
    """Row T12: any change of the ticket, such as the forwardable flag (CVE-2020-17049)."""
    for at in range(len(TICKET)):
        assert fault_of_service(FOR_SERVICE, flip(TICKET, at)) is PacFault.BAD_TICKET_SIGNATURE


def test_pac_changed_by_its_service_after_the_ticket_signature_is_refused() -> None:
    """Row T07, CVE-2022-37967: the service makes its own signature anew, not the KDC's."""
    offset, _ = place(FOR_SERVICE, PacType.LOGON_INFO)
    changed = flip(FOR_SERVICE, offset + 20 + 100)
    assert fault_of_service(changed) is PacFault.BAD_SERVER_SIGNATURE
    assert fault_of_service(sign_again(changed, SERVICE)) is PacFault.BAD_KDC_SIGNATURE


def test_pac_changed_with_server_and_kdc_signature_made_to_fit_is_refused() -> None:
    """Row T07: the full signature is what is left, were the other two forged (RC4-MD4 attack)."""
    offset, _ = place(FOR_SERVICE, PacType.LOGON_INFO)
    changed = sign_again(flip(FOR_SERVICE, offset + 20 + 100), SERVICE, KRBTGT)
    assert fault_of_service(changed) is PacFault.BAD_FULL_SIGNATURE


def test_service_pac_is_no_tgt_pac() -> None:
    """Its signatures are of two keys; with both alike it still has no requester."""
    read = verify_tgt(service_pac(facts(), KRBTGT, KRBTGT, TICKET))
    assert read.requestor is None, "the TGS refuses it: row T02"


def test_tgt_pac_is_no_service_pac() -> None:
    """It has no ticket signature."""
    with pytest.raises(PacError) as caught:
        verify_pac(parse_pac(TGT), server_key=KRBTGT, krbtgt_keys=(KRBTGT,), ticket=TICKET)
    assert caught.value.fault is PacFault.MISSING_SIGNATURE


@given(at=st.integers(0, len(TGT) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_tgt_pac_is_noticed(at: int, bit: int) -> None:
    """No octet of the PAC, padding included, may be changed."""
    changed = TGT[:at] + bytes((TGT[at] ^ 1 << bit,)) + TGT[at + 1 :]
    with pytest.raises(PacError):
        verify_tgt(changed)


@given(at=st.integers(0, len(FOR_SERVICE) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_service_pac_is_noticed(at: int, bit: int) -> None:
    """The same, with four signatures."""
    changed = FOR_SERVICE[:at] + bytes((FOR_SERVICE[at] ^ 1 << bit,)) + FOR_SERVICE[at + 1 :]
    with pytest.raises(PacError):
        verify_service(changed)


# -- structure -------------------------------------------------------------------------------


def table(*buffers: tuple[int, int, int], count: int | None = None, tail: int = 64) -> bytes:
    """Encode PACTYPE with a table as given."""
    head = struct.pack("<II", len(buffers) if count is None else count, 0)
    return head + b"".join(struct.pack("<IIQ", *entry) for entry in buffers) + bytes(tail)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        table(),
        table((1, 8, 24), count=2, tail=0),
        table((1, 8, 24), count=0xFFFFFFFF),
        table((1, 8, 24), count=0x10000001),
        table(*((kind, 0, 8 + 16 * 33) for kind in range(33))),
        struct.pack("<II", 1, 1) + table((1, 8, 24))[8:],
        table((1, 0xFFFFFFFF, 24)),
        table((1, 0xFFFFFFF0, 32)),
        table((1, 8, 0xFFFFFFFFFFFFFFF8)),
        table((1, 8, 0x1_0000_0018)),
        table((1, 8, 88)),
        table((1, 8, 25)),
        table((1, 8, 8)),
        table((1, 8, 40), (1, 8, 48)),
        table((1, 16, 40), (2, 8, 48)),
        table((1, 8, 24), tail=MAX_PAC_BYTES),
    ],
    ids=range(18),
)
def test_envelope_that_does_not_add_up_is_refused(data: bytes) -> None:
    """Row T18, CVE-2022-42898: counts and offsets past the end, overlapping, or twice."""
    with pytest.raises(PacError) as caught:
        parse_pac(data)
    assert caught.value.fault is PacFault.MALFORMED


def test_most_buffers_that_are_allowed() -> None:
    """MAX_BUFFERS of them, empty ones too, in any order."""
    start = 8 + 16 * MAX_BUFFERS
    entries = [(kind, 0, start) for kind in range(MAX_BUFFERS)]
    assert len(parse_pac(table(*entries)).buffers) == MAX_BUFFERS


@pytest.mark.parametrize("kind", [PacType.LOGON_INFO, PacType.CLIENT_INFO])
def test_signed_pac_without_a_buffer_it_must_have_is_refused(kind: PacType) -> None:
    """MS-PAC 2.4: the KDC always writes both."""
    changed = sign_again(without(TGT, kind), KRBTGT, KRBTGT)
    assert fault_of_tgt(changed) is PacFault.MISSING_BUFFER


def test_signed_pac_with_malformed_contents_is_refused() -> None:
    """Our own signature over what we would not write."""
    changed = with_buffer(TGT, PacType.REQUESTOR, b"\x02")
    assert fault_of_tgt(sign_again(changed, KRBTGT, KRBTGT)) is PacFault.MALFORMED


@pytest.mark.parametrize("size", [0, 3, 4, 15])
def test_signature_of_the_wrong_length_is_refused(size: int) -> None:
    """Too short for its type."""
    number = list(parse_pac(TGT).buffers).index(PacType.SERVER_CHECKSUM)
    at = 8 + 16 * number + 4
    changed = TGT[:at] + struct.pack("<I", size) + TGT[at + 4 :]
    assert fault_of_tgt(changed) is PacFault.MALFORMED


def test_rodc_identifier_after_a_signature_is_tolerated() -> None:
    """MS-PAC 2.8: two octets that follow the value, and are covered by the other signatures."""
    told = facts()
    pac = tgt_pac(told, KRBTGT)
    number = list(parse_pac(pac).buffers).index(PacType.KDC_CHECKSUM)
    at = 8 + 16 * number + 4
    longer = pac[:at] + struct.pack("<I", 18) + pac[at + 4 :] + b"\x01\0"
    offset, _ = place(longer, PacType.KDC_CHECKSUM)
    zeroed = longer[: offset + 4] + bytes(12) + longer[offset + 16 :]
    server_at, _ = place(longer, PacType.SERVER_CHECKSUM)
    zeroed = zeroed[: server_at + 4] + bytes(12) + zeroed[server_at + 16 :]
    server = make_checksum(KRBTGT, 17, zeroed)
    kdc = make_checksum(KRBTGT, 17, server)
    signed = zeroed[: server_at + 4] + server + zeroed[server_at + 16 :]
    signed = signed[: offset + 4] + kdc + signed[offset + 16 :]
    assert verify_tgt(signed).requestor == ALICE.sid


@given(data=st.binary(max_size=400))
def test_any_octets_are_a_pac_or_refused(data: bytes) -> None:
    """Nothing but PacError leaves the parser."""
    try:
        verify_tgt(data)
    except PacError:
        pass
    else:
        pytest.fail("random octets verified")


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
        max_size=6,
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_table_is_a_pac_or_refused(entries: list[tuple[int, int, int]], count: int) -> None:
    """Row T18: what parses lies inside the octets."""
    for data in (table(*entries), table(*entries, count=count)):
        try:
            pac = parse_pac(data)
        except PacError:
            continue
        assert all(offset + size <= len(data) for offset, size in pac.buffers.values())


def test_a_pac_has_no_octets_in_its_repr() -> None:
    """CREDENTIAL_INFO is sealed, but nobody needs it in a log."""
    assert TGT.hex()[40:80] not in repr(parse_pac(TGT))
    assert "raw" not in repr(replace(parse_pac(TGT)))
