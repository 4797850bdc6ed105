"""msDS-KeyCredentialLink: rows K05-K09, K12 and K20, every key-material form, both ways."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from directory.keycredential import (
    MAX_VALUES,
    KeySource,
    NewKeyCredential,
    decode_blob,
    decode_key_credential,
    decode_time,
    decode_values,
    encode_blob,
    encode_key_credential,
    encode_time,
    parse_dn_binary,
)
from directory.keymaterial import MaterialForm, decode_key_material, encode_key_material
from directory.model import KeyCredential
from pki.errors import KeyFault, PkiError
from pki.keys import PublicKey, public_key_from_cryptography, rsa_key
from tests.directory.builders import (
    ALICE_DN,
    DEVICE,
    NOW,
    blob,
    hello_key,
    link,
    minimal_entries,
    value,
)
from tests.pki.test_keys import roca_like_modulus

KEY = hello_key()
MATERIAL = encode_key_material(KEY, MaterialForm.BCRYPT)
RSA_FORMS = [
    MaterialForm.BCRYPT,
    MaterialForm.RSA_PUBLIC_KEY,
    MaterialForm.SPKI,
    MaterialForm.TPM,
]


def decode(entries: list[tuple[int, bytes]], version: int = 0x200) -> KeyCredential:
    return decode_key_credential(value(blob(entries, version)), owner_dn=ALICE_DN)


def refused(credential: KeyCredential, reason: str) -> None:
    assert (credential.usable, credential.reason) == (False, reason)


def of_material(material: bytes) -> KeyCredential:
    return decode(minimal_entries(material))


# -- both ways -------------------------------------------------------------------------------


def test_value_as_windows_writes_it_reads_back() -> None:
    """MS-ADTS 2.2.20.6: every entry in its place, KeyID and KeyHash right."""
    credential = decode_key_credential(link(), owner_dn=ALICE_DN)
    assert credential.usable
    assert credential.warnings == ()
    assert credential.public_key == KEY
    assert credential.key_id == sha256(MATERIAL).digest()
    assert (credential.usage, credential.source, credential.device_id) == (1, 0, DEVICE)
    assert credential.custom_key_information == b"\x01\x00"
    assert credential.created == credential.last_logon == NOW


def test_blob_layout_is_the_documented_one() -> None:
    """MS-ADTS 2.2.20.2-3: version, then length, identifier, value; KeyHash over what follows."""
    data = encode_blob(NewKeyCredential(public_key=KEY, created=NOW))
    assert data[:4] == b"\x00\x02\x00\x00"
    assert data[4:7] == b"\x20\x00\x01"
    assert data[7:39] == sha256(MATERIAL).digest()
    assert data[39:42] == b"\x20\x00\x02"
    assert data[42:74] == sha256(data[74:]).digest()
    assert data[74:77] == len(MATERIAL).to_bytes(2, "little") + b"\x03"
    filetime = (NOW - datetime(1601, 1, 1, tzinfo=UTC)).days * 864_000_000_000 + 12 * 36_000_000_000
    assert data.endswith(
        b"\x01\x00\x04\x01\x01\x00\x05\x00" + b"\x08\x00\x09" + filetime.to_bytes(8, "little")
    )


@pytest.mark.parametrize("form", RSA_FORMS)
def test_every_form_of_key_material_is_the_same_key(form: MaterialForm) -> None:
    """Wire facts 2.2: normalised to (n, e)."""
    credential = decode_key_credential(link(form=form), owner_dn=ALICE_DN)
    assert (credential.usable, credential.material, credential.public_key) == (True, form, KEY)


def test_ec_key_fits_subject_public_key_info_only() -> None:
    """RFC 5480; BCRYPT and TPM forms here are RSA's."""
    key = public_key_from_cryptography(ec.generate_private_key(ec.SECP256R1()).public_key())
    text = link(key, form=MaterialForm.SPKI)
    assert decode_key_credential(text, owner_dn=ALICE_DN).public_key == key
    for form in (MaterialForm.BCRYPT, MaterialForm.RSA_PUBLIC_KEY, MaterialForm.TPM):
        with pytest.raises(PkiError) as caught:
            encode_key_material(key, form)
        assert caught.value.fault is KeyFault.UNSUPPORTED


@given(
    st.integers(0, 2**40),
    st.sampled_from([None, *KeySource]),
    st.uuids() | st.none(),
    st.binary(max_size=20) | st.none(),
    st.sampled_from(RSA_FORMS),
)
def test_encoded_value_decodes_to_what_went_in(
    seconds: int,
    source: KeySource | None,
    device: UUID | None,
    custom: bytes | None,
    form: MaterialForm,
) -> None:
    """Round trip of everything the encoder can write."""
    created = datetime.fromtimestamp(seconds % 4_000_000_000, UTC)
    new = NewKeyCredential(
        public_key=KEY,
        material=form,
        created=created,
        source=source,
        device_id=device,
        custom_key_information=custom,
    )
    got = decode_key_credential(encode_key_credential(new, ALICE_DN), owner_dn=ALICE_DN)
    assert (got.usable, got.warnings, got.public_key) == (True, (), KEY)
    assert (got.source, got.created, got.custom_key_information) == (source, created, custom)


# -- rows ------------------------------------------------------------------------------------


def test_key_id_of_another_key_is_not_used() -> None:
    """Row K05."""
    entries = minimal_entries(MATERIAL)
    entries[0] = (1, sha256(b"other").digest())
    refused(decode(entries), "KeyID is not the digest of KeyMaterial")


def test_wrong_key_id_is_a_warning_with_the_check_off() -> None:
    """Row K05: keycredential_check_keyid = false."""
    entries = minimal_entries(MATERIAL)
    entries[0] = (1, b"short")
    got = decode_key_credential(value(blob(entries)), owner_dn=ALICE_DN, check_keyid=False)
    assert got.usable
    assert "KeyID is not the digest of KeyMaterial" in got.warnings


def test_wrong_key_hash_is_only_a_warning() -> None:
    """Row K05: it is unkeyed and protects nothing."""
    entries = minimal_entries(MATERIAL)
    entries.insert(1, (2, bytes(32)))
    got = decode(entries)
    assert (got.usable, got.warnings) == (True, ("KeyHash wrong",))


def test_absent_key_hash_is_only_a_warning() -> None:
    """Row K05."""
    got = of_material(MATERIAL)
    assert (got.usable, got.warnings) == (True, ("KeyHash absent",))


@pytest.mark.parametrize(
    "usage", [b"\x00", b"\x02", b"\x03", b"\x07", b"\x08", b"\xff", b"", b"\x01\x00"]
)
def test_usage_other_than_ngc_is_not_used(usage: bytes) -> None:
    """Row K06."""
    entries = minimal_entries(MATERIAL)
    entries[2] = (4, usage)
    refused(decode(entries), "KeyUsage is not NGC")


@pytest.mark.parametrize("source", [b"\x00", b"\x01", b"\x07", b"", b"\x00\x00", None])
def test_source_decides_nothing(source: bytes | None) -> None:
    """Row K06, control: KeySource is recorded only."""
    entries = minimal_entries(MATERIAL)
    if source is not None:
        entries.append((5, source))
    assert decode(entries).usable


def test_entries_out_of_order_are_not_used() -> None:
    """Row K07: MS-ADTS 2.2.20.2 "MUST be sorted"."""
    first, second, third = minimal_entries(MATERIAL)
    refused(decode([second, first, third]), "entries out of order")
    refused(decode([first, third, second]), "entries out of order")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_missing_required_entry_is_not_used(missing: int) -> None:
    """Row K07: 01, 03 and 04 are required."""
    entries = minimal_entries(MATERIAL)
    del entries[missing]
    refused(decode(entries), "KeyID, KeyMaterial or KeyUsage missing")


@pytest.mark.parametrize("version", [0, 0x100, 0x201, 0x20000, 0xFFFFFFFF])
def test_other_version_is_not_used(version: int) -> None:
    """Row K07."""
    refused(decode(minimal_entries(MATERIAL), version), "version is not 0x200")


def test_entry_twice_is_not_used() -> None:
    """Row K07."""
    first, second, third = minimal_entries(MATERIAL)
    refused(decode([first, second, second, third]), "entry twice")


def test_entry_length_past_the_end_is_not_used() -> None:
    """Row K08."""
    data = blob(minimal_entries(MATERIAL))
    refused(decode_key_credential(value(data[:-1])), "entry runs past the end")
    refused(decode_key_credential(value(data + b"\x01")), "entry cut short")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a DN-Binary value"),
        ("S:2:00:CN=alice", "not a DN-Binary value"),
        ("B:2:00", "not a DN-Binary value"),
        ("B:x:00:CN=alice", "DN-Binary length is not a number"),
        ("B:²:00:CN=alice", "DN-Binary length is not a number"),
        ("B:-2:00:CN=alice", "DN-Binary length is not a number"),
        ("B:1:00:CN=alice", "DN-Binary length is not the number of hex digits"),
        ("B:3:000:CN=alice", "DN-Binary value is not hexadecimal"),
        ("B:2:0g:CN=alice", "DN-Binary value is not hexadecimal"),
        ("B:5:00 00:CN=alice", "DN-Binary value is not hexadecimal"),
        ("B:4:0000:CN=alice", "version is not 0x200"),
        ("B:0::CN=alice", "version is not 0x200"),
        ("B:" + "0" * 200_000, "value too long"),
    ],
)
def test_text_that_is_no_value_is_not_used(text: str, reason: str) -> None:
    """Row K08: odd hex and the rest of the DN-Binary syntax (MS-DVRJ 2.3.4)."""
    refused(decode_key_credential(text, owner_dn=ALICE_DN), reason)


def test_value_of_another_object_is_not_used() -> None:
    """Row K08."""
    bobs = link(dn="CN=bob,CN=Users,DC=LAB,DC=TEST")
    refused(decode_key_credential(bobs, owner_dn=ALICE_DN), "DN part names another object")
    assert decode_key_credential(bobs).usable


def test_other_spelling_of_the_owner_is_used() -> None:
    """Row K08, control: case, spacing, escaping."""
    text = link(dn="cn=Ali\\63e, CN=users,dc=lab, dc=test")
    assert decode_key_credential(text, owner_dn=ALICE_DN).usable


def test_bad_values_do_not_harm_their_neighbours() -> None:
    """Row K08: the account's good keys still work."""
    texts = ["", "B:2:zz:x", link(), value(b"\0" * 40), link(hello_key(1))]
    got = decode_values(texts, owner_dn=ALICE_DN)
    assert [c.usable for c in got] == [False, False, True, False, True]


def test_of_ten_thousand_values_the_first_512_are_read() -> None:
    """Row K09: a hostile attribute costs a bounded time (docs/performance.md has the figure)."""
    material = MATERIAL + b"x" * 700
    bad = value(blob([(1, sha256(material).digest()), (3, material), (4, b"\x01")]))
    got = decode_values([link(), *[bad] * 10_000], owner_dn=ALICE_DN)
    assert len(got) == MAX_VALUES
    assert [c.usable for c in got] == [True, *[False] * (MAX_VALUES - 1)]


def test_values_of_64_kib_stop_at_the_total() -> None:
    """Row K09: the octets parsed of one account are bounded, too."""
    text = value(blob([(1, bytes(32)), (3, bytes(60_000)), (4, b"\x01")]))
    assert 1 < len(decode_values([text] * 1000, owner_dn=ALICE_DN)) < 20


def bcrypt(
    bits: int, exponent: bytes, number: bytes, magic: bytes = b"RSA1", **sizes: int
) -> bytes:
    header = struct.pack(
        "<4s5I",
        magic,
        bits,
        sizes.get("exponent", len(exponent)),
        sizes.get("modulus", len(number)),
        sizes.get("prime1", 0),
        0,
    )
    return header + exponent + number


N = KEY.n.to_bytes(256, "big")
E = b"\x01\x00\x01"


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        (bcrypt(1024, E, b"\xff" * 128), "key material: too small: RSA modulus"),
        (bcrypt(2048, b"\x00", N), "key material: malformed: RSA numbers not positive"),
        (bcrypt(2048, b"\x03", N), "key material: public exponent not accepted: RSA exponent"),
        (bcrypt(2048, b"", N), "key material: malformed: BCRYPT exponent size"),
        (bcrypt(2048, b"\0" * 9, N), "key material: malformed: BCRYPT exponent size"),
        (bcrypt(2048, E, N, modulus=255), "key material: malformed: BCRYPT modulus size"),
        (bcrypt(2048, E, N, modulus=2**32 - 1), "key material: malformed: BCRYPT modulus size"),
        (bcrypt(2048, E, N[:-1]), "key material: malformed: BCRYPT modulus size"),
        (bcrypt(2047, E, N), "key material: malformed: BCRYPT bit length"),
        (bcrypt(2048, E, N, prime1=128), "key material: malformed: BCRYPT blob with primes"),
        (bcrypt(2048, E, N) + b"\0", "key material: malformed: BCRYPT modulus size"),
        (b"RSA1", "key material: malformed: BCRYPT header"),
        (bcrypt(2048, E, N, b"RSA2"), "key material: malformed: BCRYPT private key blob"),
        (bcrypt(2048, E, N, b"ECK1"), "key material: malformed: unknown form"),
        (b"", "key material: malformed: unknown form"),
        (b"\x30", "key material: malformed: DER"),
        (b"\x30\x00", "key material: malformed: unexpected tag: SubjectPublicKeyInfo"),
    ],
)
def test_unusable_key_material(material: bytes, reason: str) -> None:
    """Row K12."""
    credential = of_material(material)
    assert not credential.usable
    assert credential.reason.startswith(reason.split(": unexpected")[0])


# -- TPM -------------------------------------------------------------------------------------


def tpm(
    *,
    header: int = 54,
    written_header: int | None = None,
    kind: int = 2,
    key_type: int = 1,
    symmetric: int = 0x10,
    scheme: bytes = b"\x00\x14\x00\x0b",
    bits: int = 2048,
    exponent: int = 0,
    modulus: bytes = N,
    policy: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """Build a PCP_KEY_BLOB_WIN8 from the structures of TPM 2.0 part 2, not by our encoder."""
    area = struct.pack(">HHI", key_type, 0x0B, 0x00040472) + struct.pack(">H", len(policy)) + policy
    area += struct.pack(">H", symmetric) + scheme + struct.pack(">HI", bits, exponent)
    area += struct.pack(">H", len(modulus)) + modulus
    public = struct.pack(">H", len(area)) + area
    head = b"PCPM" + struct.pack("<3I", written_header or header, kind, 0)
    return head + bytes(header - len(head)) + public + tail


@pytest.mark.parametrize(
    "material",
    [
        tpm(),
        tpm(header=52),
        tpm(header=54, written_header=46),
        tpm(exponent=65537),
        tpm(scheme=b"\x00\x10"),
        tpm(scheme=b"\x00\x16\x00\x0b"),
        tpm(policy=bytes(32)),
        tpm(tail=b"private part of the blob"),
    ],
    ids=["windows10", "windows8", "samba", "literal", "no-scheme", "pss", "policy", "tail"],
)
def test_tpm_shapes_are_the_same_key(material: bytes) -> None:
    """Wire facts 2.2: PCPM; exponent 0 means 65537 (TPM 2.0 part 2, 12.2.3.5)."""
    credential = of_material(material)
    assert (credential.usable, credential.public_key) == (True, KEY)


@pytest.mark.parametrize(
    "material",
    [
        tpm(kind=1),
        tpm(key_type=0x23),
        tpm(symmetric=6),
        tpm(scheme=b"\x00\x99"),
        tpm(bits=1024),
        tpm(written_header=0xFFFF),
        tpm()[:100],
        tpm()[:14],
        tpm(modulus=N + b"\0"),
    ],
    ids=["tpm12", "ecc", "storage", "scheme", "bits", "header", "cut", "short", "modulus"],
)
def test_tpm_shapes_that_are_not_used(material: bytes) -> None:
    """Wire facts 2.2: signing RSA keys of TPM 2.0 only."""
    credential = of_material(material)
    assert not credential.usable
    assert credential.reason.startswith("key material: ")


# -- K20 and neighbours ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "custom", [b"\1\0", b"\1\2\0\0", b"\1\0\0\0\1", b"\1\2\0\0\0\0", bytes(15), b"", b"\1"]
)
def test_custom_key_information_of_any_length(custom: bytes) -> None:
    """Row K20."""
    got = decode([*minimal_entries(MATERIAL), (7, custom)])
    assert (got.usable, got.custom_key_information) == (True, custom)


def test_unknown_entry_identifiers_are_skipped() -> None:
    """Row K20."""
    got = decode([*minimal_entries(MATERIAL), (10, b"x"), (0x80, b""), (0xFF, bytes(300))])
    assert got.usable


def test_dotnet_times_of_azure_ad_are_read() -> None:
    """Wire facts 2.1: DateTime.ToBinary when KeySource is AzureAD; the top bits are its kind."""
    ticks = (NOW - datetime(1, 1, 1, tzinfo=UTC)).days * 864_000_000_000 + 12 * 36_000_000_000
    for kind in (0, 1 << 62, 2 << 62):
        raw = (ticks | kind).to_bytes(8, "little")
        got = decode([*minimal_entries(MATERIAL), (5, b"\x01"), (9, raw)])
        assert (got.usable, got.created) == (True, NOW)


@pytest.mark.parametrize("raw", [b"", b"\0" * 7, b"\xff" * 8])
def test_odd_time_is_a_warning(raw: bytes) -> None:
    """Wire facts 2.1: never fail a logon on times."""
    got = decode([*minimal_entries(MATERIAL), (8, raw), (9, raw)])
    assert (got.usable, got.created, got.last_logon) == (True, None, None)
    assert "CREATION_TIME is not a time" in got.warnings


@pytest.mark.parametrize("device", [b"", bytes(16), bytes(15)])
def test_device_id_absent_zero_or_odd(device: bytes) -> None:
    """Rows K11 and K20: no device named."""
    got = decode([*minimal_entries(MATERIAL), (6, device)])
    assert (got.usable, got.device_id) == (True, None)


def test_fido_key_is_kept_for_display_only() -> None:
    """Wire facts 2.2: JSON, usage FIDO."""
    entries = [(1, sha256(b'{"v":1}').digest()), (3, b'{"v":1}'), (4, b"\x07")]
    got = decode(entries)
    refused(got, "KeyUsage is not NGC")
    assert (got.material, got.fido) == ("FIDO", '{"v":1}')
    entries[2] = (4, b"\x01")
    refused(decode(entries), "key material: unsupported algorithm or curve: FIDO key")


def test_roca_key_is_a_warning_in_the_directory() -> None:
    """Row K10: the policy is the logon's, the administrator sees it here."""
    got = of_material(encode_key_material(rsa_key(roca_like_modulus(), 65537), MaterialForm.SPKI))
    assert (got.usable, "ROCA fingerprint (CVE-2017-15361)" in got.warnings) == (True, True)


def test_key_credential_does_not_print_its_text() -> None:
    """Row S08: short and safe in logs."""
    assert len(repr(decode_key_credential(link()))) < 80


# -- fuzz ------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_any_text_gives_a_credential(text: str) -> None:
    """Fuzz: reading never raises."""
    got = decode_key_credential(text, owner_dn=ALICE_DN)
    assert not got.usable
    assert got.reason


@given(st.binary(max_size=600))
def test_any_octets_give_a_credential(data: bytes) -> None:
    """Fuzz: reading never raises."""
    assert not decode_blob(data, text="").usable
    assert not decode_blob(b"\0\2\0\0" + data, text="").usable


@given(st.sampled_from(RSA_FORMS), st.data())
def test_changed_octet_never_gives_another_usable_key(
    form: MaterialForm, data: st.DataObject
) -> None:
    """Fuzz: KeyID binds the key material; nothing else makes a key."""
    good, _ = parse_dn_binary(link(form=form))
    index = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[index] ^= data.draw(st.integers(1, 255))
    got = decode_blob(bytes(changed), text="")
    assert not got.usable or got.public_key == KEY


@given(st.binary(max_size=400), st.sampled_from([b"", b"RSA1", b"PCPM", b"0", b"{"]))
def test_any_key_material_is_a_key_or_a_key_fault(data: bytes, magic: bytes) -> None:
    """Fuzz: PkiError(KeyFault) and nothing else."""
    try:
        _, key = decode_key_material(magic + data)
        assert isinstance(key, PublicKey)
    except PkiError as error:
        assert isinstance(error.fault, KeyFault)


@given(st.integers(0, 2**64 - 1), st.booleans())
def test_any_time_is_a_time_or_none(raw: int, dotnet: bool) -> None:
    """Fuzz: times never raise, and those in range come back."""
    got = decode_time(raw, dotnet)
    if got is not None:
        again = decode_time(encode_time(got, dotnet), dotnet)
        assert again == got


def test_replace_keeps_the_text() -> None:
    """The raw value stays with the verdict about it."""
    got = decode_key_credential(link(), owner_dn="CN=x")
    assert replace(got, usable=True).text == link()
