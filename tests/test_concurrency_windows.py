"""Two buffers take turns; work on one is always over before its owner may close what it uses."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from greenlang_async_storage._concurrency import WINDOW, Windows

pytestmark = pytest.mark.asyncio


def nothing() -> None:
    """Work that is done at once."""


async def test_what_is_worked_on_is_not_given_out() -> None:
    """Each window goes to its work as it was filled, while the next one is filled already."""
    windows = Windows(2 * WINDOW)
    found = []

    def look(view: memoryview) -> None:
        found.append((view[0], view[-1]))

    for number in range(20):
        view = windows.take()
        view[0] = view[-1] = number
        await windows.empty(partial(look, view))
    await windows.settle()
    assert found == [(number, number) for number in range(20)]


@pytest.mark.parametrize("size", [1, 1000, WINDOW, WINDOW + 1, 3 * WINDOW // 2, 2 * WINDOW, 100 * WINDOW])
async def test_memory_stays_within_what_was_allowed(size: int) -> None:
    """One window for what fits into it, two for more: never above the size, nor above two windows."""
    windows = Windows(size)
    for _ in range(-(-size // windows.size) if size <= 2 * WINDOW else 5):
        windows.take()
        await windows.empty(nothing)
    await windows.settle()
    held = sum(view.nbytes for view in windows._buffers)
    assert held <= min(size + 1, 2 * WINDOW)
    assert windows.size <= WINDOW
    windows.take()
    assert len(windows._buffers) == (1 if size <= WINDOW else 2)


async def test_a_failure_of_the_work_is_raised_once() -> None:
    """By whatever is called next; what follows begins anew."""
    windows = Windows(10)

    def fail() -> None:
        raise OSError("the disk")

    windows.take()
    await windows.empty(fail)
    with pytest.raises(OSError, match="the disk"):
        await windows.empty(nothing)
    await windows.settle()
    await windows.empty(fail)
    await windows.drop()
    await windows.settle()


@pytest.mark.parametrize("way", ["settle", "drop"])
async def test_a_cancel_waits_for_the_work(way: str) -> None:
    """However often it comes: when the task has ended, no thread works any more."""
    windows = Windows(10)
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    windows.take()
    await windows.empty(work)
    await asyncio.to_thread(began.wait, 10)
    task = asyncio.create_task(getattr(windows, way)())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
