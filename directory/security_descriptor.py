"""Security descriptors (MS-DTYP 2.4.6) as msDS-AllowedToActOnBehalfOfOtherIdentity holds them.

Rules
  1. What is not read to its last octet grants nothing: a descriptor is sound as a whole or refused.
  2. A descriptor without a discretionary ACL would let everybody in. Here it lets nobody in.
  3. An entry that grants counts only when it is plain: a conditional one, one for some object type
     only, or one for children only grants nothing. An entry that denies counts also when it is
     conditional or for an object type: what is not understood is taken as said.
  4. Entries are asked in their order (MS-DTYP 2.5.3.2); the first that decides a right has it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from directory.model import Sid

MAX_DESCRIPTOR_BYTES = 65_536  # an ACL's size is a 16-bit number
MAX_ENTRIES = 1_024

CONTROL_ACCESS = 0x00000100
"""ADS_RIGHT_DS_CONTROL_ACCESS: what acting on behalf of others needs (MS-ADTS 5.1.3.2)."""
GENERIC_ALL = 0x10000000
FULL_CONTROL = 0x000F01FF
"""What GENERIC_ALL means on an object of the directory; Windows' tools grant this."""

_SELF_RELATIVE = 0x8000
_DACL_PRESENT = 0x0004
_SACL_PRESENT = 0x0010

_INHERIT_ONLY = 0x08

# ACE types (MS-DTYP 2.4.4.1).
_ALLOWED, _DENIED = 0x00, 0x01
_ALLOWED_OBJECT, _DENIED_OBJECT = 0x05, 0x06
_ALLOWED_CALLBACK, _DENIED_CALLBACK = 0x09, 0x0A
_ALLOWED_CALLBACK_OBJECT, _DENIED_CALLBACK_OBJECT = 0x0B, 0x0C
_OBJECTS = frozenset(
    {_ALLOWED_OBJECT, _DENIED_OBJECT, _ALLOWED_CALLBACK_OBJECT, _DENIED_CALLBACK_OBJECT}
)
_CALLBACKS = frozenset(
    {_ALLOWED_CALLBACK, _DENIED_CALLBACK, _ALLOWED_CALLBACK_OBJECT, _DENIED_CALLBACK_OBJECT}
)
_DENIES = frozenset({_DENIED, _DENIED_OBJECT, _DENIED_CALLBACK, _DENIED_CALLBACK_OBJECT})
_KNOWN = _OBJECTS | _CALLBACKS | {_ALLOWED, _DENIED}

_HEAD = struct.Struct("<BBHIIII")  # revision, Sbz1, control, owner, group, SACL, DACL
_ACL = struct.Struct("<BBHHH")  # revision, Sbz1, size, count, Sbz2
_ACE = struct.Struct("<BBHI")  # type, flags, size, mask
_ADMINISTRATORS = Sid(5, (32, 544))


class SecurityDescriptorError(ValueError):
    """The octets are no security descriptor that can be judged; fixed text, nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessEntry:
    """An access control entry (MS-DTYP 2.4.4), as far as it can decide anything."""

    sid: Sid
    mask: int
    denies: bool
    plain: bool
    """Neither conditional nor for one object type."""
    inherit_only: bool
    """For children of the object only: decides nothing about the object itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityDescriptor:
    """A security descriptor; owner, group and system ACL decide nothing here."""

    owner: Sid | None
    entries: tuple[AccessEntry, ...]
    """The discretionary ACL, in its order."""

    def grants(self, sids: Iterable[Sid], right: int = CONTROL_ACCESS) -> bool:
        """Tell whether someone with these SIDs has one right.

        sids: the account's own, those of its groups, and the well-known ones that it has.
        right: one bit.
        """
        token = frozenset(sids)
        for entry in self.entries:
            if entry.inherit_only or entry.sid not in token:
                continue
            if not (_mapped(entry.mask) & right):
                continue
            if entry.denies:
                return False
            if entry.plain:
                return True
        return False

    def granted_to(self, right: int = CONTROL_ACCESS) -> tuple[Sid, ...]:
        """List, in order, whom an entry grants a right; another entry may deny it still."""
        found = (
            entry.sid
            for entry in self.entries
            if not entry.denies
            and entry.plain
            and not entry.inherit_only
            and _mapped(entry.mask) & right
        )
        return tuple(dict.fromkeys(found))


def _mapped(mask: int) -> int:
    return mask | FULL_CONTROL if mask & GENERIC_ALL else mask


def parse_security_descriptor(data: bytes) -> SecurityDescriptor:
    """Parse a self-relative descriptor (MS-DTYP 2.4.6). Raises SecurityDescriptorError."""
    if not _HEAD.size <= len(data) <= MAX_DESCRIPTOR_BYTES:
        raise SecurityDescriptorError("too short or too long")
    revision, _, control, owner_at, group_at, sacl_at, dacl_at = _HEAD.unpack_from(data)
    if revision != 1 or not control & _SELF_RELATIVE:
        raise SecurityDescriptorError("not a self-relative descriptor of revision 1")
    owner = _sid_at(data, owner_at)
    _sid_at(data, group_at)
    if control & _SACL_PRESENT and sacl_at:
        _acl_at(data, sacl_at)
    # DEVIATION: MS-DTYP 2.5.3.2 lets everybody in where there is no discretionary ACL; who may act
    # for users is named, or nobody.
    entries: tuple[AccessEntry, ...] = ()
    if control & _DACL_PRESENT and dacl_at:
        entries = tuple(_entries(data, dacl_at))
    return SecurityDescriptor(owner=owner, entries=entries)


def _sid_at(data: bytes, start: int) -> Sid | None:
    if start == 0:
        return None
    if start < _HEAD.size or start + 8 > len(data):
        raise SecurityDescriptorError("SID outside the descriptor")
    return _sid(data[start : start + 8 + 4 * data[start + 1]])


def _sid(octets: bytes) -> Sid:
    try:
        return Sid.from_bytes(octets)
    except ValueError:
        raise SecurityDescriptorError("not a SID") from None


def _acl_at(data: bytes, start: int) -> tuple[int, int]:
    """Check an ACL's header; return how many entries it has and where it ends."""
    if start < _HEAD.size or start + _ACL.size > len(data):
        raise SecurityDescriptorError("ACL outside the descriptor")
    revision, _, size, count, _ = _ACL.unpack_from(data, start)
    if revision not in (2, 4) or size < _ACL.size or start + size > len(data):
        raise SecurityDescriptorError("ACL of another revision, or longer than the descriptor")
    if count > MAX_ENTRIES:
        raise SecurityDescriptorError("too many entries")
    return count, start + size


def _entries(data: bytes, start: int) -> Iterable[AccessEntry]:
    count, end = _acl_at(data, start)
    at = start + _ACL.size
    for _ in range(count):
        if at + _ACE.size > end:
            raise SecurityDescriptorError("entry outside its ACL")
        kind, flags, size, mask = _ACE.unpack_from(data, at)
        if size < _ACE.size + 8 or size % 4 or at + size > end:
            raise SecurityDescriptorError("entry of the wrong length")
        if kind not in _KNOWN:
            raise SecurityDescriptorError("entry of a type that has no place in this ACL")
        place, typed = at + _ACE.size, False
        if kind in _OBJECTS:
            present = int.from_bytes(data[place : place + 4], "little")
            typed = bool(present & 1)
            place += 4 + 16 * (present & 1) + 16 * (present >> 1 & 1)
        stop = at + size
        if place + 8 > stop or place + 8 + 4 * data[place + 1] > stop:
            raise SecurityDescriptorError("SID outside its entry")
        sid_end = place + 8 + 4 * data[place + 1]
        # What follows the SID is the condition of a conditional entry.
        if sid_end != stop and kind not in _CALLBACKS:
            raise SecurityDescriptorError("octets after an entry's SID")
        yield AccessEntry(
            sid=_sid(data[place:sid_end]),
            mask=mask,
            denies=kind in _DENIES,
            plain=kind not in _CALLBACKS and not typed,
            inherit_only=bool(flags & _INHERIT_ONLY),
        )
        at = stop


def encode_allowed_to_act(sids: Iterable[Sid]) -> bytes:
    r"""Encode a descriptor that lets exactly these act, as Windows' own tools write it.

    The owner is BUILTIN\Administrators; each SID has full control. Raises ValueError past
    MAX_ENTRIES.
    """
    allowed = [sid.to_bytes() for sid in sids]
    if len(allowed) > MAX_ENTRIES:
        raise ValueError("too many entries")
    entries = b"".join(
        _ACE.pack(_ALLOWED, 0, _ACE.size + len(octets), FULL_CONTROL) + octets for octets in allowed
    )
    acl = _ACL.pack(2, 0, _ACL.size + len(entries), len(allowed), 0) + entries
    owner = _ADMINISTRATORS.to_bytes()
    dacl_at = _HEAD.size + len(owner)
    head = _HEAD.pack(1, 0, _SELF_RELATIVE | _DACL_PRESENT, _HEAD.size, 0, 0, dacl_at)
    return head + owner + acl
