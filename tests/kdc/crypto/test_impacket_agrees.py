"""impacket's Kerberos cryptography as an independent judge of encryption types 17 and 18."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from impacket.krb5 import crypto as judge  # type: ignore[import-untyped]  # it ships no types

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    KEY_BYTES,
    EncType,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
    prf,
    string_to_key,
)

SHA1_ENCTYPES = (EncType.AES128_CTS_HMAC_SHA1_96, EncType.AES256_CTS_HMAC_SHA1_96)


@given(
    enctype=st.sampled_from(SHA1_ENCTYPES),
    seed=st.binary(min_size=32, max_size=32),
    usage=st.integers(1, 60),
    plaintext=st.binary(max_size=200),
)
@settings(max_examples=60)
def test_each_reads_what_the_other_wrote(
    enctype: EncType, seed: bytes, usage: int, plaintext: bytes
) -> None:
    """RFC 3962: encryption in both directions, and checksums."""
    value = seed[: KEY_BYTES[enctype]]
    ours, theirs = ProtocolKey(enctype, value), judge.Key(int(enctype), value)
    assert judge.decrypt(theirs, usage, encrypt(ours, usage, plaintext, seed[:16])) == plaintext
    assert decrypt(ours, usage, judge.encrypt(theirs, usage, plaintext, seed[:16])) == plaintext
    mac = make_checksum(ours, usage, plaintext)
    assert mac == judge.make_checksum(CHECKSUM_TYPES[enctype], theirs, usage, plaintext)
    assert prf(ours, plaintext) == judge.prf(theirs, plaintext)


@pytest.mark.parametrize("enctype", SHA1_ENCTYPES)
def test_passwords_give_the_same_keys(enctype: EncType) -> None:
    """RFC 3962 section 4, with the default count and text beyond ASCII."""
    theirs = judge.string_to_key(int(enctype), "Päss wörd", "LAB.TESThostweb.lab.test")
    assert string_to_key(enctype, "Päss wörd", "LAB.TESThostweb.lab.test").value == theirs.contents
