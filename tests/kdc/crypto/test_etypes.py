"""RFC 3961, 3962 and 8009: published vectors, round trips and everything that must fail."""

import copy
import hmac
import pickle
from hashlib import sha1, sha256, sha384

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdc.crypto import aes_cts, rfc3962, rfc8009
from kdc.crypto.aes_cts import AesCts, HmacKey
from kdc.crypto.etypes import (
    CHECKSUM_BYTES,
    CONFOUNDER_BYTES,
    DEFAULT_ITERATIONS,
    KEY_BYTES,
    MAX_ITERATIONS,
    CryptoError,
    CryptoFault,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    iterations_of,
    make_checksum,
    prf,
    random_to_key,
    string_to_key,
    verify_checksum,
)
from tests.kdc.crypto.vectors import Case, case_id, cases

CONFOUNDER = bytes(range(0xC0, 0xD0))
every_enctype = pytest.mark.parametrize("enctype", list(EncType), ids=lambda e: str(int(e)))


def a_key(enctype: EncType, first: int = 1) -> ProtocolKey:
    return ProtocolKey(enctype, bytes(range(first, first + KEY_BYTES[enctype])))


def base_key(case: Case) -> rfc3962.BaseKey | rfc8009.BaseKey:
    value = case.octets("key")
    match case.number("enctype"):
        case 19:
            return rfc8009.BaseKey(rfc8009.AES128_SHA256, value)
        case 20:
            return rfc8009.BaseKey(rfc8009.AES256_SHA384, value)
        case _:
            return rfc3962.BaseKey(value)


def case_key(case: Case) -> ProtocolKey:
    return ProtocolKey(EncType(case.number("enctype")), case.octets("key"))


# -- published vectors -----------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("rfc3961", "nfold"), ids=case_id)
def test_n_fold_vectors(case: Case) -> None:
    """RFC 3961 appendix A.1."""
    folded = rfc3962.n_fold(case.octets("input"), case.number("bits") // 8)
    assert folded == case.octets("expected")


@pytest.mark.parametrize("case", cases("rfc3962", "string-to-key"), ids=case_id)
def test_string_to_key_vectors_of_rfc3962(case: Case) -> None:
    """RFC 3962 appendix B; they cover DK, as each key is DK(PBKDF2 output, "kerberos")."""
    key = string_to_key(
        EncType(case.number("enctype")),
        case.octets("password"),
        case.octets("salt"),
        case.number("iterations"),
    )
    assert key.value == case.octets("expected")


@pytest.mark.parametrize("case", cases("rfc3962", "cbc-cts"), ids=case_id)
def test_cbc_cts_vectors(case: Case) -> None:
    """RFC 3962 appendix B, both directions."""
    cts = AesCts(case.octets("key"))
    assert cts.encrypt(case.octets("input")) == case.octets("expected")
    assert cts.decrypt(case.octets("expected")) == case.octets("input")


@pytest.mark.parametrize("case", cases("rfc8009", "string-to-key"), ids=case_id)
def test_string_to_key_vectors_of_rfc8009(case: Case) -> None:
    """RFC 8009 appendix A; the salt holds bytes that are not the ASCII of a name."""
    enctype = EncType(case.number("enctype"))
    iterations = iterations_of(enctype, case.octets("s2kparams"))
    key = string_to_key(enctype, case.octets("password"), case.octets("salt"), iterations)
    assert key.value == case.octets("expected")
    assert string_to_key(enctype, "password", case.octets("salt").decode()) == key


@pytest.mark.parametrize(
    "case", cases("rfc8009", "derive") + cases("mit_krb5_aes", "derive"), ids=case_id
)
def test_specific_key_vectors(case: Case) -> None:
    """Ke, Ki and Kc: RFC 3961 section 5.1 and RFC 8009 section 5."""
    base, usage = base_key(case), case.number("usage")
    ke, ki = base.encryption_keys(usage)
    derived = {"ke": ke, "ki": ki, "kc": base.checksum_key(usage)}
    assert derived[case.text("which")] == case.octets("expected")


@pytest.mark.parametrize(
    "case", cases("rfc8009", "prf") + cases("mit_krb5_aes", "prf"), ids=case_id
)
def test_prf_vectors(case: Case) -> None:
    """RFC 3961 section 5.3 and RFC 8009 section 5."""
    assert prf(case_key(case), case.octets("input")) == case.octets("expected")


@pytest.mark.parametrize(
    "case", cases("rfc8009", "checksum") + cases("mit_krb5_aes", "checksum"), ids=case_id
)
def test_checksum_vectors(case: Case) -> None:
    """RFC 3961 section 5.4, RFC 8009 section 6."""
    key, usage, data = case_key(case), case.number("usage"), case.octets("input")
    assert make_checksum(key, usage, data) == case.octets("expected")
    assert verify_checksum(key, usage, data, case.octets("expected")) == data


@pytest.mark.parametrize("case", cases("rfc8009", "encrypt"), ids=case_id)
def test_encryption_vectors_of_rfc8009(case: Case) -> None:
    """RFC 8009 appendix A, both directions."""
    key, usage, plaintext = case_key(case), case.number("usage"), case.octets("input")
    assert encrypt(key, usage, plaintext, case.octets("confounder")) == case.octets("expected")
    assert decrypt(key, usage, case.octets("expected")) == plaintext


@pytest.mark.parametrize("case", cases("mit_krb5_aes", "decrypt"), ids=case_id)
def test_what_mit_encrypted_is_decrypted(case: Case) -> None:
    """RFC 3962 has no vector of the whole function; these are of MIT krb5's own tests."""
    plaintext = decrypt(case_key(case), case.number("usage"), case.octets("input"))
    assert plaintext == case.octets("expected")


# -- properties ------------------------------------------------------------------------------


@every_enctype
def test_every_length_comes_back(enctype: EncType) -> None:
    """Lengths 0 to 1100 cross every boundary of ciphertext stealing."""
    key, text = a_key(enctype), bytes(range(256)) * 5
    for size in range(1101):
        plaintext = text[:size]
        sealed = encrypt(key, KeyUsage.TICKET, plaintext, CONFOUNDER)
        assert len(sealed) == CONFOUNDER_BYTES + size + CHECKSUM_BYTES[enctype]
        assert decrypt(key, KeyUsage.TICKET, sealed) == plaintext


@given(
    enctype=st.sampled_from(EncType),
    plaintext=st.binary(max_size=1100),
    confounder=st.binary(min_size=16, max_size=16),
    usage=st.integers(0, 1024),
)
def test_decrypt_undoes_encrypt(
    enctype: EncType, plaintext: bytes, confounder: bytes, usage: int
) -> None:
    """RFC 3961 section 3, for any content."""
    key = a_key(enctype)
    assert decrypt(key, usage, encrypt(key, usage, plaintext, confounder)) == plaintext


@given(enctype=st.sampled_from(EncType), size=st.integers(0, 100), where=st.integers(0))
@settings(max_examples=300)
def test_a_flipped_bit_is_refused(enctype: EncType, size: int, where: int) -> None:
    """Any bit of the ciphertext or its checksum."""
    key = a_key(enctype)
    sealed = bytearray(encrypt(key, KeyUsage.TICKET, bytes(size), CONFOUNDER))
    bit = where % (len(sealed) * 8)
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CryptoError) as refused:
        decrypt(key, KeyUsage.TICKET, bytes(sealed))
    assert refused.value.fault is CryptoFault.INTEGRITY


@every_enctype
def test_every_truncation_is_refused(enctype: EncType) -> None:
    """Shorter than confounder and checksum is TRUNCATED, anything between is INTEGRITY."""
    key = a_key(enctype)
    sealed = encrypt(key, KeyUsage.TICKET, bytes(70), CONFOUNDER)
    for size in range(len(sealed)):
        with pytest.raises(CryptoError) as refused:
            decrypt(key, KeyUsage.TICKET, sealed[:size])
        short = size < CONFOUNDER_BYTES + CHECKSUM_BYTES[enctype]
        assert refused.value.fault is (CryptoFault.TRUNCATED if short else CryptoFault.INTEGRITY)


@given(key=st.binary(min_size=1, max_size=64), prefix=st.binary(), data=st.binary(max_size=300))
@example(key=bytes(64), prefix=b"", data=b"")
def test_our_hmac_is_the_library_s(key: bytes, prefix: bytes, data: bytes) -> None:
    """RFC 2104, for each hash we use."""
    for new, name, block in ((sha1, "sha1", 64), (sha256, "sha256", 64), (sha384, "sha384", 128)):
        ours = HmacKey(key, new, block, prefix)
        assert ours.digest(data) == hmac.digest(key, prefix + data, name)


# -- what must fail --------------------------------------------------------------------------


@every_enctype
def test_another_usage_is_refused(enctype: EncType) -> None:
    """RFC 3961 section 3: specific keys depend on the usage."""
    key = a_key(enctype)
    sealed = encrypt(key, KeyUsage.TICKET, b"ticket", CONFOUNDER)
    with pytest.raises(CryptoError) as refused:
        decrypt(key, KeyUsage.AS_REP_ENC_PART, sealed)
    assert refused.value.fault is CryptoFault.INTEGRITY
    mac = make_checksum(key, KeyUsage.TICKET, b"ticket")
    with pytest.raises(CryptoError) as refused:
        verify_checksum(key, KeyUsage.AS_REP_ENC_PART, b"ticket", mac)
    assert refused.value.fault is CryptoFault.INTEGRITY


@every_enctype
def test_another_key_is_refused(enctype: EncType) -> None:
    """The integrity check is what tells a wrong key."""
    sealed = encrypt(a_key(enctype), KeyUsage.TICKET, b"ticket", CONFOUNDER)
    with pytest.raises(CryptoError) as refused:
        decrypt(a_key(enctype, first=2), KeyUsage.TICKET, sealed)
    assert refused.value.fault is CryptoFault.INTEGRITY


@every_enctype
def test_a_wrong_checksum_is_refused(enctype: EncType) -> None:
    """Shorter, longer, empty or other checksums (RFC 3961 section 4)."""
    key = a_key(enctype)
    mac = make_checksum(key, KeyUsage.KERB_NON_KERB_CKSUM_SALT, b"pac")
    for wrong in (b"", mac[:-1], mac + b"\0", bytes(len(mac)), mac[::-1]):
        with pytest.raises(CryptoError) as refused:
            verify_checksum(key, KeyUsage.KERB_NON_KERB_CKSUM_SALT, b"pac", wrong)
        assert refused.value.fault is CryptoFault.INTEGRITY


@every_enctype
def test_a_checksum_of_other_data_is_refused(enctype: EncType) -> None:
    """RFC 3961 section 4."""
    key = a_key(enctype)
    mac = make_checksum(key, KeyUsage.KERB_NON_KERB_CKSUM_SALT, b"pac")
    with pytest.raises(CryptoError) as refused:
        verify_checksum(key, KeyUsage.KERB_NON_KERB_CKSUM_SALT, b"pad", mac)
    assert refused.value.fault is CryptoFault.INTEGRITY


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_confounder_of_another_length_is_our_own_mistake(size: int) -> None:
    """It is never taken from the wire."""
    with pytest.raises(ValueError, match="16 bytes"):
        encrypt(a_key(EncType.AES256_CTS_HMAC_SHA1_96), KeyUsage.TICKET, b"", bytes(size))


@every_enctype
@pytest.mark.parametrize("difference", [-16, -1, 1, 16])
def test_a_key_of_another_length_is_refused(enctype: EncType, difference: int) -> None:
    """RFC 3962 section 6, RFC 8009 section 5."""
    with pytest.raises(CryptoError) as refused:
        random_to_key(enctype, bytes(KEY_BYTES[enctype] + difference))
    assert refused.value.fault is CryptoFault.BAD_KEY


@pytest.mark.parametrize("number", [0, 1, 3, 16, 23, -128, 25])
def test_an_unsupported_enctype_is_refused(number: int) -> None:
    """DES, DES3, RC4 and Camellia: a number that escaped the type is refused at run time."""
    with pytest.raises(CryptoError) as refused:
        ProtocolKey(number, bytes(16))  # type: ignore[arg-type]  # the point of the test
    assert refused.value.fault is CryptoFault.UNSUPPORTED
    with pytest.raises(CryptoError) as refused:
        string_to_key(number, "password", "salt")  # type: ignore[arg-type]  # the same
    assert refused.value.fault is CryptoFault.UNSUPPORTED


# -- string-to-key parameters ----------------------------------------------------------------


@every_enctype
def test_absent_s2kparams_mean_the_default(enctype: EncType) -> None:
    """RFC 3962 section 4 (4096) and RFC 8009 section 4 (32768)."""
    expected = 4096 if enctype < 19 else 32768
    assert iterations_of(enctype, None) == DEFAULT_ITERATIONS[enctype] == expected


@pytest.mark.parametrize(
    "s2kparams",
    [b"", b"\0\0\x10", b"\0\0\0\x10\0", bytes(4), (MAX_ITERATIONS + 1).to_bytes(4, "big")],
    ids=["empty", "3 bytes", "5 bytes", "zero is 2**32", "over the limit"],
)
def test_bad_s2kparams_are_refused(s2kparams: bytes) -> None:
    """RFC 3962 section 4: four bytes; a limit may be set."""
    with pytest.raises(CryptoError) as refused:
        iterations_of(EncType.AES256_CTS_HMAC_SHA1_96, s2kparams)
    assert refused.value.fault is CryptoFault.BAD_PARAMETER


@pytest.mark.parametrize("iterations", [-1, 0, MAX_ITERATIONS + 1])
def test_iterations_outside_the_limits_are_refused(iterations: int) -> None:
    """The same limit guards callers that do not come from s2kparams."""
    with pytest.raises(CryptoError) as refused:
        string_to_key(EncType.AES256_CTS_HMAC_SHA1_96, "password", "salt", iterations)
    assert refused.value.fault is CryptoFault.BAD_PARAMETER


def test_text_is_taken_as_utf_8_and_stray_octets_survive() -> None:
    """RFC 3962 section 4; names of other encodings keep their bytes as surrogates."""
    enctype, octets = EncType.AES128_CTS_HMAC_SHA1_96, "LAB.TESTjürgen".encode("latin-1")
    decoded = octets.decode("utf-8", "surrogateescape")
    assert string_to_key(enctype, "pä", decoded, 1) == string_to_key(
        enctype, "pä".encode(), octets, 1
    )


# -- the key object --------------------------------------------------------------------------


@every_enctype
def test_nothing_printable_holds_the_key(enctype: EncType) -> None:
    """Keys must not reach a log, in any state of their caches."""
    key = a_key(enctype)
    encrypt(key, KeyUsage.TICKET, b"", CONFOUNDER)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert key.value.hex() not in shown
        assert repr(key.value)[2:10] not in shown
        assert str(int(enctype)) in shown


def test_keys_are_not_copied_or_pickled() -> None:
    """A key leaves the process only through code that says so."""
    key = a_key(EncType.AES256_CTS_HMAC_SHA1_96)
    with pytest.raises(TypeError, match="not copied"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="not copied"):
        copy.deepcopy(key)


def test_keys_are_equal_by_type_and_value() -> None:
    """Two types share each key length, so the value alone says nothing."""
    sha1_key = a_key(EncType.AES128_CTS_HMAC_SHA1_96)
    assert sha1_key == a_key(EncType.AES128_CTS_HMAC_SHA1_96)
    assert hash(sha1_key) == hash(a_key(EncType.AES128_CTS_HMAC_SHA1_96))
    assert sha1_key != a_key(EncType.AES128_CTS_HMAC_SHA256_128)
    assert sha1_key != a_key(EncType.AES128_CTS_HMAC_SHA1_96, first=2)
    assert sha1_key != sha1_key.value


@given(
    key=st.sampled_from((bytes(range(16)), bytes(range(32)))),
    messages=st.lists(st.tuples(st.booleans(), st.binary(min_size=16, max_size=100)), max_size=12),
)
@example(key=bytes(16), messages=[(True, bytes(16)), (True, bytes(16)), (False, bytes(16))])
@example(key=bytes(32), messages=[(False, bytes(17)), (False, bytes(17)), (False, bytes(32))])
def test_no_message_depends_on_those_before(key: bytes, messages: list[tuple[bool, bytes]]) -> None:
    """RFC 3962 section 6: the vector of each message is zero, on a context that is used again."""
    used = AesCts(key)
    for encrypting, data in messages:
        if encrypting:
            assert used.encrypt(data) == AesCts(key).encrypt(data)
        else:
            assert used.decrypt(data) == AesCts(key).decrypt(data)


def test_a_message_that_stops_halfway_does_not_touch_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A context whose vector is not known is used no more."""
    data = bytes(range(50))
    used = AesCts(bytes(32))
    sealed = used.encrypt(data)
    assert used.decrypt(sealed) == data
    with monkeypatch.context() as patched:
        patched.setattr(aes_cts, "_xor", None)
        for call in (used.encrypt, used.decrypt):
            with pytest.raises(TypeError):
                call(data)
    assert used.encrypt(data) == sealed
    assert used.decrypt(sealed) == data


@every_enctype
def test_used_keys_agree_with_fresh_ones(enctype: EncType) -> None:
    """The specific keys kept on the object are those of their usage, whatever came before."""
    used = a_key(enctype)
    for usage in (*KeyUsage, *reversed(KeyUsage)):
        fresh = a_key(enctype)
        sealed = encrypt(used, usage, b"some text", CONFOUNDER)
        assert sealed == encrypt(fresh, usage, b"some text", CONFOUNDER)
        assert decrypt(used, usage, sealed) == b"some text"
        assert make_checksum(used, usage, b"x") == make_checksum(fresh, usage, b"x")
