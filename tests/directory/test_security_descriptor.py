"""Security descriptors (MS-DTYP 2.4.6): read whole or not at all, and asked entry by entry."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.model import Sid
from directory.security_descriptor import (
    CONTROL_ACCESS,
    FULL_CONTROL,
    GENERIC_ALL,
    SecurityDescriptorError,
    encode_allowed_to_act,
    parse_security_descriptor,
)

APP = Sid.parse("S-1-5-21-1-2-3-1104")
WEB = Sid.parse("S-1-5-21-1-2-3-1105")
EVERYONE = Sid.parse("S-1-1-0")
ALLOWED, DENIED, AUDIT, ALLOWED_OBJECT, DENIED_OBJECT = 0, 1, 2, 5, 6
ALLOWED_CALLBACK, DENIED_CALLBACK, MANDATORY_LABEL = 9, 10, 17


def ace(
    kind: int,
    sid: Sid,
    *,
    mask: int = FULL_CONTROL,
    flags: int = 0,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Write an entry. before, after: octets around the SID."""
    body = struct.pack("<I", mask) + before + sid.to_bytes() + after
    return struct.pack("<BBH", kind, flags, 4 + len(body)) + body


def acl(*entries: bytes, revision: int = 2, count: int | None = None) -> bytes:
    """Write an access control list."""
    body = b"".join(entries)
    number = len(entries) if count is None else count
    return struct.pack("<BBHHH", revision, 0, 8 + len(body), number, 0) + body


def descriptor(dacl: bytes | None, *, control: int = 0x8004, revision: int = 1) -> bytes:
    """Write a descriptor without owner, group and system list."""
    return struct.pack("<BBHIIII", revision, 0, control, 0, 0, 0, 20 if dacl is not None else 0) + (
        dacl or b""
    )


def grants(data: bytes, *sids: Sid) -> bool:
    return parse_security_descriptor(data).grants(sids)


# What Windows' own tool writes: O:BAD:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;S-1-5-21-1-2-3-1104)
WINDOWS = bytes.fromhex(
    "0100048014000000000000000000000024000000"  # revision 1, DACL, self-relative; owner at 20
    "01020000000000052000000020020000"  # S-1-5-32-544
    "02002c0001000000"  # ACL of revision 2, 44 octets, one entry
    "00002400ff010f00"  # allowed, 36 octets, 0xF01FF
    "010500000000000515000000010000000200000003000000"
    "50040000"
)


def test_descriptor_of_windows_own_tool() -> None:
    """Octets written out by hand from MS-DTYP; the writer gives the same."""
    parsed = parse_security_descriptor(WINDOWS)
    assert parsed.owner == Sid.parse("S-1-5-32-544")
    assert parsed.granted_to() == (APP,)
    assert parsed.grants([APP])
    assert not parsed.grants([WEB, EVERYONE])
    assert encode_allowed_to_act([APP]) == WINDOWS


@pytest.mark.parametrize(
    ("mask", "granted"),
    [
        (FULL_CONTROL, True),
        (CONTROL_ACCESS, True),
        (GENERIC_ALL, True),
        (0, False),
        (FULL_CONTROL & ~CONTROL_ACCESS, False),
        (0x40000000, False),
    ],
)
def test_right_that_counts(mask: int, granted: bool) -> None:
    """ADS_RIGHT_DS_CONTROL_ACCESS, by itself or as a part of what is granted."""
    assert grants(descriptor(acl(ace(ALLOWED, APP, mask=mask))), APP) is granted


@pytest.mark.parametrize(
    ("entries", "granted"),
    [
        ((ace(ALLOWED, APP), ace(DENIED, APP)), True),
        ((ace(DENIED, APP), ace(ALLOWED, APP)), False),
        ((ace(DENIED, EVERYONE), ace(ALLOWED, APP)), False),
        ((ace(DENIED, APP, mask=0x10), ace(ALLOWED, APP)), True),
        ((ace(DENIED, WEB), ace(ALLOWED, APP)), True),
        ((ace(DENIED, APP, flags=8), ace(ALLOWED, APP)), True),
        ((ace(ALLOWED, APP, flags=8),), False),
        ((ace(ALLOWED, APP, flags=0x12),), True),
        ((), False),
    ],
)
def test_order_of_entries(entries: tuple[bytes, ...], granted: bool) -> None:
    """MS-DTYP 2.5.3.2: the first entry that decides the right has it; children's do not count."""
    assert grants(descriptor(acl(*entries)), APP, EVERYONE) is granted


@pytest.mark.parametrize(
    ("entry", "granted"),
    [
        (ace(ALLOWED_OBJECT, APP, before=struct.pack("<I", 0)), True),
        (ace(ALLOWED_OBJECT, APP, before=struct.pack("<I", 1) + bytes(16)), False),
        (ace(ALLOWED_OBJECT, APP, before=struct.pack("<I", 2) + bytes(16)), True),
        (ace(ALLOWED_OBJECT, APP, before=struct.pack("<I", 3) + bytes(32)), False),
        (ace(ALLOWED_CALLBACK, APP, after=b"artx"), False),
        (ace(ALLOWED_CALLBACK, APP), False),
    ],
)
def test_entries_that_are_not_plain_grant_nothing(entry: bytes, granted: bool) -> None:
    """MS-DTYP 2.4.4.3, 2.4.4.6: for one object type, or under a condition that is not judged."""
    assert grants(descriptor(acl(entry, revision=4)), APP) is granted


@pytest.mark.parametrize(
    "entry",
    [
        ace(DENIED_OBJECT, APP, before=struct.pack("<I", 0)),
        ace(DENIED_OBJECT, APP, before=struct.pack("<I", 1) + bytes(16)),
        ace(DENIED_CALLBACK, APP, after=b"artx"),
    ],
)
def test_entries_that_are_not_plain_deny_all_the_same(entry: bytes) -> None:
    """What is not understood is taken as said."""
    assert not grants(descriptor(acl(entry, ace(ALLOWED, APP), revision=4)), APP)


@pytest.mark.parametrize("dacl", [None, b""])
@pytest.mark.parametrize("control", [0x8004, 0x8000])
def test_descriptor_without_a_list_lets_nobody_in(dacl: bytes | None, control: int) -> None:
    """Elsewhere no list means everybody; here it means nobody."""
    if dacl == b"" and control == 0x8004:
        with pytest.raises(SecurityDescriptorError):
            grants(descriptor(dacl, control=control), APP)
        return
    assert not grants(descriptor(dacl, control=control), APP, EVERYONE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WINDOWS[:19],
        descriptor(acl(ace(ALLOWED, APP)), revision=2),
        descriptor(acl(ace(ALLOWED, APP)), control=0x0004),
        descriptor(acl(ace(ALLOWED, APP), revision=3)),
        descriptor(acl(ace(ALLOWED, APP), count=2)),
        descriptor(acl(ace(ALLOWED, APP), count=0xFFFF)),
        descriptor(acl(ace(AUDIT, APP))),
        descriptor(acl(ace(MANDATORY_LABEL, APP))),
        descriptor(acl(ace(ALLOWED, APP, after=bytes(4)))),
        descriptor(acl(ace(ALLOWED, APP)[:-4])),
        descriptor(acl(ace(ALLOWED_OBJECT, APP, before=struct.pack("<I", 1)))),
        descriptor(acl(struct.pack("<BBHI", 0, 0, 4, 0))),
        descriptor(acl(struct.pack("<BBHI", 0, 0, 0, 0) + bytes(8))),
        struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 4096),
        struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 8),
        struct.pack("<BBHIIII", 1, 0, 0x8004, 4, 0, 0, 0),
        struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 0, 0, 0),
        struct.pack("<BBHIIII", 1, 0, 0x8014, 0, 0, 99, 0),
        descriptor(acl(ace(ALLOWED, APP))) + bytes(70_000),
    ],
)
def test_descriptor_that_is_not_whole(data: bytes) -> None:
    """Counts and offsets that lead out of it, kinds that have no place in it."""
    with pytest.raises(SecurityDescriptorError):
        parse_security_descriptor(data)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """A value or its own error, whatever arrives."""
    with suppress(SecurityDescriptorError):
        parse_security_descriptor(data)


@given(st.integers(0, len(WINDOWS) - 1), st.integers(0, 255))
def test_any_octet_changed(at: int, value: int) -> None:
    """A descriptor for one account never lets another one in by one octet outside its SID."""
    broken = WINDOWS[:at] + bytes((value,)) + WINDOWS[at + 1 :]
    with suppress(SecurityDescriptorError):
        assert not grants(broken, WEB) or at >= len(WINDOWS) - 28


def test_too_many_entries_are_not_written() -> None:
    """The bound of reading is that of writing."""
    with pytest.raises(ValueError, match="too many"):
        encode_allowed_to_act([APP] * 1025)
