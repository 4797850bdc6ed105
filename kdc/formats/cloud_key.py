"""The key file of a cloud trust: all that the cloud needs to issue partial TGTs for a realm.

JSON, one object:

    format        "keytrust-cloud-key-1"
    realm         Kerberos realm, "LAB.TEST"
    domain        DNS name of the domain, "lab.test"
    netbios       its NetBIOS name, "LAB"
    domain_sid    its SID, "S-1-5-21-..."
    number        msDS-SecondaryKrbTgtNumber of the krbtgt account, 1 to 65535: upper half of kvno
    kvno          version of the key: lower half of kvno, as far as 16 bits hold it
    etype         encryption type of the key, 18
    key           the key, in hexadecimal

Whoever has this file can be any user whom the read-only DC's lists allow.
"""

import json
from dataclasses import dataclass, field
from typing import NoReturn

from directory.model import MAX_SECONDARY_NUMBER, Sid
from kdc.crypto.etypes import CryptoError, EncType, ProtocolKey

FORMAT = "keytrust-cloud-key-1"
MAX_FILE_BYTES = 4096
MAX_TEXT_CHARS = 255
MAX_KEY_VERSION = 0xFFFFFFFF  # the cloud's own versions have more than 16 bits


class CloudKeyError(Exception):
    """The bytes are not a key file; the text is fixed and holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudKey:
    """The content of a key file."""

    realm: str
    domain: str
    netbios: str
    domain_sid: Sid
    number: int
    kvno: int
    key: ProtocolKey = field(repr=False)

    def wire_kvno(self, low: int | None = None) -> int:
        """Return the kvno of tickets under this key, as Int32 (MS-KILE 3.1.5.8).

        low: in the lower half, instead of the key's version.
        """
        value = self.number << 16 | (self.kvno if low is None else low) & 0xFFFF
        return value - (1 << 32) if value >> 31 else value


def encode_cloud_key(key: CloudKey) -> bytes:
    """Encode a key file."""
    return (
        json.dumps(
            {
                "format": FORMAT,
                "realm": key.realm,
                "domain": key.domain,
                "netbios": key.netbios,
                "domain_sid": str(key.domain_sid),
                "number": key.number,
                "kvno": key.kvno,
                "etype": int(key.key.enctype),
                "key": key.key.value.hex(),
            },
            indent=2,
        )
        + "\n"
    ).encode()


def decode_cloud_key(data: bytes) -> CloudKey:
    """Decode a key file. Raises CloudKeyError."""
    if len(data) > MAX_FILE_BYTES:
        _fail("it is too large")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        _fail("it is not JSON")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        _fail(f'it does not say that its format is "{FORMAT}"')
    try:
        sid = Sid.parse(_text(found, "domain_sid"))
    except ValueError:
        _fail("domain_sid is not a SID")
    try:
        key = ProtocolKey(
            EncType(_number(found, "etype", 0, 255)), bytes.fromhex(_text(found, "key"))
        )
    except (ValueError, CryptoError):
        _fail("etype and key are not those of a key we use")
    return CloudKey(
        realm=_text(found, "realm"),
        domain=_text(found, "domain"),
        netbios=_text(found, "netbios"),
        domain_sid=sid,
        number=_number(found, "number", 1, MAX_SECONDARY_NUMBER),
        kvno=_number(found, "kvno", 0, MAX_KEY_VERSION),
        key=key,
    )


def _text(found: dict[str, object], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARS or not value.isascii():
        _fail(f"{name} is missing, or no short text")
    return value


def _number(found: dict[str, object], name: str, low: int, high: int) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _fail(f"{name} is missing, or no number between {low} and {high}")
    return value


def _fail(detail: str) -> NoReturn:
    raise CloudKeyError(detail)
