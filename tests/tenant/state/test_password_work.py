"""Passwords are compared beside the event loop: one a name, a bounded queue, no place lost."""

import asyncio

import pytest

from tenant.state import password_work
from tenant.state.password_work import BusyError, PasswordWork
from tenant.state.passwords import hash_password


async def test_one_name_has_one_turn_at_a_time_in_any_case() -> None:
    """Another name does not wait for it."""
    work, order = PasswordWork(), []

    async def take(name: str, mark: str, wait: asyncio.Event) -> None:
        async with work.turn(name):
            order.append(f"{mark} begins")
            await wait.wait()
            order.append(f"{mark} ends")

    first, others = asyncio.Event(), asyncio.Event()
    others.set()
    running = asyncio.create_task(take("Alice", "first", first))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(take("ALICE", "second", others))
    await take("bob", "bob", others)
    first.set()
    await asyncio.gather(running, waiting)
    assert order == [
        "first begins",
        *("bob begins", "bob ends"),
        *("first ends", "second begins", "second ends"),
    ]
    work.close()


async def test_a_full_queue_refuses_and_empties_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was refused, who failed and who was cut off all leave their place."""
    monkeypatch.setattr(password_work, "MAX_WAITING", 1)
    work = PasswordWork()
    async with work.turn("a"):
        with pytest.raises(BusyError):
            async with work.turn("b"):
                pass
    with pytest.raises(KeyError):
        async with work.turn("a"):
            raise KeyError
    cut_off = asyncio.create_task(_forever(work))
    await asyncio.sleep(0)
    cut_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    async with work.turn("a"):
        pass
    work.close()


async def _forever(work: PasswordWork) -> None:
    async with work.turn("a"):
        await asyncio.Event().wait()


async def test_the_loop_goes_on_while_a_password_is_compared() -> None:
    """A hash in a thread: other requests are answered meanwhile."""
    work, ticks = PasswordWork(), 0
    comparing = asyncio.create_task(work.is_password("x", None))
    while not comparing.done():
        ticks += 1
        await asyncio.sleep(0.001)
    assert (await comparing, ticks > 1) == (False, True)
    assert await work.is_password("x", hash_password("x", bytes(16), cost=2))
    work.close()
