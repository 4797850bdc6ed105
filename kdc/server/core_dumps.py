"""Keeping keys out of core files, for every process that may hold one."""

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """Keep keys out of core files, and other processes of this user out of our memory.

    Children inherit both. The limit alone would not do: the kernel ignores it when core files are
    piped to a collector such as systemd-coredump.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
