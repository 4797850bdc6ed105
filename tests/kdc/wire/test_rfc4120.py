"""RFC 4120's messages against impacket's declarations in pyasn1: the same octets both ways."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from impacket.krb5 import asn1 as judge  # type: ignore[import-untyped]  # it ships no types
from pyasn1.codec.der.decoder import decode as judge_decode  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der.encoder import encode as judge_encode  # type: ignore[import-untyped]  # no types

from kdc.wire.rfc4120 import (
    AsRep,
    AsReq,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    KrbError,
    LastReqEntry,
    PaData,
    PaEncTsEnc,
    PrincipalName,
    Ticket,
    TransitedEncoding,
)
from pki import asn1
from pki.errors import PkiError
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    error_of,
    open_reply,
)

NAME = PrincipalName(name_type=1, name_string=("alice",))
SEALED = EncryptedData(etype=18, kvno=3, cipher=bytes(40))
TICKET = Ticket(tkt_vno=5, realm="LAB.TEST", sname=NAME, enc_part=SEALED)
KEY = EncryptionKey(keytype=18, keyvalue=bytes(32))
ADDRESS = HostAddress(addr_type=2, address=bytes(4))
FULL_BODY = replace(
    BODY,
    from_=NOW,
    addresses=(ADDRESS, ADDRESS),
    enc_authorization_data=SEALED,
    additional_tickets=(TICKET,),
)
PADATA = (PaData(padata_type=2, padata_value=b"x"), PaData(padata_type=-17, padata_value=b""))

MESSAGES: dict[str, tuple[object, Any]] = {
    "AS-REQ": (
        AsReq(pvno=5, msg_type=10, padata=PADATA, req_body=FULL_BODY),
        judge.AS_REQ,
    ),
    "AS-REQ without options": (
        AsReq(
            pvno=5,
            msg_type=10,
            padata=None,
            req_body=replace(BODY, cname=None, sname=None, rtime=None, etype=()),
        ),
        judge.AS_REQ,
    ),
    "AS-REP": (
        AsRep(
            pvno=5,
            msg_type=11,
            padata=PADATA,
            crealm="LAB.TEST",
            cname=NAME,
            ticket=TICKET,
            enc_part=replace(SEALED, kvno=None),
        ),
        judge.AS_REP,
    ),
    "EncASRepPart": (
        EncAsRepPart(
            key=KEY,
            last_req=(LastReqEntry(lr_type=0, lr_value=NOW),),
            nonce=2**32 - 1,
            key_expiration=NOW,
            flags=0x40E10000,
            authtime=NOW,
            starttime=NOW,
            endtime=NOW,
            renew_till=NOW,
            srealm="LAB.TEST",
            sname=NAME,
            caddr=(ADDRESS,),
            encrypted_pa_data=PADATA,
        ),
        judge.EncASRepPart,
    ),
    "EncTicketPart": (
        EncTicketPart(
            flags=0,
            key=KEY,
            crealm="LAB.TEST",
            cname=NAME,
            transited=TransitedEncoding(tr_type=1, contents=b""),
            authtime=NOW,
            endtime=NOW,
        ),
        judge.EncTicketPart,
    ),
    "KRB-ERROR": (
        KrbError(
            pvno=5,
            msg_type=30,
            ctime=NOW,
            cusec=999_999,
            stime=NOW,
            susec=0,
            error_code=100,
            crealm="LAB.TEST",
            cname=NAME,
            realm="LAB.TEST",
            sname=NAME,
            e_text="text",
            e_data=b"data",
        ),
        judge.KRB_ERROR,
    ),
    "PA-ENC-TS-ENC": (PaEncTsEnc(patimestamp=NOW, pausec=5), judge.PA_ENC_TS_ENC),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_judge_reads_and_writes_the_same_octets(message: str) -> None:
    """RFC 4120 appendix A: what we write, pyasn1 reads, and writes again unchanged."""
    value, spec = MESSAGES[message]
    ours = asn1.encode(value)
    read, rest = judge_decode(ours, asn1Spec=spec())
    assert rest == b""
    again = judge_encode(read)
    # impacket's BIT STRING type drops trailing zero bits when it writes; our reading allows that.
    assert asn1.decode(type(value), again) == value
    if "Enc" not in message and "REQ" not in message:
        assert again == ours


def test_judge_finds_the_values_of_a_body() -> None:
    """Each field is where RFC 4120 5.4.1 has it."""
    read, _ = judge_decode(as_req(FULL_BODY), asn1Spec=judge.AS_REQ())
    body = read["req-body"]
    assert str(body["realm"]) == "LAB.TEST"
    assert [str(part) for part in body["cname"]["name-string"]] == ["alice"]
    assert [int(e) for e in body["etype"]] == [18, 17, 20, 19]
    assert str(body["till"]) == "20260504200000Z"
    assert str(body["rtime"]) == "20260506120000Z"
    assert str(body["from"]) == "20260504120000Z"
    assert int(body["nonce"]) == BODY.nonce
    assert [int(bit) for bit in body["kdc-options"]][:9] == [0, 1, 0, 0, 0, 0, 0, 0, 1]


def test_judge_reads_what_the_kdc_answers(kdc: Kdc) -> None:
    """A KRB-ERROR, an AS-REP and its sealed part of the running core."""
    error, rest = judge_decode(kdc.ask(as_req()).reply, asn1Spec=judge.KRB_ERROR())
    assert (int(error["error-code"]), rest) == (25, b"")
    hints, rest = judge_decode(bytes(error["e-data"]), asn1Spec=judge.METHOD_DATA())
    assert ([int(pa["padata-type"]) for pa in hints], rest) == ([19, 16, 15, 136], b"")
    sent = PkinitRequest().build()
    outcome = kdc.ask(sent.message)
    as_rep, rest = judge_decode(outcome.reply, asn1Spec=judge.AS_REP())
    assert (int(as_rep["msg-type"]), rest) == (11, b"")
    opened = open_reply(outcome, sent, kdc)
    part, rest = judge_decode(asn1.encode(opened.part), asn1Spec=judge.EncASRepPart())
    assert (int(part["nonce"]), rest) == (BODY.nonce, b"")
    assert str(part["endtime"]) == "20260504200000Z"


times = st.integers(0, 4_000_000_000).map(
    lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
names = st.builds(
    PrincipalName,
    name_type=st.integers(-(2**31), 2**31 - 1),
    name_string=st.lists(st.text(max_size=20).filter(lambda t: t.isprintable()), max_size=4).map(
        tuple
    ),
)
bodies = st.builds(
    KdcReqBody,
    kdc_options=st.integers(0, 2**32 - 1),
    cname=st.none() | names,
    realm=st.text(max_size=20).filter(lambda t: t.isprintable()),
    sname=st.none() | names,
    from_=st.none() | times,
    till=times,
    rtime=st.none() | times,
    nonce=st.integers(-(2**31), 2**32 - 1),
    etype=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8).map(tuple),
    addresses=st.none(),
    enc_authorization_data=st.none(),
    additional_tickets=st.none(),
)


@given(body=bodies)
@settings(max_examples=100, deadline=None)
def test_any_request_comes_back_as_it_went(body: KdcReqBody) -> None:
    """decode(encode(x)) == x, and the received bytes are the bytes that were sent."""
    encoded = as_req(body)
    read = asn1.decode(AsReq, encoded)
    assert read.req_body == body
    assert read.raw == encoded
    assert read.req_body.raw == asn1.encode(body)
    assert encoded.endswith(read.req_body.raw)


def test_octets_of_a_name_survive_unread(kdc: Kdc) -> None:
    """RFC 4120 5.2.1: what is not UTF-8 goes back as it came, in the error's sname."""
    raw = b"\xff\xfe\x80"
    sname = PrincipalName(name_type=2, name_string=("host", raw.decode(errors="surrogateescape")))
    outcome = kdc.ask(as_req(replace(body_for("alice"), sname=sname)))
    assert outcome.reply is not None
    assert raw in outcome.reply
    assert error_of(outcome).sname == sname


@pytest.mark.parametrize("extra", [b"\x05\x00", b"\xac\x02\x05\x00"])
def test_body_is_not_extensible(extra: bytes) -> None:
    """RFC 4120 has no `...` in KDC-REQ-BODY: unknown fields are not skipped."""
    content = asn1.encode(BODY)[3:]
    assert asn1.encode(BODY)[:2] == b"\x30\x81"
    with pytest.raises(PkiError):
        asn1.decode(KdcReqBody, b"\x30\x81" + bytes((len(content) + len(extra),)) + content + extra)


def test_keys_are_not_shown() -> None:
    """Style guide: nothing secret has a printable repr."""
    assert repr(EncryptionKey(keytype=18, keyvalue=b"secret")) == (
        "EncryptionKey(keytype=18, keyvalue=***)"
    )
