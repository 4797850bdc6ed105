"""The search for secrets finds them, whatever form they are in."""

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.rig.certificates import new_key
from tests.rig.leaks import Secrets

KEY = bytes.fromhex("00ff5c22275c6e0a8041c3a9e282ac7f1badb002deadbeef1022c0ffee99aabb")
PASSWORD = "Grüße\\aus'\"Köln"  # noqa: S105  # a test's


@pytest.fixture
def secrets() -> Secrets:
    """Look for one key and one password."""
    found = Secrets()
    found.add("key", KEY)
    found.add_text("password", PASSWORD)
    return found


HEX = KEY.hex()


@pytest.mark.parametrize(
    "shown",
    [
        KEY,
        KEY[:16],
        KEY[16:],
        HEX.encode(),
        HEX.upper().encode(),
        ":".join(HEX[i : i + 2] for i in range(0, 64, 2)).encode(),
        "\n".join(HEX[i : i + 16] for i in range(0, 64, 16)).encode(),
        b"b'" + repr(KEY)[2:-1].encode(),
        repr({"a": KEY}).encode(),
        repr(list(KEY)).encode(),
        repr(bytearray(KEY)).encode(),
        json.dumps(KEY.decode("latin-1")).encode(),
        base64.b64encode(KEY),
        base64.b64encode(b"x" + KEY + b"yz"),
        base64.b64encode(b"xx" + KEY),
        base64.encodebytes(bytes(41) + KEY + bytes(50)),
        base64.urlsafe_b64encode(b"xyz" + KEY),
    ],
)
def test_key_is_found_in_every_form(secrets: Secrets, shown: bytes) -> None:
    """Raw, hexadecimal, Base64 at any place, lists and reprs."""
    assert secrets.found_in(b"before " + shown + b" after") == {"key"}


@pytest.mark.parametrize(
    "shown",
    [
        PASSWORD.encode(),
        PASSWORD.encode("utf-16-le"),
        PASSWORD.encode().hex().encode(),
        PASSWORD.encode("utf-16-le").hex().upper().encode(),
        base64.b64encode(b"\0pat\0" + PASSWORD.encode()),
        repr(PASSWORD.encode()).encode(),
    ],
)
def test_password_is_found_in_every_form(secrets: Secrets, shown: bytes) -> None:
    """UTF-8 and UTF-16, as text and encoded."""
    assert secrets.found_in(b"before " + shown + b" after") == {"password"}


def test_private_numbers_are_found_in_a_pem_file_and_in_print(tmp_path: Path) -> None:
    """An RSA key as PKCS#8, and its numbers in decimal."""
    key = new_key()
    secrets = Secrets()
    secrets.add_private_key("rsa", key)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for shown in (pem, b"d=%d" % key.private_numbers().d, b"%x" % key.private_numbers().p):
        assert secrets.found_in(shown) == {"rsa"}
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert secrets.found_in(public) == set()


def test_other_octets_hold_no_secret(secrets: Secrets) -> None:
    """No false alarm."""
    assert secrets.found_in(os.urandom(100_000) + bytes(100_000)) == set()


def test_folder_with_a_stray_copy(secrets: Secrets, tmp_path: Path) -> None:
    """What is allowed in one file is a leak in another."""
    (tmp_path / "a").mkdir()
    (tmp_path / "master.key").write_bytes(KEY)
    (tmp_path / "a/log").write_text(f"key is {HEX}")
    assert secrets.leaks(tmp_path, {"master.key": ("key",)}) == {"a/log": {"key"}}
    with pytest.raises(AssertionError, match="should hold"):
        secrets.leaks(tmp_path, {"a/log": ("password",), "master.key": ("key",)})
