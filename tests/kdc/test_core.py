"""The core's door: rows E01 to E07, A09 and W06, failing parts, and no ticket for altered bytes."""

import logging
from dataclasses import replace
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Account
from directory.store import Store
from kdc.core import REFERENCE_ALPHABET
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode, MessageType, PaType
from kdc.wire.rfc4120 import AsReq, EncryptedData
from kdc.wire.rfc4556 import PaPkAsReq
from pki import asn1, cms, der
from pki.errors import PkiError
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    error_of,
    issued_ticket,
    key_of,
    master_key,
    open_reply,
    padata,
    pk_as_req,
    refused,
)

GENERIC = ErrorCode.KRB_ERR_GENERIC
AS_REQ = 0x6A
BAD_DER = "the message is not valid DER: "


def check_not_read(kdc: Kdc, message: bytes) -> Outcome:
    """Check that a message gets 60 or silence, and is no bug."""
    outcome = kdc.ask(message)
    if outcome.reply is None:
        assert (outcome.code, outcome.why) == (0, "not a KDC request")
    else:
        assert refused(outcome)[0] == GENERIC
        assert outcome.why.startswith(BAD_DER)
    assert kdc.core.internal_errors == 0
    return outcome


# -- what is no request ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\x4a\x00",
        b"\x30\x00",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff" * 100,
        *(
            der.tlv(0x60 | tag, b"\x30\x00")
            for tag in MessageType
            if tag not in (MessageType.AS_REQ, MessageType.TGS_REQ)
        ),
    ],
)
def test_what_is_no_request_gets_no_answer(kdc: Kdc, message: bytes) -> None:
    """Row W06, CVE-2002-2443: two servers must not answer each other's errors."""
    outcome = kdc.ask(message)
    assert outcome == Outcome(
        reply=None, exchange="", code=0, why="not a KDC request", reference=""
    )


def test_own_replies_get_no_answer(kdc: Kdc) -> None:
    """Row W06: a KRB-ERROR and an AS-REP of ours, sent back."""
    for message in (as_req(), pk_as_req()):
        reply = kdc.ask(message).reply
        assert reply is not None
        assert kdc.ask(reply).reply is None


def test_request_is_answered_by_the_exchange_of_its_tag(kdc: Kdc) -> None:
    """RFC 4120 3.3.2: under the tag of a TGS-REQ a request needs a ticket, not pre-auth."""
    outcome = kdc.ask(b"\x6c" + as_req()[1:])
    assert outcome.exchange == "TGS"
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_MSG_TYPE,
        "msg-type does not match the message",
    )


# -- encoding --------------------------------------------------------------------------------


def test_every_truncation_is_refused(kdc: Kdc) -> None:
    """Row E03: a real PKINIT request and a password request, cut at every byte."""
    timestamp = as_req(body_for("pat"), enc_timestamp(key_of(18)))
    for message in (pk_as_req(), timestamp):
        for size in range(len(message)):
            check_not_read(kdc, message[:size])
        issued_ticket(kdc.ask(message))


def wrap(*fields: bytes) -> bytes:
    """Put fields into an AS-REQ."""
    return der.tlv(AS_REQ, der.sequence(*fields))


PVNO = der.explicit(1, der.encode_integer(5))
MSG_TYPE = der.explicit(2, der.encode_integer(10))
BODY_FIELD = der.explicit(4, asn1.encode(BODY))


def body_with(old: bytes, new: bytes) -> bytes:
    """Replace one encoded field of BODY, and the lengths around it."""
    content = asn1.encode(BODY)
    start, end = der.open_tlv(content, der.SEQUENCE)
    assert content.count(old) == 1
    changed = der.sequence(content[start:end].replace(old, new))
    return wrap(PVNO, MSG_TYPE, der.explicit(4, changed))


NONCE_FIELD = der.explicit(7, der.encode_integer(BODY.nonce))
TILL_FIELD = der.explicit(5, der.encode_generalized_time(BODY.till))
ETYPES_FIELD = der.explicit(8, der.sequence(*map(der.encode_integer, BODY.etype)))


def nonce_field(content: bytes) -> bytes:
    return body_with(NONCE_FIELD, der.explicit(7, content))


def till_field(text: bytes) -> bytes:
    return body_with(TILL_FIELD, der.explicit(5, der.tlv(der.GENERALIZED_TIME, text)))


NESTED = b"\x30\x80" * 20_000

ENCODINGS: dict[str, tuple[bytes, str]] = {
    "indefinite length": (b"\x6a\x80\x30\x00\x00\x00", "length not minimal or not definite"),
    "long form below 128": (b"\x6a\x81\x02\x30\x00", "length not minimal or not definite"),
    "length with a leading zero": (
        b"\x6a\x82\x00\x02\x30\x00",
        "length not minimal or not definite",
    ),
    "length of 5 octets": (
        b"\x6a\x85\x00\x00\x00\x00\x02\x30\x00",
        "length not minimal or not definite",
    ),
    "length of 4 GiB": (b"\x6a\x84\xff\xff\xff\xff", "truncated"),
    "INTEGER not minimal": (
        nonce_field(b"\x02\x02\x00\x01"),
        "value not in its canonical form or out of range",
    ),
    "INTEGER not minimal, negative": (
        nonce_field(b"\x02\x02\xff\xff"),
        "value not in its canonical form or out of range",
    ),
    "INTEGER empty": (
        nonce_field(b"\x02\x00"),
        "value not in its canonical form or out of range",
    ),
    "INTEGER of 1 MB": (
        nonce_field(der.tlv(der.INTEGER, b"\x01" * 1_000_000)),
        "value not in its canonical form or out of range",
    ),
    "nonce 2**32": (
        nonce_field(der.encode_integer(2**32)),
        "value not in its canonical form or out of range",
    ),
    "nonce -2**31 - 1": (
        nonce_field(der.encode_integer(-(2**31) - 1)),
        "value not in its canonical form or out of range",
    ),
    "nonce of another type": (nonce_field(b"\x04\x01\x01"), "unexpected tag"),
    "time with a fraction": (
        till_field(b"20260504200000.5Z"),
        "value not in its canonical form or out of range",
    ),
    "time with an offset": (
        till_field(b"20260504200000+0100"),
        "value not in its canonical form or out of range",
    ),
    "time without Z": (
        till_field(b"20260504200000"),
        "value not in its canonical form or out of range",
    ),
    "time of day 24": (
        till_field(b"20260504240000Z"),
        "value not in its canonical form or out of range",
    ),
    "second 60": (
        till_field(b"20260504200060Z"),
        "value not in its canonical form or out of range",
    ),
    "trailing byte": (as_req() + b"\x00", "trailing data"),
    "trailing byte inside": (
        der.tlv(AS_REQ, der.sequence(PVNO, MSG_TYPE, BODY_FIELD) + b"\x00"),
        "trailing data",
    ),
    "a second SEQUENCE inside": (
        der.tlv(AS_REQ, der.sequence(PVNO, MSG_TYPE, BODY_FIELD) + der.sequence()),
        "trailing data",
    ),
    "no SEQUENCE inside": (der.tlv(AS_REQ, b""), "unexpected tag"),
    "a SET inside": (der.tlv(AS_REQ, der.tlv(der.SET, PVNO)), "unexpected tag"),
    "field twice": (wrap(PVNO, PVNO, MSG_TYPE, BODY_FIELD), "unexpected tag"),
    "fields out of order": (wrap(MSG_TYPE, PVNO, BODY_FIELD), "unexpected tag"),
    "unknown field": (
        wrap(PVNO, MSG_TYPE, BODY_FIELD, der.explicit(5, b"\x05\x00")),
        "trailing data",
    ),
    "no body": (wrap(PVNO, MSG_TYPE), "required field missing"),
    "no pvno": (wrap(MSG_TYPE, BODY_FIELD), "unexpected tag"),
    "high tag number": (wrap(b"\xbf\x81\x01\x03\x02\x01\x05"), "unexpected tag"),
    "20,000 levels": (der.tlv(AS_REQ, NESTED), "length not minimal or not definite"),
    "5,000 padata": (
        wrap(
            PVNO,
            MSG_TYPE,
            der.explicit(3, der.sequence(*[asn1.encode(padata(PaType.PW_SALT))] * 5000)),
            BODY_FIELD,
        ),
        "over a limit",
    ),
    "3,000 etypes": (
        body_with(ETYPES_FIELD, der.explicit(8, der.sequence(*[b"\x02\x01\x12"] * 3000))),
        "over a limit",
    ),
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_what_der_forbids_is_a_generic_error(kdc: Kdc, case: str) -> None:
    """Rows E01, E02, E04, E05, E07: 60, with the fault in the audit record alone."""
    message, fault = ENCODINGS[case]
    outcome = check_not_read(kdc, message)
    assert outcome.why == BAD_DER + fault
    assert outcome.exchange == "AS"
    assert error_of(outcome).sname == KRBTGT
    assert isinstance(outcome.facts["detail"], str)


def test_default_body_is_read(kdc: Kdc) -> None:
    """Control of the rows above: the same fields, put together the same way."""
    message = wrap(PVNO, MSG_TYPE, BODY_FIELD)
    assert message == as_req()
    assert kdc.ask(message).code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED


def test_oid_of_100_kb_fails(kdc: Kdc) -> None:
    """Row E04: inside padata it is pre-authentication that fails."""

    def huge_oid(content: bytes) -> bytes:
        start, end = der.open_tlv(content, der.SEQUENCE)
        oid = der.tlv(der.OID, b"\x2a" + b"\x81" * 100_000 + b"\x01")
        kdf = der.explicit(4, der.sequence(der.sequence(der.explicit(0, oid))))
        return der.sequence(content[start:end] + kdf)

    outcome = kdc.ask(PkinitRequest(change_content=huge_oid).build().message)
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_PREAUTH_FAILED,
        "AuthPack: over a limit",
    )


@pytest.mark.parametrize("count", [64, 65])
def test_limit_of_padata(kdc: Kdc, count: int) -> None:
    """Design requirement 10: at most 64."""
    outcome = kdc.ask(as_req(BODY, *[padata(PaType.PW_SALT)] * count))
    expected = ErrorCode.KDC_ERR_PREAUTH_REQUIRED if count == 64 else GENERIC
    assert outcome.code == expected


@pytest.mark.parametrize("count", [64, 65])
def test_limit_of_etypes(kdc: Kdc, count: int) -> None:
    """Design requirement 10: at most 64."""
    outcome = kdc.ask(as_req(replace(BODY, etype=(18,) * count)))
    expected = ErrorCode.KDC_ERR_PREAUTH_REQUIRED if count == 64 else GENERIC
    assert outcome.code == expected


@pytest.mark.parametrize(
    "flags",
    [b"\x00" + bytes(3), b"\x00" + bytes(8), b"\x00", b"\x07\x40\x80\x00\x80", b"\x03\x40"],
)
def test_flags_of_other_lengths_are_read(kdc: Kdc, flags: bytes) -> None:
    """Row E07; RFC 4120 5.2.8: extra flags are ignored, missing ones are zero."""
    old = der.explicit(0, der.tlv(der.BIT_STRING, der.flags_content(BODY.kdc_options)))
    message = body_with(old, der.explicit(0, der.tlv(der.BIT_STRING, flags)))
    assert kdc.ask(message).code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED


def test_other_protocol_version_is_refused(kdc: Kdc) -> None:
    """Row A09: KDC_ERR_BAD_PVNO."""
    message = wrap(der.explicit(1, der.encode_integer(4)), MSG_TYPE, BODY_FIELD)
    assert refused(kdc.ask(message)) == (
        ErrorCode.KDC_ERR_BAD_PVNO,
        "the protocol version is not 5",
    )


def test_msg_type_other_than_the_tag_is_refused(kdc: Kdc) -> None:
    """Row A09: KRB_AP_ERR_MSG_TYPE."""
    message = wrap(PVNO, der.explicit(2, der.encode_integer(12)), BODY_FIELD)
    assert refused(kdc.ask(message)) == (
        ErrorCode.KRB_AP_ERR_MSG_TYPE,
        "msg-type does not match the message",
    )


@given(data=st.binary(max_size=200))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_garbage_is_never_a_bug(kdc: Kdc, data: bytes) -> None:
    """Row E03's class: any octets, bare and under the tag of an AS-REQ."""
    for message in (data, b"\x6a" + data, der.tlv(AS_REQ, data), wrap(data)):
        outcome = kdc.ask(message)
        assert outcome.reply is None or outcome.code != 0
    assert kdc.core.internal_errors == 0


# -- parts that fail -------------------------------------------------------------------------


class _Failing(Store):
    """A store of which one operation fails."""

    failing = ""
    error: Exception = DirectoryError(DirectoryFault.UNAVAILABLE, "/var/lib/kdc: disk gone")

    def _fail(self, operation: str) -> None:
        if operation == self.failing:
            raise self.error

    def refresh(self) -> None:
        """See changes, or fail."""
        self._fail("refresh")
        super().refresh()

    def account_by_name(self, name: str) -> Account | None:
        """Find an account, or fail."""
        self._fail("account_by_name")
        return super().account_by_name(name)

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """List owners, or fail."""
        self._fail("accounts_by_key")
        return super().accounts_by_key(key_digest)

    def krbtgt(self) -> Account:
        """Return the krbtgt, or fail."""
        self._fail("krbtgt")
        return super().krbtgt()


OPERATIONS = ("refresh", "account_by_name", "accounts_by_key", "krbtgt")


@pytest.fixture
def failing(kdc: Kdc) -> _Failing:
    """Give the KDC a store that can be made to fail."""
    store = _Failing(kdc.store.path, master_key())
    kdc.core.realm = replace(kdc.realm, directory=store)
    return store


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", [DirectoryFault.UNAVAILABLE, DirectoryFault.CORRUPT])
def test_failing_store_is_29(
    kdc: Kdc, failing: _Failing, operation: str, kind: DirectoryFault
) -> None:
    """Row L01: never "unknown", never a ticket without a look at the account."""
    failing.error = DirectoryError(kind, "/var/lib/kdc: disk gone")
    failing.failing = operation
    outcome = kdc.ask(pk_as_req())
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_SVC_UNAVAILABLE,
        f"the account store cannot be read ({kind.value})",
    )
    assert outcome.reply is not None
    assert b"/var/lib" not in outcome.reply
    assert kdc.core.internal_errors == 0
    failing.failing = ""
    issued_ticket(kdc.ask(pk_as_req()))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bug_is_a_generic_error_and_counted(
    kdc: Kdc, failing: _Failing, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Design requirement 2: the traceback goes to the log, nothing of it to the peer."""
    failing.error = ZeroDivisionError("a secret of ours")
    failing.failing = operation
    with caplog.at_level(logging.ERROR):
        outcome = kdc.ask(pk_as_req())
    assert refused(outcome) == (GENERIC, "internal error")
    assert outcome.facts["internal_error"] is True
    assert outcome.reply is not None
    assert b"secret" not in outcome.reply
    assert kdc.core.internal_errors == 1
    assert "ZeroDivisionError" in caplog.text
    failing.failing = ""
    issued_ticket(kdc.ask(pk_as_req()))
    assert kdc.core.internal_errors == 1


def test_recursion_in_a_reader_would_be_caught_too(
    kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Design requirement 2: one boundary for everything that is an Exception."""

    def deep(*_: object) -> NoReturn:
        raise RecursionError

    monkeypatch.setattr(asn1, "decode", deep)
    assert kdc.ask(as_req()).code == GENERIC
    assert kdc.core.internal_errors == 1


# -- errors ----------------------------------------------------------------------------------


def test_error_has_our_time_realm_and_reference(kdc: Kdc) -> None:
    """RFC 4120 5.9.1; style guide: e-text is the code's name and a reference, nothing else."""
    at = NOW.replace(microsecond=123_456)
    outcome = kdc.ask(as_req(body_for("nobody")), at=at)
    error = error_of(outcome)
    assert (error.pvno, error.msg_type) == (5, 30)
    assert (error.stime, error.susec) == (NOW, 123_456)
    assert (error.ctime, error.cusec, error.crealm, error.cname) == (None,) * 4
    assert error.realm == "LAB.TEST"
    assert error.e_text == f"KDC_ERR_C_PRINCIPAL_UNKNOWN [ref {outcome.reference}]"
    assert len(outcome.reference) == 4
    assert set(outcome.reference) <= set(REFERENCE_ALPHABET)


def test_references_differ(kdc: Kdc) -> None:
    """Two refused requests can be told apart on the telephone."""
    seen = {kdc.ask(as_req(body_for("nobody"))).reference for _ in range(20)}
    assert len(seen) == 20


def test_name_of_the_client_is_not_in_the_error(kdc: Kdc) -> None:
    """Row N02: nothing of the request but sname comes back."""
    outcome = kdc.ask(as_req(body_for("<script>alert(1)</script>")))
    assert outcome.reply is not None
    assert b"script" not in outcome.reply


# -- altered bytes ---------------------------------------------------------------------------


def flips(message: bytes, part: bytes) -> list[bytes]:
    """Return the message with each bit of one of its parts flipped in turn."""
    assert message.count(part) == 1
    at = message.index(part)
    out = []
    for position in range(at, at + len(part)):
        for bit in range(8):
            octet = bytes((message[position] ^ 1 << bit,))
            out.append(message[:position] + octet + message[position + 1 :])
    return out


def test_no_flipped_bit_of_the_body_gets_a_ticket(kdc: Kdc) -> None:
    """Style guide, fuzz; row P16: every bit of KDC-REQ-BODY is covered by paChecksum."""
    sent = PkinitRequest().build()
    for message in flips(sent.message, asn1.encode(sent.body)):
        outcome = kdc.ask(message)
        assert outcome.code != 0
    assert kdc.core.internal_errors == 0
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_no_flipped_bit_of_the_auth_pack_gets_a_ticket(kdc: Kdc) -> None:
    """Style guide, fuzz; row P02: every bit of the AuthPack is covered by the signature."""
    sent = PkinitRequest(dh_nonce=bytes(32), kdfs=("1.3.6.1.5.2.3.6.2",)).build()
    for message in flips(sent.message, asn1.encode(sent.auth_pack)):
        outcome = kdc.ask(message)
        assert outcome.code != 0
    assert kdc.core.internal_errors == 0
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_no_flipped_bit_of_a_timestamp_gets_a_ticket(kdc: Kdc) -> None:
    """RFC 3961: the encryption types authenticate what they encrypt."""
    kdc.configure(lockout_threshold=0)
    pa = enc_timestamp(key_of(18))
    message = as_req(body_for("pat"), pa)
    # The kvno before it is only a hint.
    for changed in flips(message, asn1.decode(EncryptedData, pa.padata_value).cipher):
        outcome = kdc.ask(changed)
        assert outcome.code != 0
    assert kdc.core.internal_errors == 0
    issued_ticket(kdc.ask(message))


def _signed_parts(message: bytes) -> tuple[bytes, bytes] | None:
    """Return the body and the AuthPack of a request, or None when they cannot be found."""
    try:
        request = asn1.decode(AsReq, message)
        values = [p.padata_value for p in request.padata or () if p.padata_type == 16]
        signed = asn1.decode(PaPkAsReq, values[0]).signed_auth_pack
        return request.req_body.raw, cms.parse_signed_data(signed).content
    except (PkiError, IndexError):
        return None


edits = st.lists(
    st.tuples(
        st.integers(0, 4095),
        st.sampled_from(("set", "cut", "insert", "copy")),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=3,
)


def mutate(message: bytes, position: int, how: str, octets: bytes) -> bytes:
    """Alter a message in one place."""
    at = position % max(len(message), 1)
    if how == "set":
        return message[:at] + octets + message[at + len(octets) :]
    if how == "cut":
        return message[:at] + message[at + octets[0] :]
    return message[:at] + (octets if how == "insert" else message[at : at + 20]) + message[at:]


@given(changes=edits)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutants_get_no_ticket_for_other_content(
    kdc: Kdc, changes: list[tuple[int, str, bytes]]
) -> None:
    """Style guide, fuzz: wherever a request is altered, a ticket is only for what was signed."""
    sent = PkinitRequest().build()
    message = sent.message
    for change in changes:
        message = mutate(message, *change)
    outcome = kdc.ask(message)
    assert kdc.core.internal_errors == 0
    if outcome.reply is not None and outcome.code == 0:
        assert _signed_parts(message) == _signed_parts(sent.message)
