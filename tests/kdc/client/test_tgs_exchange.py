"""The TGS exchange of our client: a fake KDC that is right, then wrong in one thing at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from kdc.client.errors import ClientError, ClientFault, RefusedError
from kdc.client.tgs_exchange import TgsExchange, TgsOptions, service_name
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, decrypt, encrypt, verify_checksum
from kdc.formats.ccache import Credential, Principal
from kdc.wire.constants import (
    PVNO,
    ErrorCode,
    KdcOption,
    MessageType,
    NameType,
    PaType,
    TicketFlag,
)
from kdc.wire.ms_kile import KERB_KEY_LIST_REP, KERB_KEY_LIST_REQ
from kdc.wire.rfc4120 import (
    ApReq,
    Authenticator,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    KrbError,
    LastReqEntry,
    PaData,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
)
from pki import asn1
from tests.kdc.client.fake_kdc import KRBTGT, REALM, counting_entropy
from tests.kdc.client.fake_kdc import NOW as CLOCK

SESSION = ProtocolKey(EncType(18), bytes(range(32)))
WEB = service_name("host/web.lab.test")
NOW = CLOCK.replace(microsecond=0)
END = NOW + timedelta(hours=10)
SERVICE_SESSION_KEY = bytes(range(100, 132))


def ticket(sname: PrincipalName, cipher: bytes = b"sealed for somebody else") -> Ticket:
    """Return a ticket that nobody here can open."""
    sealed = EncryptedData(etype=18, kvno=1, cipher=cipher)
    return Ticket(tkt_vno=PVNO, realm=REALM, sname=sname, enc_part=sealed)


TGT = Credential(
    client=Principal(realm=REALM, components=("alice",)),
    server=Principal.of(REALM, KRBTGT),
    etype=18,
    session_key=SESSION.value,
    authtime=NOW,
    starttime=NOW,
    endtime=END,
    renew_till=None,
    flags=TicketFlag.FORWARDABLE,
    ticket=asn1.encode(ticket(KRBTGT)),
)


def same_part(part: EncTgsRepPart) -> EncTgsRepPart:
    """Change nothing."""
    return part


def same_reply(reply: TgsRep) -> TgsRep:
    """Change nothing."""
    return reply


@dataclass(slots=True, kw_only=True)
class FakeTgs:
    """Opens a TGS-REQ as RFC 4120 3.3.2 says and answers it; each step can be broken."""

    change_part: Callable[[EncTgsRepPart], EncTgsRepPart] = same_part
    change_reply: Callable[[TgsRep], TgsRep] = same_reply
    change_plain: Callable[[bytes], bytes] = field(default=lambda plain: plain)
    error: ErrorCode | None = None
    seen: list[TgsReq] = field(default_factory=list)

    def handle(self, message: bytes) -> bytes:
        """Answer one TGS-REQ."""
        request = asn1.decode(TgsReq, message)
        self.seen.append(request)
        pa = (request.padata or ())[0]
        ap_req = asn1.decode(ApReq, pa.padata_value)
        assert asn1.encode(ap_req.ticket) == TGT.ticket
        plain = decrypt(SESSION, KeyUsage.TGS_REQ_AUTHENTICATOR, ap_req.authenticator.cipher)
        authenticator = asn1.decode(Authenticator, plain)
        assert authenticator.cksum is not None
        verify_checksum(
            SESSION,
            KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM,
            request.req_body.raw,
            authenticator.cksum.checksum,
        )
        assert authenticator.ctime + timedelta(microseconds=authenticator.cusec) == CLOCK
        assert authenticator.cname.name_string == ("alice",)
        assert authenticator.subkey is not None
        subkey = ProtocolKey(EncType(authenticator.subkey.keytype), authenticator.subkey.keyvalue)
        body = request.req_body
        assert body.sname is not None
        if self.error is not None:
            return asn1.encode(
                KrbError(
                    pvno=PVNO,
                    msg_type=MessageType.KRB_ERROR,
                    stime=NOW,
                    susec=0,
                    error_code=self.error,
                    realm=REALM,
                    sname=body.sname,
                )
            )
        part = EncTgsRepPart(
            key=EncryptionKey(keytype=18, keyvalue=SERVICE_SESSION_KEY),
            last_req=(LastReqEntry(lr_type=0, lr_value=NOW),),
            nonce=body.nonce,
            flags=TicketFlag.FORWARDABLE,
            authtime=NOW,
            starttime=NOW,
            endtime=body.till,
            srealm=REALM,
            sname=body.sname,
        )
        sealed = self.change_plain(asn1.encode(self.change_part(part)))
        cipher = encrypt(subkey, KeyUsage.TGS_REP_ENC_PART_SUBKEY, sealed, bytes(16))
        reply = TgsRep(
            pvno=PVNO,
            msg_type=MessageType.TGS_REP,
            crealm=REALM,
            cname=PrincipalName(name_type=1, name_string=("alice",)),
            ticket=ticket(body.sname, b"for the service"),
            enc_part=EncryptedData(etype=18, cipher=cipher),
        )
        return asn1.encode(self.change_reply(reply))


def get(kdc: FakeTgs, **changes: object) -> Credential:
    """Ask once and return the ticket."""
    options = replace(TgsOptions(server=WEB, realm=REALM), **changes)  # type: ignore[arg-type]  # by field name
    state = TgsExchange(options, TGT, counting_entropy)
    return state.receive(kdc.handle(state.start(CLOCK)), CLOCK)


def failure(kdc: FakeTgs, **changes: object) -> tuple[ClientFault, str]:
    """Ask once, in vain, and return why."""
    with pytest.raises(ClientError) as caught:
        get(kdc, **changes)
    return caught.value.fault, caught.value.detail


def test_service_ticket() -> None:
    """RFC 4120 3.3: authenticator with checksum and subkey; the ticket as the KDC sealed it."""
    kdc = FakeTgs()
    got = get(kdc)
    assert (str(got.client), str(got.server)) == ("alice@LAB.TEST", "host/web.lab.test@LAB.TEST")
    assert got.session_key == SERVICE_SESSION_KEY
    assert (got.authtime, got.endtime) == (NOW, END)
    assert asn1.decode(Ticket, got.ticket).enc_part.cipher == b"for the service"
    body = kdc.seen[0].req_body
    assert body.cname is None
    assert body.till == END
    assert body.kdc_options == KdcOption.FORWARDABLE | KdcOption.CANONICALIZE


def test_user_to_user() -> None:
    """The other's TGT goes along, and the cache says what the ticket is sealed with."""
    kdc = FakeTgs()
    second = asn1.encode(ticket(KRBTGT, b"bob's"))
    got = get(kdc, kdc_options=KdcOption.ENC_TKT_IN_SKEY, second_ticket=second)
    tickets = kdc.seen[0].req_body.additional_tickets
    assert tickets is not None
    assert asn1.encode(tickets[0]) == second
    assert (got.is_session_key, got.second_ticket) == (True, second)


def test_end_that_is_asked_for() -> None:
    """A shorter life than the TGT's."""
    till = NOW + timedelta(hours=1)
    assert get(FakeTgs(), till=till).endtime == till


def test_application_tag_of_an_as_rep_part_is_accepted() -> None:
    """RFC 4120 5.4.2: some KDCs mix the two up."""
    assert get(FakeTgs(change_plain=lambda plain: b"\x79" + plain[1:])).endtime == END


@pytest.mark.parametrize(
    ("text", "name_type", "parts"),
    [
        ("host/web.lab.test", NameType.SRV_INST, ("host", "web.lab.test")),
        ("pc1$", NameType.PRINCIPAL, ("pc1$",)),
    ],
)
def test_names_of_services(text: str, name_type: NameType, parts: tuple[str, ...]) -> None:
    """As a user types them."""
    assert service_name(text) == PrincipalName(name_type=name_type, name_string=parts)


def test_refusal_is_final() -> None:
    """A TGS exchange has nothing to adapt."""
    with pytest.raises(RefusedError) as caught:
        get(FakeTgs(error=ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN))
    assert caught.value.code == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN


BOB = PrincipalName(name_type=1, name_string=("bob",))
OTHER = service_name("host/other.lab.test")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda r: replace(r, crealm="OTHER.TEST"), "cname"),
        (lambda r: replace(r, cname=BOB), "cname"),
        (lambda r: replace(r, ticket=replace(r.ticket, realm="OTHER.TEST")), "srealm"),
        (lambda r: replace(r, ticket=replace(r.ticket, sname=OTHER)), "sname"),
        (
            lambda r: replace(r, enc_part=replace(r.enc_part, etype=17)),
            "encryption type of the reply",
        ),
    ],
)
def test_reply_that_is_not_ours(change: Callable[[TgsRep], TgsRep], detail: str) -> None:
    """RFC 4120 3.3.4."""
    assert failure(FakeTgs(change_reply=change)) == (ClientFault.WRONG_ANSWER, detail)


@pytest.mark.parametrize(
    ("change", "fault", "detail"),
    [
        (lambda p: replace(p, nonce=p.nonce ^ 1), ClientFault.WRONG_ANSWER, "nonce"),
        (lambda p: replace(p, srealm="OTHER.TEST"), ClientFault.WRONG_ANSWER, "srealm"),
        (lambda p: replace(p, sname=OTHER), ClientFault.WRONG_ANSWER, "sname"),
        (
            lambda p: replace(p, key=EncryptionKey(keytype=23, keyvalue=bytes(16))),
            ClientFault.BAD_PARAMETERS,
            "session key of a type not asked for",
        ),
        (
            lambda p: replace(p, endtime=END + timedelta(seconds=1)),
            ClientFault.WRONG_ANSWER,
            "endtime",
        ),
        (lambda p: replace(p, endtime=NOW), ClientFault.WRONG_ANSWER, "endtime"),
        (
            lambda p: replace(p, starttime=NOW + timedelta(minutes=6)),
            ClientFault.CLOCK_SKEW,
            "",
        ),
    ],
)
def test_sealed_part_that_does_not_answer_us(
    change: Callable[[EncTgsRepPart], EncTgsRepPart], fault: ClientFault, detail: str
) -> None:
    """RFC 4120 3.3.4."""
    assert failure(FakeTgs(change_part=change)) == (fault, detail)


def test_renewed_tgt_may_end_later_than_asked() -> None:
    """A renewal's end follows from the old life, not from `till`."""
    later = FakeTgs(change_part=lambda p: replace(p, endtime=END + timedelta(hours=1)))
    got = get(later, server=KRBTGT, kdc_options=KdcOption.RENEW)
    assert got.endtime == END + timedelta(hours=1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m[:-1], ClientFault.MALFORMED),
        (lambda _m: b"", ClientFault.MALFORMED),
        (lambda m: b"\x6b" + m[1:], ClientFault.MALFORMED),
        (lambda m: m[:-1] + bytes((m[-1] ^ 1,)), ClientFault.WRONG_KEY),
    ],
)
def test_answer_that_cannot_be_read(change: Callable[[bytes], bytes], fault: ClientFault) -> None:
    """Cut off, another message, or sealed with another key."""
    state = TgsExchange(TgsOptions(server=WEB, realm=REALM), TGT, counting_entropy)
    answer = change(FakeTgs().handle(state.start(CLOCK)))
    with pytest.raises(ClientError) as caught:
        state.receive(answer, CLOCK)
    assert caught.value.fault is fault


def test_header_of_the_reply() -> None:
    """A TGS-REP of another version."""
    broken = FakeTgs(change_reply=lambda r: replace(r, pvno=4))
    assert failure(broken) == (ClientFault.MALFORMED, "header of the TGS-REP")


@pytest.mark.parametrize(
    "tgt",
    [
        replace(TGT, etype=23, session_key=bytes(16)),
        replace(TGT, ticket=b"not a ticket"),
        replace(TGT, endtime=None),
    ],
)
def test_tgt_that_cannot_be_used(tgt: Credential) -> None:
    """Found before anything is sent."""
    state = TgsExchange(TgsOptions(server=WEB, realm=REALM), tgt, counting_entropy)
    with pytest.raises(ClientError) as caught:
        state.start(CLOCK)
    assert caught.value.fault is ClientFault.BAD_PARAMETERS


def test_answer_before_a_question() -> None:
    """The state machine's order."""
    state = TgsExchange(TgsOptions(server=WEB, realm=REALM), TGT, counting_entropy)
    with pytest.raises(ClientError) as caught:
        state.receive(b"\x6d\x00", CLOCK)
    assert caught.value.fault is ClientFault.WRONG_ANSWER


# -- key lists -------------------------------------------------------------------------------

NT_HASH = bytes(range(16))


def with_keys(*padata: PaData) -> Callable[[EncTgsRepPart], EncTgsRepPart]:
    """Put encrypted-pa-data into the reply."""
    return lambda part: replace(part, encrypted_pa_data=padata)


def key_list_rep(*keys: EncryptionKey) -> PaData:
    """Encode a KERB-KEY-LIST-REP."""
    value = asn1.encode_as(KERB_KEY_LIST_REP, keys)
    return PaData(padata_type=PaType.KERB_KEY_LIST_REP, padata_value=value)


def test_keys_are_asked_for_and_come() -> None:
    """MS-KILE 2.2.11 and 2.2.12: what was not asked for is dropped; its place does not matter."""
    other = PaData(padata_type=PaType.SUPPORTED_ENCTYPES, padata_value=bytes(4))
    nt_hash = EncryptionKey(keytype=23, keyvalue=NT_HASH)
    unasked = EncryptionKey(keytype=18, keyvalue=bytes(32))
    kdc = FakeTgs(change_part=with_keys(other, key_list_rep(unasked, nt_hash)))
    options = TgsOptions(server=service_name(f"krbtgt/{REALM}"), realm=REALM, key_list=(23,))
    state = TgsExchange(options, TGT, counting_entropy)
    state.receive(kdc.handle(state.start(CLOCK)), CLOCK)
    assert state.keys == (nt_hash,)
    (_, asked) = kdc.seen[0].padata or ()
    assert asked.padata_type == PaType.KERB_KEY_LIST_REQ
    assert asn1.decode_as(KERB_KEY_LIST_REQ, asked.padata_value) == (23,)


def test_no_keys_when_none_were_asked_for() -> None:
    """And nothing about them is in the request."""
    nt_hash = EncryptionKey(keytype=23, keyvalue=NT_HASH)
    kdc = FakeTgs(change_part=with_keys(key_list_rep(nt_hash)))
    state = TgsExchange(TgsOptions(server=WEB, realm=REALM), TGT, counting_entropy)
    state.receive(kdc.handle(state.start(CLOCK)), CLOCK)
    assert state.keys == ()
    assert len(kdc.seen[0].padata or ()) == 1


def test_malformed_key_list_is_refused() -> None:
    """The ticket is not used either."""
    broken = PaData(padata_type=PaType.KERB_KEY_LIST_REP, padata_value=b"0")
    assert failure(FakeTgs(change_part=with_keys(broken)), key_list=(23,))[0] == (
        ClientFault.MALFORMED
    )
