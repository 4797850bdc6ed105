"""MIT keytab version 2: both ways, bounds, and MIT's own tools as judges."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.backend import DirectoryError, DirectoryFault
from directory.keytab import KeytabEntry, decode_keytab, encode_keytab

HOST = KeytabEntry(
    realm="LAB.TEST",
    components=("host", "web.lab.test"),
    timestamp=1_800_000_000,
    kvno=300,
    etype=18,
    key=bytes(range(32)),
)
ONE = bytes.fromhex(
    "0502 00000041 0002"
    "0008 4c41422e54455354 0004 686f7374 000c 7765622e6c61622e74657374"
    "00000001 6b49d200 2c 0011 0010 000102030405060708090a0b0c0d0e0f 0000012c".replace(" ", "")
)
texts = st.text(max_size=12)
entries = st.builds(
    KeytabEntry,
    realm=texts,
    components=st.lists(texts, max_size=4).map(tuple),
    name_type=st.integers(0, 2**32 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    kvno=st.integers(1, 2**32 - 1),
    etype=st.integers(0, 2**16 - 1),
    key=st.binary(max_size=64),
)


def invalid(data: bytes) -> str:
    with pytest.raises(DirectoryError) as caught:
        decode_keytab(data)
    assert caught.value.kind is DirectoryFault.INVALID
    return caught.value.detail


def test_layout_is_the_documented_one() -> None:
    """MIT keytab file format 0x0502, laid out by hand."""
    entry = KeytabEntry(
        realm="LAB.TEST",
        components=("host", "web.lab.test"),
        timestamp=1_800_000_000,
        kvno=300,
        etype=17,
        key=bytes(range(16)),
    )
    assert encode_keytab([entry]) == ONE
    assert decode_keytab(ONE) == (entry,)


@given(st.lists(entries, max_size=4))
def test_entries_round_trip(some: list[KeytabEntry]) -> None:
    """Any entry comes back as it was."""
    assert decode_keytab(encode_keytab(some)) == tuple(some)


def test_holes_are_skipped_and_zero_ends_the_file() -> None:
    """A negative size is a hole; a size of 0 ends the file."""
    record = ONE[2:]
    hole = (-5).to_bytes(4, "big", signed=True) + b"12345"
    assert len(decode_keytab(ONE[:2] + hole + record + hole + record)) == 2
    assert len(decode_keytab(ONE + bytes(4) + b"rest")) == 1


def test_old_eight_bit_kvno_and_heimdal_flags() -> None:
    """Without the 32-bit kvno the octet counts; what follows it (Heimdal's flags) is skipped."""
    body = ONE[6:-4]
    short = ONE[:2] + len(body).to_bytes(4, "big") + body
    assert decode_keytab(short)[0].kvno == 44
    zero = ONE[:2] + (len(body) + 4).to_bytes(4, "big") + body + bytes(4)
    assert decode_keytab(zero)[0].kvno == 44
    flags = ONE[:2] + (len(body) + 8).to_bytes(4, "big") + body + ONE[-4:] + bytes(4)
    assert decode_keytab(flags)[0].kvno == 300


def test_file_cut_anywhere_is_invalid_or_shorter() -> None:
    """No read goes past the end."""
    for length in range(len(ONE)):
        if length != 2:
            assert invalid(ONE[:length])
    assert decode_keytab(ONE[:2]) == ()


def test_other_version_is_invalid() -> None:
    """Version 1 has the writer's byte order and is not read."""
    assert invalid(b"\x05\x01" + ONE[2:]) == "keytab: not version 2"
    assert invalid(b"") == "keytab: not version 2"


def test_value_that_does_not_fit_is_invalid() -> None:
    """Fields have 8, 16 and 32 bits."""
    for bad in (
        KeytabEntry(realm="R", components=("a",), kvno=2**32, etype=18, key=b""),
        KeytabEntry(realm="R", components=("a",), kvno=1, etype=70000, key=b""),
        KeytabEntry(realm="R" * 70000, components=("a",), kvno=1, etype=18, key=b""),
        KeytabEntry(realm="R", components=("a",) * 17, kvno=1, etype=18, key=b""),
    ):
        with pytest.raises(DirectoryError) as caught:
            encode_keytab([bad])
        assert caught.value.kind is DirectoryFault.INVALID


@given(st.binary(max_size=300))
def test_any_octets_are_entries_or_invalid(data: bytes) -> None:
    """Fuzz: nothing but DirectoryError(INVALID)."""
    for whole in (data, b"\x05\x02" + data):
        try:
            decode_keytab(whole)
        except DirectoryError as error:
            assert error.kind is DirectoryFault.INVALID


def test_key_does_not_show_and_the_name_is_escaped() -> None:
    """Row S08; RFC 1964 2.1.1."""
    assert "key=" not in repr(HOST)
    odd = KeytabEntry(realm="R", components=("a/b", "c@d", "e\\"), kvno=1, etype=18, key=b"")
    assert odd.principal == "a\\/b/c\\@d/e\\\\@R"


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("klist") is None, reason="needs MIT's klist (krb5-user)")
def test_mit_klist_lists_our_keytab(tmp_path: Path) -> None:
    """MIT reads what we write: name, kvno over 255, enctype, key."""
    path = tmp_path / "out.keytab"
    path.write_bytes(encode_keytab([HOST]))
    shown = subprocess.run(
        ["klist", "-K", "-e", "-k", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "300 host/web.lab.test@LAB.TEST (aes256-cts-hmac-sha1-96)" in shown
    assert HOST.key.hex() in shown


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("ktutil") is None, reason="needs MIT's ktutil (krb5-user)")
def test_keytab_that_mit_ktutil_wrote_is_read(tmp_path: Path) -> None:
    """We read what MIT writes, entries taken from ours."""
    alice = KeytabEntry(realm="LAB.TEST", components=("alice",), kvno=2, etype=17, key=b"\xab" * 16)
    ours, theirs = tmp_path / "ours.keytab", tmp_path / "theirs.keytab"
    ours.write_bytes(encode_keytab([HOST, alice]))
    script = f"rkt {ours}\nwkt {theirs}\nquit\n"
    subprocess.run(["ktutil"], input=script, capture_output=True, text=True, check=True)
    # ktutil stamps the time of writing.
    got = tuple(replace(entry, timestamp=0) for entry in decode_keytab(theirs.read_bytes()))
    assert got == (replace(HOST, timestamp=0), replace(alice, timestamp=0))
