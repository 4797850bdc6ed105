"""The .prt file: what holds the cloud's partial TGT, and what is wrong with it."""

import base64
import json
from collections.abc import Callable

import pytest

from kdc.formats.prt_file import MAX_FILE_BYTES, PrtFileError, decode_prt_file
from tests.kdc.formats.test_session_jwe import SESSION_KEY, sealed

CLIENT_KEY = bytes(range(50, 82))
MESSAGE = b"DER of an AS-REP"
Json = dict[str, object]


def tgt_ad() -> Json:
    """Return the members of tgt_ad."""
    return {
        "clientKey": sealed(CLIENT_KEY),
        "keyType": 18,
        "error": None,
        "messageBuffer": base64.b64encode(MESSAGE).decode(),
        "realm": "LAB.TEST",
        "sn": "krbtgt/LAB.TEST",
        "cn": "pat",
        "sessionKeyType": 18,
        "accountType": 2,
    }


def prt(inner: Json | None = None) -> Json:
    """Return what a client keeps after a renewal."""
    return {
        "refresh_token": "1.prt",
        "session_key": SESSION_KEY.hex(),
        "tgt_ad": json.dumps(tgt_ad() if inner is None else inner),
    }


def why(found: object) -> str:
    """Decode in vain and return why."""
    with pytest.raises(PrtFileError) as caught:
        decode_prt_file(json.dumps(found).encode())
    return str(caught.value)


def test_client_key_is_opened_with_the_session_key() -> None:
    """As after a renewal, when nobody unwrapped it."""
    found = decode_prt_file(json.dumps(prt()).encode())
    assert (found.message, found.client_key.value) == (MESSAGE, CLIENT_KEY)
    assert CLIENT_KEY.hex() not in repr(found)


def test_unwrapped_client_key_is_taken() -> None:
    """As roadtx leaves it after the first request."""
    found = prt() | {"tgt_ad_sessionkey": bytes(32).hex()}
    assert decode_prt_file(json.dumps(found).encode()).client_key.value == bytes(32)


def test_plain_client_key_is_taken() -> None:
    """Base64 without dots: no JWE."""
    inner = tgt_ad() | {"clientKey": base64.b64encode(bytes(32)).decode()}
    assert decode_prt_file(json.dumps(prt(inner)).encode()).client_key.value == bytes(32)


def test_tgt_ad_alone_is_taken() -> None:
    """What `kdc cloud-trust mint --out` writes."""
    inner = tgt_ad() | {"clientKey": base64.b64encode(bytes(32)).decode()}
    assert decode_prt_file(json.dumps(inner).encode()).message == MESSAGE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found.pop("tgt_ad"), "no tgt_ad"),
        (lambda found: found.update(tgt_ad=tgt_ad()), "tgt_ad is no text"),
        (lambda found: found.update(tgt_ad="["), "tgt_ad is no JSON object in a text"),
        (lambda found: found.pop("session_key"), "there is no session_key"),
        (lambda found: found.update(session_key="00"), "session_key does not have 32 bytes"),
        (lambda found: found.update(session_key="zz"), "session_key is not hexadecimal"),
        (lambda found: found.update(session_key=7), "session_key is no text"),
        (lambda found: found.update(session_key="00" * 32), "clientKey: the session key does not"),
        (lambda found: found.update(tgt_ad_sessionkey="00"), "not those of a key we use"),
    ],
)
def test_file_is_refused(change: Callable[[Json], object], reason: str) -> None:
    """The reason names the member."""
    found = prt()
    change(found)
    assert reason in why(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"error": "AADSTS: no key", "keyType": 0}, "the cloud gave no ticket: AADSTS: no key"),
        ({"clientKey": None}, "tgt_ad has no clientKey"),
        ({"clientKey": "%%"}, "clientKey is not Base64"),
        ({"keyType": 23}, "not those of a key we use"),
        ({"keyType": "18"}, "not those of a key we use"),
        ({"keyType": None}, "not those of a key we use"),
        ({"messageBuffer": None}, "tgt_ad has no messageBuffer"),
        ({"messageBuffer": "%%"}, "messageBuffer is not Base64"),
        ({"messageBuffer": ""}, "messageBuffer is empty or too long"),
    ],
)
def test_tgt_ad_is_refused(change: Json, reason: str) -> None:
    """The reason names the member."""
    assert reason in why(prt(tgt_ad() | change))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"7", b"\xff", b"[" * 5000, b"{}", b'{"tgt_ad":"\\ud800"}']
)
def test_octets_that_are_no_prt_file(data: bytes) -> None:
    """One error for all of them."""
    with pytest.raises(PrtFileError):
        decode_prt_file(data)


def test_large_file_is_refused() -> None:
    """Before it is parsed."""
    with pytest.raises(PrtFileError, match="too large"):
        decode_prt_file(b" " * (MAX_FILE_BYTES + 1))
