"""What could be attacked offline is taken out of a message before it is kept."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdc.explain import redact as redact_module
from kdc.explain.redact import is_blank, redact
from kdc.wire.constants import MessageType, PaType
from kdc.wire.rfc4120 import AsReq, EncryptedData, PaData, Ticket
from pki import asn1, der
from tests.kdc.builders import BODY, KRBTGT, REALM, as_req, enc_timestamp, key_of, padata, pk_as_req

CIPHER = bytes(range(1, 57))
SEALED = asn1.encode(EncryptedData(etype=18, kvno=2, cipher=CIPHER))


def timestamp(value: bytes = SEALED, pa_type: int = PaType.ENC_TIMESTAMP) -> PaData:
    return PaData(padata_type=pa_type, padata_value=value)


@pytest.mark.parametrize("pa_type", [PaType.ENC_TIMESTAMP, 5, PaType.ENCRYPTED_CHALLENGE])
def test_a_cipher_made_with_a_password_is_blanked(pa_type: int) -> None:
    """PA-ENC-TIMESTAMP, PA-ENC-UNIX-TIME, PA-ENCRYPTED-CHALLENGE; all else stays as it was."""
    other = padata(PaType.PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\xff")
    message = as_req(BODY, other, timestamp(pa_type=pa_type))
    kept = redact(message)
    assert kept == message.replace(CIPHER, bytes(len(CIPHER)))
    sealed = asn1.decode(EncryptedData, (asn1.decode(AsReq, kept).padata or ())[1].padata_value)
    assert (sealed.etype, sealed.kvno) == (18, 2)
    assert is_blank(sealed.cipher)


def test_all_of_several_are_blanked() -> None:
    """Two timestamps in one request are refused, and both are taken out."""
    message = as_req(BODY, timestamp(), timestamp())
    assert redact(message) == message.replace(CIPHER, bytes(len(CIPHER)))


@pytest.mark.parametrize("length", [b"\x80", b"\x84\0\0\0\x08"])
def test_a_message_full_of_shapes_is_looked_at_once(
    length: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row E04: the cost of a refusal grows with its size, whatever is in it."""
    looked = []

    def counting(message: bytes, out: bytearray, at: int) -> int:
        looked.append(at)
        return blank(message, out, at)

    blank = redact_module._blank_padata_value
    monkeypatch.setattr(redact_module, "_blank_padata_value", counting)
    shape = b"\xa1\x03\x02\x01\x02\xa2" + length + bytes(range(1, 9))
    kept = redact(b"\x6a\x83\x03\xff\xff" + shape * 1000)
    assert 0 < len(looked) <= redact_module.MAX_SEALED
    assert not any(kept[-len(shape) * 900 :])


def test_a_token_sealed_with_key_version_2_takes_nothing_else_with_it() -> None:
    """The same shape inside a freshness token: its cipher goes, the rest of the message stays."""
    message = as_req(BODY, padata(PaType.AS_FRESHNESS, b"\0\0" + SEALED))
    assert redact(message) == message.replace(CIPHER, bytes(len(CIPHER)))


def test_a_message_without_any_is_the_same_object() -> None:
    """Nothing is copied, and the recorder sees that nothing was blanked."""
    for message in (pk_as_req(), as_req(BODY), b"", b"\x6a", b"garbage"):
        assert redact(message) is message


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[:-20],
        lambda m: m + b"trailing",
        lambda m: m.replace(b"\xa1\x03\x02\x01\x02", b"\xa1\x81\x03\x02\x01\x02"),
        lambda m: m.replace(b"\xa1\x03\x02\x01\x02", b"\xa1\x04\x02\x02\x00\x02"),
        lambda m: m.replace(b"\xa1\x03\x02\x01\x02", b"\xa1\x80\x02\x01\x02\x00\x00"),
        lambda m: m.replace(SEALED, b"\x31" + SEALED[1:]),
        lambda m: m.replace(b"\x04" + bytes([len(SEALED)]) + SEALED, b"\x24\x80" + SEALED),
        lambda m: b"\x6c" + m[1:],
        lambda m: b"\x6c" + m[1:-3],
    ],
    ids=[
        "cut off",
        "trailing",
        "long length",
        "long integer",
        "indefinite length",
        "no EncryptedData",
        "constructed string",
        "under TGS-REQ's tag",
        "under TGS-REQ's tag, cut off",
    ],
)
def test_a_cipher_in_a_broken_message_is_blanked_as_well(change: object) -> None:
    """Rule 2: what is refused as malformed is recorded, and holds the same thing."""
    assert callable(change)
    message: bytes = change(as_req(BODY, timestamp()))
    assert message != as_req(BODY, timestamp())
    kept = redact(message)
    assert len(kept) == len(message)
    for start in range(0, len(CIPHER) - 8, 8):
        assert CIPHER[start : start + 8] not in kept


def test_tickets_and_authenticators_of_a_tgs_req_are_blanked() -> None:
    """A service ticket shown as a TGT is sealed with a key that may come from a password."""
    ticket = asn1.encode(
        Ticket(
            tkt_vno=5,
            realm=REALM,
            sname=KRBTGT,
            enc_part=EncryptedData(etype=18, kvno=1, cipher=CIPHER),
        )
    )
    ap_req = der.tlv(
        0x60 | MessageType.AP_REQ,
        der.sequence(
            der.explicit(0, der.encode_integer(5)),
            der.explicit(1, der.encode_integer(14)),
            der.explicit(2, b"\x03\x05\x00\x00\x00\x00\x00"),
            der.explicit(3, ticket),
            der.explicit(4, asn1.encode(EncryptedData(etype=18, kvno=None, cipher=CIPHER))),
        ),
    )
    request = as_req(BODY, padata(PaType.TGS_REQ, ap_req))
    message = b"\x6c" + request[1:]
    kept = redact(message)
    assert kept == message.replace(CIPHER, bytes(len(CIPHER)))


@given(st.binary(max_size=300))
def test_it_never_fails_and_never_changes_the_length(data: bytes) -> None:
    """Whatever arrives, also behind the first octets of each kind."""
    for message in (data, b"\x6c" + data, b"\x6a\xa1\x03\x02\x01\x02\xa2" + data):
        assert len(redact(message)) == len(message)


@example(at=30, octet=0)
@given(st.integers(0, 240), st.integers(0, 255))
def test_no_change_of_one_octet_lets_a_whole_cipher_through(at: int, octet: int) -> None:
    """A client with one wrong octet is still a client with a password."""
    pa = enc_timestamp(key_of(17))
    message = bytearray(as_req(BODY, pa))
    header = bytes(message).index(b"\xa1\x03\x02\x01\x02\xa2")
    cipher = asn1.decode(EncryptedData, pa.padata_value).cipher
    at %= len(message)
    if header <= at < header + 6:
        return  # then it is no PA-ENC-TIMESTAMP any more
    message[at] = octet
    assert cipher not in redact(bytes(message))
