"""A file-backed map shared by the workers: opening, validating and locking it.

Theory of operation. The first page is a header: a fixed part (magic, version, geometry, a random
key) under a checksum, then a few 64-bit words that change. Behind it lies the body, whose layout is
the owner's business. Every worker maps the same file, so the page cache is the shared memory: what
a worker has written is there for the others, and still there when it is killed a moment later.

Locks are POSIX record locks on single octets of the file. The kernel drops them when their owner
dies, so a worker killed inside a critical section blocks nobody. They exclude processes, not
threads: a worker has one thread.
"""

import fcntl
import hashlib
import hmac
import logging
import mmap
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

HEADER_BYTES: Final = 4096
"""One page, so that the body starts page-aligned."""

KEY_BYTES: Final = 32
_VERSION: Final = 1
_FIXED = struct.Struct("<8sI4x8q32s")
_CHECKSUM_BYTES: Final = 32
_BOOT_ID_AT: Final = 256
_BOOT_ID_BYTES: Final = 36
_WORDS_AT: Final = 512
_WORDS: Final = 8

# Words of the changing part.
ABANDONED: Final = 0
"""Set when the file was moved aside as corrupt: who still maps it must open the new one."""
FIRST_OWN_WORD: Final = 1

_OPEN_LOCK: Final = 0
"""The octet locked while a file is validated or made. Owners lock octets from FIRST_OWN_LOCK on."""
FIRST_OWN_LOCK: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What kind of map a file holds; a file of another layout counts as corrupt."""

    magic: bytes
    geometry: tuple[int, ...]
    """At most eight numbers."""
    body_bytes: int

    @property
    def file_bytes(self) -> int:
        """Return the exact size of the file."""
        return HEADER_BYTES + self.body_bytes


class MapFile:
    """One open map."""

    __slots__ = ("_inode", "fd", "fresh", "key", "map", "path", "rebooted", "words")

    def __init__(self, path: Path, fd: int, layout: Layout, *, fresh: bool, rebooted: bool) -> None:
        self.path = path
        self.fd = fd
        self.fresh = fresh
        """Made just now: whatever was remembered before is lost."""
        self.rebooted = rebooted
        """The machine restarted since the last opening: late writes may be lost."""
        self.map = mmap.mmap(fd, layout.file_bytes)
        # A native 64-bit view: one aligned load or store each, never half an old and half a new
        # value, which struct's byte-wise codes would not promise.
        words_end = _WORDS_AT + 8 * _WORDS
        self.words = memoryview(self.map)[_WORDS_AT:words_end].cast("q")
        self.key = _FIXED.unpack_from(self.map)[-1]

    @classmethod
    def open(cls, path: Path, layout: Layout) -> "MapFile":
        """Open a map, or make it when it is missing; a corrupt one is moved aside first.

        Raises OSError when the folder cannot be written or the disk is full.
        """
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX, 1, _OPEN_LOCK)
                opened = _validate_or_make(path, fd, layout)
                if opened is not None:
                    fresh, rebooted = opened
                    return cls(path, fd, layout, fresh=fresh, rebooted=rebooted)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def release_open_lock(self) -> None:
        """End the critical section of `open`, once the owner has set its first words."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _OPEN_LOCK)

    @property
    def abandoned(self) -> bool:
        """Tell whether another worker has moved this file aside."""
        return self.words[ABANDONED] != 0

    def close(self) -> None:
        """Give the map and the file back; what was written stays in the file."""
        self.words.release()
        self.map.close()
        os.close(self.fd)


def peek(path: Path, magic: bytes, body_bytes: int) -> tuple[tuple[int, ...], bytes, bytes]:
    """Read a map without opening it: geometry, changing words and the first octets of the body.

    For who only looks. Raises OSError, also when it is no map of this kind.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        body = file.read(body_bytes)
    found, _version, *numbers, _key = _FIXED.unpack_from(header.ljust(_FIXED.size, b"\0"))
    if found != magic or len(header) < HEADER_BYTES:
        raise OSError(f"{path} is no map of this kind")
    return tuple(numbers), header[_WORDS_AT : _WORDS_AT + 8 * _WORDS], body


def _validate_or_make(path: Path, fd: int, layout: Layout) -> tuple[bool, bool] | None:
    """Return (fresh, rebooted); None when the file was replaced meanwhile and must be reopened.

    Assumes the open lock is held.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a regular file")
    try:
        if os.stat(path).st_ino != status.st_ino:
            return None
    except FileNotFoundError:
        return None
    os.fchmod(fd, 0o600)
    boot_id = _boot_id()
    if status.st_size == 0:
        _make(fd, layout, boot_id)
        return True, False
    header = os.pread(fd, HEADER_BYTES, 0)
    if status.st_size != layout.file_bytes or not _header_is_valid(header, layout):
        if status.st_size >= HEADER_BYTES:
            os.pwrite(fd, struct.pack("=q", 1), _WORDS_AT + 8 * ABANDONED)
        aside = path.with_name(path.name + ".corrupt")
        path.replace(aside)
        log.error("%s is damaged or of another size; moved to %s and made anew", path, aside.name)
        return None
    rebooted = header[_BOOT_ID_AT : _BOOT_ID_AT + _BOOT_ID_BYTES] != boot_id
    if rebooted:
        os.pwrite(fd, boot_id, _BOOT_ID_AT)
    return False, rebooted


def _make(fd: int, layout: Layout, boot_id: bytes) -> None:
    # Real blocks, not a sparse file: writing to a hole of a map on a full disk kills the process
    # with SIGBUS, while this fails now and with a name (ENOSPC).
    os.posix_fallocate(fd, 0, layout.file_bytes)
    fixed = _fixed_part(layout, os.urandom(KEY_BYTES))
    os.pwrite(fd, boot_id, _BOOT_ID_AT)
    # The checksum goes last: killed before it, the file counts as corrupt and is made again.
    os.pwrite(fd, fixed + _checksum(fixed), 0)


def _fixed_part(layout: Layout, key: bytes) -> bytes:
    numbers = layout.geometry + (0,) * (8 - len(layout.geometry))
    return _FIXED.pack(layout.magic, _VERSION, *numbers, key)


def _checksum(fixed: bytes) -> bytes:
    return hashlib.blake2b(fixed, digest_size=_CHECKSUM_BYTES).digest()


def _header_is_valid(header: bytes, layout: Layout) -> bool:
    if len(header) < HEADER_BYTES:
        return False
    fixed = header[: _FIXED.size]
    checksum = header[_FIXED.size : _FIXED.size + _CHECKSUM_BYTES]
    if not hmac.compare_digest(checksum, _checksum(fixed)):
        return False
    return fixed == _fixed_part(layout, _FIXED.unpack(fixed)[-1])


def _boot_id() -> bytes:
    """Return the identity of this start of the machine, or zeros where the system has none."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        text = b""
    return text[:_BOOT_ID_BYTES].ljust(_BOOT_ID_BYTES, b"\0")
