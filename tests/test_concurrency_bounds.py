from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from greenlang_async_storage._concurrency import _workers, run_bounded, stream_bounded


async def as_async(items: Iterable[Any]) -> AsyncIterator[Any]:
    """An async generator that never waits."""
    for item in items:
        yield item


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.asyncio
async def test_memory_stays_flat(asynchronous: bool) -> None:
    """Of 20,000 items in a stream, only those in work, waiting or read ahead are alive."""

    class Item:
        """Something that can be watched."""

    width, most = 8, 0
    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    def items() -> Iterator[Item]:
        for _ in range(20_000):
            item = Item()
            alive.add(item)
            yield item
            del item

    async def worker(index: int, item: Item) -> Item:
        nonlocal most
        most = max(most, len(alive))
        await asyncio.sleep(0)
        return item

    count = 0
    gc.disable()
    try:
        async with stream_bounded(
            as_async(items()) if asynchronous else items(), worker, width=width
        ) as outcomes:
            async for outcome in outcomes:
                assert outcome.error is None
                count += 1
                del outcome
    finally:
        gc.enable()
    assert count == 20_000
    assert most <= 3 * width + 3


@pytest.mark.asyncio
async def test_results_are_all_that_a_batch_keeps() -> None:
    """`run_bounded` keeps outcomes, not items: of 20,000 few are alive at once."""

    class Item:
        """Something that can be watched."""

    most = 0
    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    async def items() -> AsyncIterator[Item]:
        for _ in range(20_000):
            item = Item()
            alive.add(item)
            yield item
            del item

    async def worker(index: int, item: Item) -> int:
        nonlocal most
        most = max(most, len(alive))
        return index

    gc.disable()
    try:
        outcomes = await run_bounded(items(), worker, width=8)
    finally:
        gc.enable()
    assert [outcome.value for outcome in outcomes] == list(range(20_000))
    assert most <= 12


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.asyncio
async def test_a_slow_reader_holds_the_workers_back(asynchronous: bool) -> None:
    """No more than `width` items are worked on or wait to be read, and one more is read ahead."""
    taken = finished = 0
    width = 4

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    async def worker(index: int, item: int) -> int:
        nonlocal finished
        await asyncio.sleep(0)
        finished += 1
        return item

    source = as_async(items()) if asynchronous else items()
    async with stream_bounded(source, worker, width=width) as outcomes:
        read = 0
        async for _ in outcomes:
            read += 1
            for _ in range(20):
                await asyncio.sleep(0)
            # The outcome just read freed one worker.
            assert finished <= read + width
            assert taken <= read + width + 1
    assert read == 100


@pytest.mark.asyncio
async def test_workers_that_never_wait_let_others_run() -> None:
    """Items whose workers never wait do not hold up the loop: every 64 of one worker others have a turn."""
    turns, done = 0, False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    async def worker(index: int, item: int) -> None:
        return

    other = asyncio.create_task(others())
    await run_bounded(range(10 * _workers.ITEMS_PER_TURN), worker, width=1)
    done = True
    await other
    assert turns >= 10


@pytest.mark.asyncio
async def test_no_more_workers_than_items() -> None:
    """Few items start few tasks, also where their number is not known before."""
    tasks: set[object] = set()

    async def worker(index: int, item: int) -> None:
        tasks.update(asyncio.all_tasks())
        await asyncio.sleep(0)

    before = len(asyncio.all_tasks())
    for make in (list, as_async):
        tasks.clear()
        await run_bounded(make(range(2)), worker, width=1000)
        assert len(tasks) <= before + 2
