"""Password hashes computed beside the event loop: few at once, one a name, and a bounded queue."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tenant.state.passwords import PasswordHash, is_password

MAX_RUNNING: Final = 2
"""Hashes at once: each takes 32 MiB and a core."""
MAX_WAITING: Final = 64
"""Sign-ins that run or wait; a further one is told to come again."""


class BusyError(Exception):
    """Too many sign-ins wait."""


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class PasswordWork:
    """Owner of the threads that hash, and of who is next. One event loop uses it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_RUNNING, "password")
        self._turns: dict[str, _Turn] = {}
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for the turn of one name: guesses at it are judged one after another.

        Otherwise many at once would all be compared before the first failure is counted.
        Raises BusyError.
        """
        if self._waiting >= MAX_WAITING:
            raise BusyError
        turn = self._turns.setdefault(name.casefold(), _Turn())
        turn.users += 1
        self._waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            self._waiting -= 1
            turn.users -= 1
            if not turn.users:
                del self._turns[name.casefold()]

    async def is_password(self, candidate: str, stored: PasswordHash | None) -> bool:
        """Compare a password in a thread (`passwords.is_password`)."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, is_password, candidate, stored)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
