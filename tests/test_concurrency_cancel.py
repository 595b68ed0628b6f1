from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from greenlang_async_storage._concurrency import Items, run_bounded, stream_bounded
from tests.support.cancel import cancel_everywhere


class ItemError(Exception):
    """What a worker raises."""


class OtherError(Exception):
    """What something else raises."""


class Watch:
    """Inputs and workers that count what was started and what has ended."""

    def __init__(self) -> None:
        self.open = 0
        self.started = 0
        self.two_started = asyncio.Event()

    def items(self) -> Iterator[int]:
        self.open += 1
        try:
            yield from range(12)
        finally:
            self.open -= 1

    async def async_items(self) -> AsyncIterator[int]:
        self.open += 1
        try:
            for item in range(12):
                await asyncio.sleep(0)
                yield item
        finally:
            self.open -= 1

    async def blocked(self) -> AsyncIterator[int]:
        """Gives two items, and then nothing for ever."""
        self.open += 1
        try:
            yield 0
            yield 1
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def worker(self, index: int, item: int) -> int:
        self.started += 1
        self.open += 1
        if self.started == 2:
            self.two_started.set()
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self.open -= 1
        return item

    async def check(self) -> None:
        assert self.open == 0
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if task.get_name() == "storage-batch"]


async def run(items: Items[Any], worker: Any) -> None:
    """A batch, whole."""
    await run_bounded(items, worker, width=3)


async def stream(items: Items[Any], worker: Any) -> None:
    """A batch, read as it goes."""
    async with stream_bounded(items, worker, width=3) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(0)


async def stream_and_leave(items: Items[Any], worker: Any) -> None:
    """A batch left after a few outcomes."""
    async with stream_bounded(items, worker, width=3) as outcomes:
        for _ in range(4):
            await anext(outcomes)


each_form = pytest.mark.parametrize("kind", ["items", "async_items"])


@pytest.mark.asyncio
@each_form
@pytest.mark.parametrize("settle", [run, stream, stream_and_leave])
@pytest.mark.parametrize("again_after", [0, 1, 2])
async def test_cancelled_anywhere(settle: Any, kind: str, again_after: int) -> None:
    """
    Cancelled at any await, once or twice, a batch has ended every worker and closed its input when it
    returns.
    """
    watch = Watch()

    def batch() -> Any:
        return settle(getattr(watch, kind)(), watch.worker)

    assert await cancel_everywhere(batch, watch.check, again_after=again_after) >= 1
    assert watch.started > 10


@pytest.mark.asyncio
@each_form
async def test_cancelled_at_any_turn_of_the_loop(kind: str) -> None:
    """The same for a cancel from outside, at every turn of the loop the batch takes."""
    for turns in range(100):
        watch = Watch()
        task = asyncio.create_task(run(getattr(watch, kind)(), watch.worker))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await watch.check()
        if not task.cancelled():
            break
    else:
        raise AssertionError("the batch never ended by itself")
    assert turns > 5


@pytest.mark.asyncio
@pytest.mark.parametrize("settle", [run, stream])
async def test_cancelled_while_the_input_blocks(settle: Any) -> None:
    """An input that blocks for ever does not delay a cancel, and is closed."""
    watch = Watch()
    task = asyncio.create_task(settle(watch.blocked(), watch.worker))
    await watch.two_started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watch.check()


@pytest.mark.asyncio
async def test_a_failure_surfaces_while_the_input_blocks() -> None:
    """With fail_fast a worker's failure is raised although the input blocks for ever."""
    watch = Watch()

    async def worker(index: int, item: int) -> None:
        await asyncio.sleep(0)
        raise ItemError

    with pytest.raises(ItemError):
        await run_bounded(watch.blocked(), worker, width=3, fail_fast=True)
    await watch.check()


@pytest.mark.asyncio
async def test_outcomes_come_while_the_input_blocks() -> None:
    """Outcomes are there although the input blocks for ever, and leaving the block closes it."""
    watch = Watch()
    async with stream_bounded(watch.blocked(), watch.worker, width=3) as outcomes:
        seen = {(await anext(outcomes)).value, (await anext(outcomes)).value}
    assert seen == {0, 1}
    await watch.check()


@pytest.mark.asyncio
@each_form
async def test_leaving_by_a_failure(kind: str) -> None:
    """What the block raises comes through as it is, when all workers have ended."""
    watch = Watch()
    error = OtherError()
    with pytest.raises(OtherError) as caught:  # noqa: PT012  # the block is under test
        async with stream_bounded(getattr(watch, kind)(), watch.worker, width=3) as outcomes:
            await anext(outcomes)
            raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    await watch.check()


@pytest.mark.asyncio
async def test_an_input_that_fails_while_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """An input that raises while it is closed hides nothing, and is not lost: it is logged, or a note."""

    async def items() -> AsyncIterator[int]:
        try:
            while True:
                yield 0
        finally:
            raise OtherError("cannot close")

    async def worker(index: int, item: int) -> None:
        await asyncio.sleep(0)

    async def use(*, fail: bool) -> None:
        async with stream_bounded(items(), worker, width=2) as outcomes:
            await anext(outcomes)
            if fail:
                raise ItemError

    await use(fail=False)
    with pytest.raises(ItemError):
        await use(fail=True)
    assert caplog.text.count("storage.close_failed") == 2
    assert "cannot close" in caplog.text

    async def failing(index: int, item: int) -> None:
        raise ItemError

    with pytest.raises(ItemError) as caught:
        await run_bounded(items(), failing, width=1, fail_fast=True)
    assert caught.value.args == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("settle", [run, stream])
@each_form
async def test_a_cancel_nobody_asked_for(settle: Any, kind: str) -> None:
    """A worker that raises CancelledError by itself ends the batch with it; its item is not lost silently."""
    watch = Watch()

    async def worker(index: int, item: int) -> None:
        await watch.worker(index, item)
        if index == 5:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await settle(getattr(watch, kind)(), worker)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await watch.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("settle", [run, stream])
async def test_a_deadline_around_a_batch(settle: Any) -> None:
    """A batch cut short by `asyncio.timeout` raises TimeoutError, and the next await works."""
    watch = Watch()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await settle(watch.blocked(), watch.worker)
    await asyncio.sleep(0)
    await watch.check()


@pytest.mark.parametrize("settle", [run, stream])
@pytest.mark.parametrize("kind", ["items", "async_items"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_come_out_bare(settle: Any, kind: str, interrupt: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit in a worker end the program as themselves, with every worker ended."""
    watch = Watch()

    async def worker(index: int, item: int) -> None:
        await watch.worker(index, item)
        if index == 5:
            raise interrupt

    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await settle(getattr(watch, kind)(), worker)

    with pytest.raises(interrupt):
        asyncio.run(main())
    assert isinstance(tasks[0].exception(), interrupt)
    assert watch.open == 0
