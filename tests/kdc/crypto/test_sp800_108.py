"""SP 800-108 in counter mode, against OpenSSL's."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from kdc.crypto.sp800_108 import MAX_BLOCKS, counter_mode


@pytest.mark.parametrize("size", [1, 16, 31, 32, 33, 64, 200])
@pytest.mark.parametrize("context", [b"", b"c" * 24, bytes(range(64))])
def test_agrees_with_openssl(size: int, context: bytes) -> None:
    """SP 800-108r1 4.1: 32-bit counter before the fixed data, 32-bit length."""
    key, label = bytes(range(32)), b"AzureAD-SecureConversation"
    judge = KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=size,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    assert counter_mode(key, label, context, size) == judge.derive(key)


@pytest.mark.parametrize("size", [-1, 0, 32 * MAX_BLOCKS + 1])
def test_size_out_of_bounds(size: int) -> None:
    """Nothing is derived."""
    with pytest.raises(ValueError, match="size"):
        counter_mode(b"key", b"label", b"", size)
