"""JWEs under a PRT's session key: made by joserfc, opened by us."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from joserfc import jwe
from joserfc.jwk import OctKey

from kdc.formats.session_jwe import MAX_JWE_CHARS, SessionJweError, open_session_jwe
from tests.kdc.cloud_keys import derived_key

SESSION_KEY = bytes(range(32))
CTX = bytes(range(100, 124))


def sealed(
    plain: bytes = b"content", ctx: object = base64.b64encode(CTX).decode(), enc: str = "A256GCM"
) -> str:
    """Seal with OpenSSL's derivation and joserfc's JWE."""
    header = {"alg": "dir", "enc": enc, "kid": "session", "ctx": ctx}
    registry = jwe.JWERegistry(algorithms=["dir", enc], strict_check_header=False)
    key = OctKey.import_key(derived_key(SESSION_KEY, CTX))
    return jwe.encrypt_compact(header, plain, key, registry=registry)


def why(text: str, key: bytes = SESSION_KEY) -> str:
    """Open in vain and return why."""
    with pytest.raises(SessionJweError) as caught:
        open_session_jwe(text, key)
    return str(caught.value)


def test_opens_what_another_library_sealed() -> None:
    """MS-OAPXBC 3.1.5.1.3.3 and RFC 7516: dir, A256GCM, the header authenticated as it arrived."""
    assert open_session_jwe(sealed(), SESSION_KEY) == b"content"


def sealed_cbc(padded: bytes) -> str:
    """Seal as Entra does for version 1: AES-256-CBC, an empty tag, and a header that says GCM."""
    iv = bytes(range(16))
    encryptor = Cipher(algorithms.AES(derived_key(SESSION_KEY, CTX)), modes.CBC(iv)).encryptor()
    header = {"alg": "dir", "enc": "A256GCM", "ctx": base64.b64encode(CTX).decode()}
    parts = (
        json.dumps(header).encode(),
        b"",
        iv,
        encryptor.update(padded) + encryptor.finalize(),
        b"",
    )
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def test_opens_the_form_of_version_1() -> None:
    """What Entra sends to clients that do not say kdf_ver: CBC without authentication."""
    assert open_session_jwe(sealed_cbc(b"content" + b"\t" * 9), SESSION_KEY) == b"content"


@pytest.mark.parametrize("padded", [b"", b"content" + bytes(9), b"c" * 15 + b"\x11", b"c" * 16])
def test_wrong_padding_is_refused(padded: bytes) -> None:
    """PKCS #7 (RFC 5652 6.3)."""
    assert why(sealed_cbc(padded)) == "the session key does not open it"


@pytest.mark.parametrize("part", range(5))
def test_changed_part_is_refused(part: int) -> None:
    """No bit of it can be changed."""
    parts = sealed().split(".")
    parts[part] = ("A" if parts[part][:1] != "A" else "B") + parts[part][1:]
    assert why(".".join(parts))


def test_another_session_key_does_not_open_it() -> None:
    """Authenticated encryption."""
    assert why(sealed(), bytes(32)) == "the session key does not open it"


@pytest.mark.parametrize("ctx", ["", "not base64!", "QQ", 7, base64.b64encode(bytes(65)).decode()])
def test_header_without_a_usable_ctx_is_refused(ctx: object) -> None:
    """It is the context of the derivation."""
    assert why(sealed(ctx=ctx)) == "its header has no ctx"


def test_another_algorithm_is_refused() -> None:
    """What the header says is never followed."""
    parts = sealed().split(".")
    header = {"alg": "dir", "enc": "A128CBC-HS256", "ctx": base64.b64encode(CTX).decode()}
    other = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    assert "dir and A256GCM" in why(".".join([other, *parts[1:]]))


@pytest.mark.parametrize(
    "text",
    ["", "....", "a.b.c.d", "[.[.[.[.[", "e30....", "W10....", ".".join(["é"] * 5)],
)
def test_text_that_is_no_jwe(text: str) -> None:
    """One error for all of them."""
    assert why(text)


def test_long_text_is_refused() -> None:
    """Before anything is decoded."""
    assert why("A" * (MAX_JWE_CHARS + 1)) == "it is too long"
