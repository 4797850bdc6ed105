"""A primary refresh token's answer as clients keep it: the file `roadtx.prt` (MS-OAPXBC 3.2.5.1.2).

JSON, one object: the token endpoint's answer, and what the client adds:

    session_key         hexadecimal: the session key, unwrapped
    tgt_ad              text, itself JSON: the partial TGT for the domain
    tgt_ad_sessionkey   hexadecimal: tgt_ad's clientKey, unwrapped; missing after a renewal

The members of tgt_ad: `messageBuffer` (Base64, DER of an AS-REP), `clientKey` (a JWE under the
session key, or plain Base64: the reply key of the AS-REP), `keyType`, and `error` where there is no
ticket. What `kdc cloud-trust mint --out` writes is a tgt_ad alone, and is taken as well.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import NoReturn

from kdc.crypto.etypes import CryptoError, EncType, ProtocolKey
from kdc.formats.session_jwe import SESSION_KEY_BYTES, SessionJweError, open_session_jwe

MAX_FILE_BYTES = 256 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
MAX_ERROR_CHARS = 256


class PrtFileError(Exception):
    """There is no partial TGT in the bytes; the text says why, in one line, and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialTgt:
    """A partial TGT as the cloud delivers it."""

    message: bytes = field(repr=False)
    """DER of the AS-REP."""
    client_key: ProtocolKey = field(repr=False)
    """Opens its enc-part, with key usage 3."""


def decode_prt_file(data: bytes) -> PartialTgt:
    """Take the partial TGT of the domain out of a file. Raises PrtFileError."""
    if len(data) > MAX_FILE_BYTES:
        _fail("it is too large")
    outer = _object(data, "it is no JSON object")
    if "messageBuffer" in outer:
        return _partial_tgt(outer, None, None)
    if "tgt_ad" not in outer:
        _fail("it has no tgt_ad: no ticket was asked for with the token (tgt=true)")
    text = outer["tgt_ad"]
    if not isinstance(text, str):
        _fail("tgt_ad is no text")
    session_key = _hexadecimal(outer, "session_key")
    if session_key is not None and len(session_key) != SESSION_KEY_BYTES:
        _fail(f"session_key does not have {SESSION_KEY_BYTES} bytes")
    inner = _object(text.encode("utf-8", "replace"), "tgt_ad is no JSON object in a text")
    return _partial_tgt(inner, session_key, _hexadecimal(outer, "tgt_ad_sessionkey"))


def _partial_tgt(
    found: dict[str, object], session_key: bytes | None, unwrapped: bytes | None
) -> PartialTgt:
    if found.get("error"):
        _fail(f"the cloud gave no ticket: {str(found['error'])[:MAX_ERROR_CHARS]}")
    wrapped = found.get("clientKey")
    if unwrapped is None:
        if not isinstance(wrapped, str):
            _fail("tgt_ad has no clientKey")
        unwrapped = _unwrap(wrapped, session_key)
    number = found.get("keyType")
    try:
        key = ProtocolKey(EncType(number if isinstance(number, int) else 0), unwrapped)
    except (ValueError, CryptoError):
        _fail("keyType and clientKey are not those of a key we use")
    return PartialTgt(message=_message(found.get("messageBuffer")), client_key=key)


def _unwrap(text: str, session_key: bytes | None) -> bytes:
    if "." not in text:
        return _base64(text, "clientKey")
    if session_key is None:
        _fail("there is no session_key, and clientKey is sealed with it")
    try:
        return open_session_jwe(text, session_key)
    except SessionJweError as error:
        _fail(f"clientKey: {error}")


def _message(text: object) -> bytes:
    if not isinstance(text, str):
        _fail("tgt_ad has no messageBuffer")
    message = _base64(text, "messageBuffer")
    if not 0 < len(message) <= MAX_MESSAGE_BYTES:
        _fail("messageBuffer is empty or too long")
    return message


def _object(data: bytes, otherwise: str) -> dict[str, object]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _fail(otherwise)
    return found


def _hexadecimal(found: dict[str, object], name: str) -> bytes | None:
    value = found.get(name)
    if value is None:
        return None
    try:
        return bytes.fromhex(value) if isinstance(value, str) else _fail(f"{name} is no text")
    except ValueError:
        _fail(f"{name} is not hexadecimal")


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        _fail(f"{name} is not Base64")


def _fail(detail: str) -> NoReturn:
    raise PrtFileError(detail)
