"""AES encryption types of RFC 3962 (17, 18) and RFC 8009 (19, 20), written for this client."""

import hashlib
import hmac
import os
from math import lcm

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = {17: 16, 18: 32, 19: 16, 20: 32}

USAGE_TIMESTAMP = 1
USAGE_TICKET = 2
USAGE_AS_REP = 3
USAGE_TGS_CHECKSUM = 6
USAGE_TGS_AUTHENTICATOR = 7
USAGE_TGS_REP = 8
USAGE_PAC = 17
USAGE_FRESHNESS = 60

CHECKSUM_TYPES = {17: 15, 18: 16, 19: 19, 20: 20}
HMAC_MD5 = -138

_MAC_BYTES = {17: 12, 18: 12, 19: 16, 20: 24}
_BLOCK = 16


class WrongKeyError(Exception):
    """A ciphertext's checksum does not fit: not for this key."""


def _ecb(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  one block
    return encryptor.update(data) + encryptor.finalize()


def _cts_encrypt(key: bytes, plain: bytes) -> bytes:
    padded = plain + bytes(-len(plain) % _BLOCK)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK))).encryptor()
    out = encryptor.update(padded) + encryptor.finalize()
    if len(out) == _BLOCK:
        return out
    return (out[: -2 * _BLOCK] + out[-_BLOCK:] + out[-2 * _BLOCK : -_BLOCK])[: len(plain)]


def _cts_decrypt(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305  block by block
    if len(data) == _BLOCK:
        return decryptor.update(data)
    tail = len(data) % _BLOCK or _BLOCK
    head, last, rest = data[: -tail - _BLOCK], data[-tail - _BLOCK : -tail], data[-tail:]
    opened = decryptor.update(last)
    before_last = rest + opened[tail:]
    blocks = [head[i : i + _BLOCK] for i in range(0, len(head), _BLOCK)] + [before_last]
    previous, plain = bytes(_BLOCK), b""
    for block in blocks:
        plain += _xor(decryptor.update(block), previous)
        previous = block
    return plain + _xor(opened[:tail], before_last[:tail])


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _n_fold(data: bytes, size: int) -> bytes:
    """Fold a string to size octets (RFC 3961 5.1): rotated copies, added with end-around carry."""
    width = lcm(len(data), size)
    total_bits = len(data) * 8
    number = int.from_bytes(data, "big")
    copies = b""
    for turn in range(width // len(data)):
        shift = 13 * turn % total_bits
        rotated = (number >> shift) | (number << (total_bits - shift)) & ((1 << total_bits) - 1)
        copies += rotated.to_bytes(len(data), "big")
    total = sum(int.from_bytes(copies[i : i + size], "big") for i in range(0, width, size))
    limit = 1 << 8 * size
    while total >= limit:
        total = total % limit + total // limit
    return total.to_bytes(size, "big")


def _dk(key: bytes, constant: bytes) -> bytes:
    block = constant if len(constant) == _BLOCK else _n_fold(constant, _BLOCK)
    out = b""
    while len(out) < len(key):
        block = _ecb(key, block)
        out += block
    return out[: len(key)]


def _sha2_kdf(etype: int, key: bytes, label: bytes, size: int) -> bytes:
    name = "sha256" if etype == 19 else "sha384"
    message = b"\x00\x00\x00\x01" + label + b"\x00" + (8 * size).to_bytes(4, "big")
    return hmac.new(key, message, name).digest()[:size]


def _keys(etype: int, key: bytes, usage: int) -> tuple[bytes, bytes]:
    """Derive Ke and Ki for a key usage."""
    prefix = usage.to_bytes(4, "big")
    if etype in (17, 18):
        return _dk(key, prefix + b"\xaa"), _dk(key, prefix + b"\x55")
    return (
        _sha2_kdf(etype, key, prefix + b"\xaa", KEY_BYTES[etype]),
        _sha2_kdf(etype, key, prefix + b"\x55", _MAC_BYTES[etype]),
    )


def encrypt(etype: int, key: bytes, usage: int, plain: bytes) -> bytes:
    """Encrypt under a key and a key usage, with a random confounder."""
    ke, ki = _keys(etype, key, usage)
    plain = os.urandom(_BLOCK) + plain
    cipher = _cts_encrypt(ke, plain)
    if etype in (17, 18):
        return cipher + hmac.new(ki, plain, "sha1").digest()[:12]
    name = "sha256" if etype == 19 else "sha384"
    return cipher + hmac.new(ki, bytes(_BLOCK) + cipher, name).digest()[: _MAC_BYTES[etype]]


def decrypt(etype: int, key: bytes, usage: int, data: bytes) -> bytes:
    """Decrypt and check. Raises WrongKeyError."""
    size = _MAC_BYTES[etype]
    if len(data) < _BLOCK + size:
        raise WrongKeyError("too short")
    ke, ki = _keys(etype, key, usage)
    cipher, mac = data[:-size], data[-size:]
    plain = _cts_decrypt(ke, cipher)
    if etype in (17, 18):
        expected = hmac.new(ki, plain, "sha1").digest()[:size]
    else:
        name = "sha256" if etype == 19 else "sha384"
        expected = hmac.new(ki, bytes(_BLOCK) + cipher, name).digest()[:size]
    if not hmac.compare_digest(expected, mac):
        raise WrongKeyError("checksum")
    return plain[_BLOCK:]


def checksum(etype: int, key: bytes, usage: int, data: bytes) -> bytes:
    """Make the keyed checksum of an encryption type (RFC 3962 section 7, RFC 8009 section 6)."""
    constant = usage.to_bytes(4, "big") + b"\x99"
    if etype in (17, 18):
        return hmac.new(_dk(key, constant), data, "sha1").digest()[:12]
    kc = _sha2_kdf(etype, key, constant, _MAC_BYTES[etype])
    name = "sha256" if etype == 19 else "sha384"
    return hmac.new(kc, data, name).digest()[: _MAC_BYTES[etype]]


def hmac_md5(key: bytes, usage: int, data: bytes) -> bytes:
    """Make the checksum of RFC 4757 section 4, as PA-FOR-USER has it with any key."""
    signing = hmac.new(key, b"signaturekey\0", "md5").digest()
    inner = hashlib.md5(usage.to_bytes(4, "little") + data, usedforsecurity=False).digest()
    return hmac.new(signing, inner, "md5").digest()


def string_to_key(etype: int, password: str, salt: str) -> bytes:
    """Make the long-term key of a password, with the default number of iterations."""
    size = KEY_BYTES[etype]
    if etype in (17, 18):
        raw = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), 4096, size)
        return _dk(raw, b"kerberos")
    name, label = (
        ("sha256", b"aes128-cts-hmac-sha256-128")
        if etype == 19
        else ("sha384", b"aes256-cts-hmac-sha384-192")
    )
    full = label + b"\x00" + salt.encode()
    raw = hashlib.pbkdf2_hmac(name, password.encode(), full, 32768, size)
    return _sha2_kdf(etype, raw, b"kerberos", size)


def octetstring_to_key(etype: int, secret: bytes) -> bytes:
    """Make a reply key of a shared secret (RFC 4556 3.2.3.1)."""
    out, count = b"", 0
    while len(out) < KEY_BYTES[etype]:
        out += hashlib.sha1(bytes((count,)) + secret, usedforsecurity=False).digest()
        count += 1
    return out[: KEY_BYTES[etype]]
