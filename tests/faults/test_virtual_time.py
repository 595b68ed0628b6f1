"""The virtual clock: exact, in order, still while threads work, and loud when nothing can happen any more."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.support.virtual_time import DeadlockError, EndlessError, VirtualTimeLoop, run_virtual


def test_hours_pass_in_no_time() -> None:
    """A sleep takes as long as it says, by the loop's clock only."""

    async def work() -> str:
        await asyncio.sleep(36_000)
        return "done"

    started = time.monotonic()
    assert run_virtual(work()) == ("done", 36_000.0)
    assert time.monotonic() - started < 60


def test_timers_fire_in_order_and_at_their_time() -> None:
    """Sleeps, timeouts and call_later agree on one clock, however far it has gone."""
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def work() -> None:
        await asyncio.sleep(1e7)
        async with asyncio.TaskGroup() as group:
            for name, seconds in (("c", 3.0), ("a", 0.1), ("b", 0.1 + 0.2)):
                group.create_task(sleeper(name, seconds))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()

    _, took = run_virtual(work())
    assert [name for name, _ in seen] == ["a", "b", "c"]
    assert [round(at - 1e7, 3) for _, at in seen] == [0.1, 0.3, 3.0]
    assert took == pytest.approx(1e7 + 5.5)


def test_the_clock_stands_still_while_threads_work() -> None:
    """A timer that is set does not fire before a thread that was started is done."""
    may_end = threading.Event()

    async def work() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(5, order.append, "timer")
        loop.call_soon(may_end.set)
        order.append("thread" if await asyncio.to_thread(may_end.wait, 20) else "late")
        assert loop.time() == 0
        await asyncio.sleep(6)
        return order

    assert run_virtual(work()) == (["thread", "timer"], 6.0)  # and the threads have ended, too


def test_a_wait_that_nothing_can_end() -> None:
    """Is an error at once, where a real loop would hang for ever."""

    async def work() -> None:
        await asyncio.Event().wait()

    loop = VirtualTimeLoop()
    task = loop.create_task(work())
    try:
        with pytest.raises(DeadlockError, match="nothing can happen"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


def test_a_loop_that_never_ends() -> None:
    """Busy for ever, with time passing or without, it is stopped after the turns it was given."""

    async def work(pause: float) -> None:
        asyncio.get_running_loop().most_turns = 500  # type: ignore[attr-defined]
        while True:  # noqa: ASYNC110  # never ending is the point
            await asyncio.sleep(pause)

    for pause in (0.0, 1.0):
        loop = VirtualTimeLoop()
        task = loop.create_task(work(pause))
        try:
            with pytest.raises(EndlessError, match="501 turns"):
                loop.run_until_complete(task)
            loop.most_turns = float("inf")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
        finally:
            loop.close()
