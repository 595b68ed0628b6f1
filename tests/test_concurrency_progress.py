from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage._concurrency import ProgressReporter, _progress
from greenlang_async_storage._types import Progress


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class HookError(Exception):
    """What a hook raises."""


class TransferError(Exception):
    """What a transfer raises."""


@pytest.mark.asyncio
async def test_every_event_reaches_a_plain_hook() -> None:
    """A plain hook is told every step, with total and rate since the start; the last is done == total."""
    events: list[Progress] = []
    clock = Clock()
    async with ProgressReporter(events.append, total=100, key="k", clock=clock) as progress:
        clock.now += 2
        progress.add(40)
        clock.now += 2
        progress.add(60)
        assert progress.done == 100
    assert events == [
        Progress(40, 100, 20.0, 0, None, "k"),
        Progress(100, 100, 25.0, 0, None, "k"),
    ]


@pytest.mark.asyncio
async def test_items_of_a_batch() -> None:
    """A batch counts its items beside the bytes."""
    events: list[Progress] = []
    async with ProgressReporter(events.append, items_total=2) as progress:
        progress.add(5, items=1)
        progress.add(0, items=1)
    assert [(event.done, event.items_done, event.items_total) for event in events] == [
        (5, 1, 2),
        (5, 2, 2),
        (5, 2, 2),
    ]
    assert [event.total for event in events] == [None, None, 5]


@pytest.mark.asyncio
@pytest.mark.parametrize(("total", "sent"), [(None, 0), (0, 0), (None, 7), (10, 7), (5, 7)])
async def test_the_last_event(total: int | None, sent: int) -> None:
    """The last event of a success has done == total, also when the total was unknown or wrong."""
    events: list[Progress] = []
    async with ProgressReporter(events.append, total=total) as progress:
        if sent:
            progress.add(sent)
    assert (events[-1].done, events[-1].total) == (sent, sent)
    assert len(events) == len(set(events))


@pytest.mark.asyncio
async def test_a_failed_transfer_has_no_last_event() -> None:
    """A transfer that fails is not told as complete."""
    events: list[Progress] = []
    with pytest.raises(TransferError):  # noqa: PT012  # the block is under test
        async with ProgressReporter(events.append, total=10) as progress:
            progress.add(4)
            raise TransferError
    assert [event.done for event in events] == [4]


@given(steps=st.lists(st.integers(-20, 50)), asynchronous=st.booleans())
def test_progress_never_goes_back(steps: list[int], asynchronous: bool) -> None:
    """Whatever is taken back and sent again, `done` never goes down, and the sum is right in the end."""
    events: list[Progress] = []

    async def hook(event: Progress) -> None:
        await asyncio.sleep(0)
        events.append(event)

    async def transfer() -> int:
        async with ProgressReporter(hook if asynchronous else events.append) as progress:
            for step in steps:
                progress.add(max(step, -progress.done))
                if step % 3 == 0:
                    await asyncio.sleep(0)
            progress.add(1000)
            return progress.done

    done = asyncio.run(transfer())
    counts = [event.done for event in events]
    assert counts == sorted(counts)
    assert (events[-1].done, events[-1].total) == (done, done)


@pytest.mark.asyncio
async def test_no_hook_no_work() -> None:
    """Without a hook bytes are still counted."""
    async with ProgressReporter(None) as progress:
        progress.add(3)
    assert progress.done == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_hook_that_raises(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises is logged once, called again, and harms nothing."""
    calls = 0

    def hook(event: Progress) -> None:
        nonlocal calls
        calls += 1
        raise HookError("broken bar")

    async def async_hook(event: Progress) -> None:
        hook(event)

    async with ProgressReporter(async_hook if asynchronous else hook, total=30) as progress:
        for _ in range(3):
            progress.add(10)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert calls == 3
    assert caplog.text.count("storage.progress_hook_failed") == 1
    assert "broken bar" in caplog.text


@pytest.mark.asyncio
async def test_an_async_hook_is_called_in_order_and_alone() -> None:
    """Calls of an async hook never overlap; what happened during one is told together in the next."""
    seen: list[int] = []
    running = 0
    go_on = asyncio.Semaphore(0)

    async def hook(event: Progress) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await go_on.acquire()
        seen.append(event.done)
        running -= 1

    async with ProgressReporter(hook) as progress:
        for _ in range(10):
            progress.add(1)
            await asyncio.sleep(0)
        assert seen == []
        go_on.release()
        for _ in range(5):
            await asyncio.sleep(0)
        assert seen == [1]
        go_on.release()
        go_on.release()
    assert seen == [1, 10, 10]


@pytest.mark.asyncio
async def test_an_async_hook_that_never_returns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that hangs holds up neither the transfer nor, for more than a bounded time, its end."""
    monkeypatch.setattr(_progress, "LAST_EVENT_SECONDS", 0.02)
    ended: list[str] = []

    async def hook(event: Progress) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async with ProgressReporter(hook) as progress:
        for _ in range(5):
            progress.add(1)
            await asyncio.sleep(0)
    assert ended == ["ended"]
    assert "longer than 0.02 s" in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", [0, 1])
async def test_a_failure_does_not_wait_for_the_hook(turns: int) -> None:
    """A transfer that fails ends the call of the hook under way, and raises at once."""
    ended: list[str] = []

    async def hook(event: Progress) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    with pytest.raises(TransferError):  # noqa: PT012  # the block is under test
        async with ProgressReporter(hook) as progress:
            progress.add(1)
            for _ in range(turns):
                await asyncio.sleep(0)
            raise TransferError
    assert ended == ["ended"]


@pytest.mark.asyncio
async def test_a_cancel_while_the_hook_ends() -> None:
    """A cancel during the wait for the last event is raised, and the hook's call has ended."""
    last = asyncio.Event()
    ended: list[str] = []

    async def hook(event: Progress) -> None:
        try:
            last.set()
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def transfer() -> None:
        async with ProgressReporter(hook) as progress:
            progress.add(1)

    task = asyncio.create_task(transfer())
    await last.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended"]


@pytest.mark.asyncio
async def test_a_slow_plain_hook_is_called_less_often() -> None:
    """A plain hook that takes long gets a tenth of the time at most, and still the last event."""
    clock = Clock()
    events: list[tuple[float, int]] = []

    def hook(event: Progress) -> None:
        events.append((clock.now, event.done))
        clock.now += 0.1

    async with ProgressReporter(hook, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.05
            progress.add(1)
    times = [time for time, _ in events]
    # The last event waits for nothing.
    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(times[:-1]))
    assert len(events) < 10
    assert events[-1][1] == 100


@pytest.mark.asyncio
async def test_any_awaitable() -> None:
    """A hook may return a future instead of being a coroutine function."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = []

    def hook(event: Progress) -> Awaitable[None]:
        futures.append(loop.create_future())
        loop.call_soon(futures[-1].set_result, None)
        return futures[-1]

    async with ProgressReporter(hook) as progress:
        progress.add(1)
    assert all(future.done() for future in futures)
    assert len(futures) == 2


@pytest.mark.asyncio
async def test_a_restart_with_another_total_begins_at_nothing() -> None:
    """What is transferred became something else: no event mixes the old bytes with the new total."""
    events: list[Progress] = []
    async with ProgressReporter(events.append, total=100) as progress:
        progress.add(60)
        progress.restart(20)
        progress.add(20)
    assert [(event.done, event.total) for event in events] == [(60, 100), (0, 20), (20, 20)]


@pytest.mark.asyncio
async def test_a_restart_of_the_same_does_not_go_back() -> None:
    """With the same total the events go on from where they were once the bytes are there again."""
    events: list[Progress] = []
    async with ProgressReporter(events.append, total=100) as progress:
        progress.add(60)
        progress.restart(100)
        assert progress.done == 0
        progress.add(50)
        progress.add(50)
    assert [(event.done, event.total) for event in events] == [(60, 100), (100, 100)]
