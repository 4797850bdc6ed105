"""Two sync runs of one tenant keep each other out."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SyncRunsError(Exception):
    """Another sync run holds the lock."""


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock while the block runs. The kernel lets go of it when the process dies.

    Raises SyncRunsError, OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SyncRunsError("another sync of this tenant is running") from None
        yield
    finally:
        os.close(descriptor)
