"""What is sealed for a device, opened by joserfc and by the steps of real clients."""

import base64
import json
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey

from kdc.formats.session_jwe import open_session_jwe
from tenant.prt.jwe import seal_answer, wrap_session_key
from tenant.prt.kdf import KdfVersion, signing_key
from tests.kdc.cloud_keys import derived_key
from tests.tenant.prt.jwts import rsa_key

SESSION_KEY = bytes(range(32))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_session_key_is_the_content_key_of_a_true_jwe() -> None:
    """MS-OAPXBC 3.2.5.1.2.2: clients take part 2 with OAEP and SHA-1; the whole opens as well."""
    transport = rsa_key("transport")
    text = wrap_session_key(SESSION_KEY, transport.public_key(), os.urandom)
    header, wrapped, iv, _, tag = map(_decoded, text.split("."))
    assert json.loads(header) == {"enc": "A256GCM", "alg": "RSA-OAEP"}
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303  the wire's
    assert transport.decrypt(wrapped, oaep) == SESSION_KEY
    assert (len(iv), len(tag)) == (12, 16)
    opened = jwe.decrypt_compact(
        text, RSAKey.import_key(transport), algorithms=["RSA-OAEP", "A256GCM"]
    )
    assert opened.plaintext == b""


def test_answer_of_version_2_opens_with_another_library() -> None:
    """RFC 7516: dir, A256GCM; the key is derived from ctx alone, though the request's was not."""
    text = seal_answer(b'{"a":1}', SESSION_KEY, KdfVersion.V2, os.urandom)
    header = json.loads(_decoded(text.split(".")[0]))
    assert (header["alg"], header["enc"], header["kid"]) == ("dir", "A256GCM", "session")
    ctx = base64.b64decode(header["ctx"])
    assert len(ctx) == 24
    registry = jwe.JWERegistry(algorithms=["dir", "A256GCM"], strict_check_header=False)
    key = OctKey.import_key(derived_key(SESSION_KEY, ctx))
    assert jwe.decrypt_compact(text, key, registry=registry).plaintext == b'{"a":1}'


def test_answer_of_version_1_has_the_form_of_entra() -> None:
    """An initial vector of 16 octets, whole blocks, and an empty tag: AES-256-CBC."""
    text = seal_answer(b"x" * 15, SESSION_KEY, KdfVersion.V1, os.urandom)
    _, wrapped, iv, sealed, tag = map(_decoded, text.split("."))
    assert (wrapped, len(iv), len(sealed), tag) == (b"", 16, 16, b"")
    assert open_session_jwe(text, SESSION_KEY) == b"x" * 15


@pytest.mark.parametrize("version", KdfVersion)
def test_no_two_answers_are_alike(version: KdfVersion) -> None:
    """Ctx and initial vector are random."""
    texts = {seal_answer(b"x", SESSION_KEY, version, os.urandom) for _ in range(8)}
    assert len({text.split(".")[0] for text in texts}) == len(texts) == 8


def test_versions_of_the_derivation() -> None:
    """Version 2 binds the key to the payload (MS-OAPXBC 3.1.5.1.3.3)."""
    ctx = bytes(24)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(ctx + b"payload")
    assert signing_key(SESSION_KEY, ctx, b"payload", KdfVersion.V1) == derived_key(SESSION_KEY, ctx)
    assert signing_key(SESSION_KEY, ctx, b"payload", KdfVersion.V2) == derived_key(
        SESSION_KEY, digest.finalize()
    )
