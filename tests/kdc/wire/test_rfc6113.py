"""RFC 6113's types against a second declaration of them, in pyasn1, straight from the document."""

from typing import Any

import pytest
from impacket.krb5 import asn1 as judge  # type: ignore[import-untyped]  # it ships no types
from pyasn1.codec.der.decoder import decode as judge_decode  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der.encoder import encode as judge_encode  # type: ignore[import-untyped]  # no types
from pyasn1.type import univ, useful  # type: ignore[import-untyped]  # it ships no types

from kdc.wire.rfc4120 import Checksum, EncryptedData, EncryptionKey
from kdc.wire.rfc6113 import (
    ANONYMOUS,
    ANONYMOUS_REALM,
    KrbFastArmor,
    KrbFastArmoredRep,
    KrbFastArmoredReq,
    KrbFastFinished,
    KrbFastReq,
    KrbFastResponse,
    decode_pa_fx_fast_reply,
    decode_pa_fx_fast_request,
    encode_pa_fx_fast_reply,
    encode_pa_fx_fast_request,
)
from pki import asn1, der
from pki.errors import DerFault, PkiError
from tests.kdc.builders import BODY, NOW, padata
from tests.kdc.wire.test_rfc4556 import optional, required, sequence, sequence_of, tagged

Judge = Any

_PADATA = sequence_of(judge.PA_DATA())
JUDGE_ARMOR = sequence(
    required("armor-type", tagged(0, univ.Integer())),
    required("armor-value", tagged(1, univ.OctetString())),
)
JUDGE_ARMORED_REQ = sequence(
    optional("armor", tagged(0, JUDGE_ARMOR())),
    required("req-checksum", tagged(1, judge.Checksum())),
    required("enc-fast-req", tagged(2, judge.EncryptedData())),
)
JUDGE_REQ = sequence(
    required("fast-options", tagged(0, univ.BitString())),
    required("padata", tagged(1, _PADATA)),
    required("req-body", tagged(2, judge.KDC_REQ_BODY())),
)
JUDGE_ARMORED_REP = sequence(required("enc-fast-rep", tagged(0, judge.EncryptedData())))
JUDGE_FINISHED = sequence(
    required("timestamp", tagged(0, useful.GeneralizedTime())),
    required("usec", tagged(1, univ.Integer())),
    required("crealm", tagged(2, judge.Realm())),
    required("cname", tagged(3, judge.PrincipalName())),
    required("ticket-checksum", tagged(4, judge.Checksum())),
)
JUDGE_RESPONSE = sequence(
    required("padata", tagged(0, _PADATA)),
    optional("strengthen-key", tagged(1, judge.EncryptionKey())),
    optional("finished", tagged(2, JUDGE_FINISHED())),
    required("nonce", tagged(3, univ.Integer())),
)

CHECKSUM = Checksum(cksumtype=16, checksum=bytes(12))
SEALED = EncryptedData(etype=18, cipher=b"sealed")
ARMOR = KrbFastArmor(armor_type=1, armor_value=b"ap-req")
ARMORED_REQ = KrbFastArmoredReq(armor=ARMOR, req_checksum=CHECKSUM, enc_fast_req=SEALED)
FINISHED = KrbFastFinished(
    timestamp=NOW, usec=999_999, crealm=ANONYMOUS_REALM, cname=ANONYMOUS, ticket_checksum=CHECKSUM
)
CASES: dict[str, tuple[object, Judge]] = {
    "KrbFastArmor": (ARMOR, JUDGE_ARMOR()),
    "KrbFastArmoredReq": (ARMORED_REQ, JUDGE_ARMORED_REQ()),
    "KrbFastArmoredReq without armor": (
        KrbFastArmoredReq(req_checksum=CHECKSUM, enc_fast_req=SEALED),
        JUDGE_ARMORED_REQ(),
    ),
    "KrbFastReq": (
        KrbFastReq(fast_options=1 << 30, padata=(padata(138, b"x"),), req_body=BODY),  # type: ignore[arg-type]  # a number
        JUDGE_REQ(),
    ),
    "KrbFastArmoredRep": (KrbFastArmoredRep(enc_fast_rep=SEALED), JUDGE_ARMORED_REP()),
    "KrbFastFinished": (FINISHED, JUDGE_FINISHED()),
    "KrbFastResponse": (
        KrbFastResponse(
            padata=(),
            strengthen_key=EncryptionKey(keytype=18, keyvalue=bytes(32)),
            finished=FINISHED,
            nonce=2**32 - 1,
        ),
        JUDGE_RESPONSE(),
    ),
    "KrbFastResponse of an error": (KrbFastResponse(padata=(), nonce=7), JUDGE_RESPONSE()),
}


@pytest.mark.parametrize("name", CASES)
def test_judge_reads_and_writes_the_same_octets(name: str) -> None:
    """RFC 6113 5.4: all of it is read, and written alike."""
    value, spec = CASES[name]
    ours = asn1.encode(value)
    read, rest = judge_decode(ours, asn1Spec=spec)
    assert rest == b""
    assert judge_encode(read) == ours
    assert asn1.decode(type(value), ours) == value


@pytest.mark.parametrize("name", CASES)
def test_fields_of_later_documents_are_skipped(name: str) -> None:
    """The types end in "...": context tags behind the known ones (ASN.1 extension)."""
    value, _ = CASES[name]
    start, end = der.open_tlv(asn1.encode(value), der.SEQUENCE)
    content = asn1.encode(value)[start:end]
    longer = der.tlv(der.SEQUENCE, content + der.tlv(0xAF, der.tlv(der.OCTET_STRING, b"new")))
    assert asn1.decode(type(value), longer) == value


def test_choices() -> None:
    """PA-FX-FAST-REQUEST and -REPLY have one alternative, [0]."""
    request = encode_pa_fx_fast_request(ARMORED_REQ)
    assert request[0] == 0xA0
    assert decode_pa_fx_fast_request(request) == ARMORED_REQ
    reply = KrbFastArmoredRep(enc_fast_rep=SEALED)
    assert decode_pa_fx_fast_reply(encode_pa_fx_fast_reply(reply)) == reply


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", DerFault.TRUNCATED),
        (b"\xa0\x00", DerFault.MISSING_FIELD),
        (b"\xa1\x02\x30\x00", DerFault.BAD_TAG),
        (b"\xa0\x02\x30\x00\x00", DerFault.TRAILING_DATA),
    ],
)
def test_what_is_no_choice(data: bytes, fault: DerFault) -> None:
    """X.690: the one alternative, whole, and nothing behind it."""
    for decode in (decode_pa_fx_fast_request, decode_pa_fx_fast_reply):
        with pytest.raises(PkiError) as error:
            decode(data)
        assert error.value.fault is fault
