from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import anyio
import pytest

from greenlang_async_storage._concurrency import CleanupTasks, SingleFlight, _cleanup
from tests.support.cancel import CancelAt, cancel_everywhere

pytestmark = pytest.mark.asyncio


class OwnError(Exception):
    """The failure that is being cleaned up after."""


class CleanupError(Exception):
    """What a clean-up raises."""


async def fail_with(
    cleanups: CleanupTasks, action: Callable[[], Awaitable[object]], timeout: float = 30
) -> None:
    """Fail, and clean up after it as the SDK does."""
    try:
        raise OwnError
    except BaseException:
        await cleanups.run("AbortMultipartUpload", action, timeout=timeout)
        raise


async def test_a_clean_up_that_works(caplog: pytest.LogCaptureFixture) -> None:
    """The failure comes through after its clean-up, without a note or a log line."""
    done: list[str] = []

    async def action() -> None:
        await asyncio.sleep(0)
        done.append("done")

    cleanups = CleanupTasks()
    with pytest.raises(OwnError) as caught:
        await fail_with(cleanups, action)
    assert done == ["done"]
    assert not hasattr(caught.value, "__notes__")
    assert caplog.text == ""
    assert await cleanups.run("x", action, timeout=30) is True
    assert cleanups.pending == 0


async def test_a_clean_up_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A failing clean-up is logged and noted on the failure, which it does not hide."""

    async def action() -> None:
        raise CleanupError("500")

    with pytest.raises(OwnError) as caught:
        await fail_with(CleanupTasks(), action)
    assert "AbortMultipartUpload failed as well: CleanupError('500')" in caught.value.__notes__[0]
    assert "storage.cleanup_failed" in caplog.text
    assert "AbortMultipartUpload" in caplog.text
    assert await CleanupTasks().run("x", action, timeout=30) is False


async def test_a_clean_up_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """A clean-up that hangs is ended at its deadline, which its note names."""
    ended: list[str] = []

    async def action() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    with pytest.raises(OwnError) as caught:
        await fail_with(CleanupTasks(), action, timeout=0.02)
    assert ended == ["ended"]
    assert "not done within 0.02 s" in caught.value.__notes__[0]
    assert "not done within" in caplog.text


async def test_a_time_out_of_its_own() -> None:
    """A clean-up that raises TimeoutError before its deadline is reported as that."""

    async def action() -> None:
        raise TimeoutError("of a request")

    with pytest.raises(OwnError) as caught:
        await fail_with(CleanupTasks(), action)
    assert "TimeoutError('of a request')" in caught.value.__notes__[0]


async def test_a_clean_up_that_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A clean-up that ignores its deadline is given up, still counted, and joined by nobody for longer than
    asked.
    """
    monkeypatch.setattr(_cleanup, "CANCEL_GRACE_SECONDS", 0.02)
    release = asyncio.Event()

    async def action() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    cleanups = CleanupTasks()
    assert await cleanups.run("x", action, timeout=0.01) is False
    assert cleanups.pending == 1
    assert await cleanups.join(0.01) == 1
    assert cleanups.pending == 1
    release.set()
    await cleanups.join(30)
    assert cleanups.pending == 0


@pytest.mark.parametrize("cancels", [1, 2, 5])
async def test_cancels_do_not_reach_a_clean_up(cancels: int) -> None:
    """However often the caller is cancelled, the clean-up ends first; then CancelledError is raised."""
    started, release = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def action() -> None:
        started.set()
        await release.wait()
        done.append("done")

    cleanups = CleanupTasks()
    task = asyncio.create_task(fail_with(cleanups, action))
    await started.wait()
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    assert cleanups.pending == 1
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]
    assert task.cancelling() == cancels


async def test_cancelled_at_every_await() -> None:
    """Work cancelled at any await, once or twice, has been cleaned up after when it returns."""
    cleanups = CleanupTasks()
    opened = 0

    async def close() -> None:
        nonlocal opened
        await asyncio.sleep(0)
        opened -= 1

    async def work() -> None:
        nonlocal opened
        opened += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except BaseException:
            await cleanups.run("close", close, timeout=30)
            raise
        opened -= 1

    async def check() -> None:
        assert opened == 0
        assert cleanups.pending == 0

    for again_after in (0, 1, 2):
        assert await cancel_everywhere(work, check, again_after=again_after) == 2


async def test_clean_ups_are_held() -> None:
    """A clean-up nobody waits for any more is not collected half-way."""
    release = asyncio.Event()
    done: list[str] = []

    async def action() -> None:
        await release.wait()
        done.append("done")

    cleanups = CleanupTasks()
    waiter = asyncio.create_task(cleanups.run("x", action, timeout=30))
    await asyncio.sleep(0)
    gc.collect()
    assert cleanups.pending == 1
    joined = asyncio.create_task(cleanups.join(30))
    await asyncio.sleep(0)
    release.set()
    assert await joined == 0
    assert done == ["done"]
    assert await waiter is True


async def test_joining_ends_what_is_late(caplog: pytest.LogCaptureFixture) -> None:
    """`join` cancels what is not done by its deadline, and says how many."""

    async def action() -> None:
        await asyncio.Event().wait()

    cleanups = CleanupTasks()
    waiter = asyncio.create_task(cleanups.run("x", action, timeout=30))
    await asyncio.sleep(0)
    assert await cleanups.join(0) == 1
    assert await waiter is False
    assert cleanups.pending == 0
    assert "it was cancelled" in caplog.text
    assert await cleanups.join(0) == 0


async def test_a_cancelled_anyio_scope_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled anyio scope, which repeats its cancel at every turn, wakes the wait a few times only."""
    waits = 0
    wait = asyncio.wait

    async def counted(tasks: list[asyncio.Future[object]], timeout: float | None = None) -> object:
        nonlocal waits
        waits += 1
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr(asyncio, "wait", counted)
    done: list[str] = []

    async def action() -> None:
        for _ in range(200):
            await asyncio.sleep(0)
        done.append("done")

    with anyio.CancelScope() as scope:
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await CleanupTasks().run("x", action, timeout=30)
    assert done == ["done"]
    assert waits <= 3


class Loader:
    """Counts the loads, and ends them when told."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.loads = self.ended = 0
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.loads += 1
        number = self.loads
        try:
            await self.release.wait()
            if self.error:
                raise self.error
            return number
        finally:
            self.ended += 1


async def waiting(
    flight: SingleFlight[str, int], loader: Loader, count: int, key: str = "k"
) -> list[asyncio.Task[int]]:
    """Tasks that all wait for the same load."""
    tasks = [asyncio.create_task(flight.load(key, loader)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_one_load_for_all() -> None:
    """All who ask while a load runs get its result; whoever asks later loads anew."""
    flight, loader = SingleFlight[str, int](), Loader()
    tasks = await waiting(flight, loader, 500)
    loader.release.set()
    assert await asyncio.gather(*tasks) == [1] * 500
    assert await flight.load("k", loader) == 2
    assert loader.loads == 2


async def test_each_key_has_its_load() -> None:
    """Other keys do not wait for each other."""
    flight, slow, fast = SingleFlight[str, int](), Loader(), Loader()
    [waits] = await waiting(flight, slow, 1, "slow")
    fast.release.set()
    assert await flight.load("fast", fast) == 1
    slow.release.set()
    assert await waits == 1


async def test_a_failing_load() -> None:
    """A failure goes to all who waited, and is not kept."""
    flight, loader = SingleFlight[str, int](), Loader()
    loader.error = OwnError()
    tasks = await waiting(flight, loader, 3)
    loader.release.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [loader.error] * 3
    loader.error = None
    assert await flight.load("k", loader) == 2


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_caller_that_is_cancelled(leaving: int) -> None:
    """A cancelled caller, the first one included, leaves the load to the others."""
    flight, loader = SingleFlight[str, int](), Loader()
    tasks = await waiting(flight, loader, 3)
    tasks[leaving].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[leaving]
    assert loader.ended == 0
    loader.release.set()
    rest = [task for task in tasks if task is not tasks[leaving]]
    assert await asyncio.gather(*rest) == [1, 1]


async def test_the_last_caller_that_is_cancelled() -> None:
    """When nobody waits any more the load is cancelled and has ended; the next caller loads anew."""
    flight, loader = SingleFlight[str, int](), Loader()
    tasks = await waiting(flight, loader, 3)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError)
        for end in await asyncio.gather(*tasks, return_exceptions=True)
    )
    assert loader.ended == 1
    loader.release.set()
    assert await flight.load("k", loader) == 2


async def test_a_caller_between_cancel_and_end() -> None:
    """Whoever asks while a cancelled load is still ending gets a load of its own."""
    flight = SingleFlight[str, int]()
    ending, release = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await release.wait()
        return 1

    async def second() -> int:
        return 2

    first = asyncio.create_task(flight.load("k", slow_to_end))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await ending.wait()
    assert await flight.load("k", second) == 2
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_load_cancelled_as_it_fails() -> None:
    """A load that fails while it is being cancelled leaves no unread exception."""

    async def bad() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            raise CleanupError

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(_awaited(CancelAt(SingleFlight[str, int]().load("k", bad), 1)))


async def _awaited(work: Awaitable[int]) -> int:
    return await work
