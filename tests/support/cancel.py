"""Cancelling a coroutine at each of its awaits: once, twice, by a deadline, by a sibling, in its children."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from greenlang_async_storage import S3Error

T = TypeVar("T")
Work = Callable[[], Awaitable[object]]
Check = Callable[[], Awaitable[None]]
Way = Literal["cancel", "timeout", "sibling"]

MOST_AWAITS = 2_000
PATIENCE = 60.0
"""Seconds after which a call that was struck is taken to hang."""


@dataclass
class Tally:
    """Cancels that arrived, by kind, and the seconds the slowest call took to end after one."""

    points: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, kind: str, seconds: float) -> None:
        """One more, and how long the call took from then on."""
        self.points[kind] += 1
        self.slowest = max(self.slowest, seconds)


class CancelAt(Generic[T]):
    """
    `await CancelAt(work, n)` does *work*, and cancels the current task when *work* suspends for the n-th
    time.

    Suspensions are counted in the awaiting task only, those inside `finally` blocks and clean-up included;
    `seen` tells how many there were, `struck_at` when the last strike was. Several numbers cancel several
    times; *strike* is called in place of the cancel.
    """

    def __init__(self, work: Awaitable[T], *points: int, strike: Callable[[], object] | None = None) -> None:
        self._work = work
        self._points = frozenset(points)
        self._strike = strike or _cancel_current
        self.seen = 0
        self.struck_at: float | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        value: Any = None
        failure: BaseException | None = None
        while True:
            try:
                waits_for = steps.throw(failure) if failure else steps.send(value)
            except StopIteration as end:
                result: T = end.value
                return result
            value = failure = None
            self._suspended()
            try:
                value = yield waits_for
            except BaseException as exc:  # noqa: BLE001  # it belongs to the work
                failure = exc

    def _suspended(self) -> None:
        self.seen += 1
        if self.seen in self._points:
            self.struck_at = time.monotonic()
            self._strike()

    def seconds(self) -> float:
        """How long ago the last strike was."""
        return 0.0 if self.struck_at is None else time.monotonic() - self.struck_at


def _cancel_current() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def cancel_everywhere(
    work: Work,
    check: Check | None = None,
    *,
    again_after: int = 0,
    tally: Tally | None = None,
) -> int:
    """
    Do *work* again and again, cancelled at its 1st, 2nd, … await, until it ends before its cancel.

    Every run but the last has to end in CancelledError; after each, *check* looks at what is left. With
    *again_after* a second cancel follows so many awaits later.
    Gives the number of awaits tried.
    """
    for point in range(1, MOST_AWAITS):
        attempt = await _cancelled(work, check, tally, point, point + again_after)
        if attempt.seen < point:
            return point - 1
    raise AssertionError(f"still not done after {MOST_AWAITS} awaits")


async def cancel_twice_everywhere(work: Work, check: Check | None = None, *, tally: Tally) -> int:
    """The same with a second cancel 1, 2, … awaits after the first, until the work has ended before it."""
    for point in range(1, MOST_AWAITS):
        seen = again = point
        while seen >= again:
            again += 1
            seen = (await _cancelled(work, check, tally, point, again)).seen
        if seen < point:
            return point - 1
    raise AssertionError(f"still not done after {MOST_AWAITS} awaits")


async def _cancelled(
    work: Work, check: Check | None, tally: Tally | None, point: int, again: int
) -> CancelAt[object]:
    attempt = CancelAt(work(), point, again)
    task = asyncio.create_task(_finish(attempt))
    await _ended(task)
    seconds = attempt.seconds()
    if not task.cancelled():
        task.result()
    if check is not None:
        await check()
    if attempt.seen >= point:
        assert task.cancelled(), f"a cancel at await {point} was swallowed"
        if tally is not None and (again == point or attempt.seen >= again):
            tally.add("cancel" if again == point else "second cancel", seconds)
    return attempt


async def strike_everywhere(way: Way, work: Work, check: Check | None = None, *, tally: Tally) -> int:
    """
    As `cancel_everywhere`, with `asyncio.timeout` running out at each await, or a sibling in a task group
    failing there; the caller has to see TimeoutError, or the sibling's failure alone.
    """
    if way == "cancel":
        return await cancel_everywhere(work, check, tally=tally)
    struck = _timed_out if way == "timeout" else _beside_a_failure
    for point in range(1, MOST_AWAITS):
        attempt = await struck(work, point)
        if attempt.struck_at is not None:
            tally.add(way, attempt.seconds())
        if check is not None:
            await check()
        if attempt.seen < point:
            return point - 1
    raise AssertionError(f"still not done after {MOST_AWAITS} awaits")


async def _timed_out(work: Work, point: int) -> CancelAt[object]:
    loop = asyncio.get_running_loop()
    deadline = asyncio.timeout(None)
    attempt = CancelAt(work(), point, strike=lambda: deadline.reschedule(loop.time()))

    async def run() -> None:
        async with deadline:
            await attempt

    task = asyncio.create_task(run())
    await _ended(task)
    error = task.exception()
    assert (attempt.struck_at is not None) is isinstance(error, TimeoutError), repr(error)
    if not isinstance(error, TimeoutError):
        task.result()
    return attempt


class SiblingError(Exception):
    """What the task beside the work fails with."""


async def _beside_a_failure(work: Work, point: int) -> CancelAt[object]:
    over = asyncio.Event()
    attempt = CancelAt(work(), point, strike=over.set)

    async def sibling() -> None:
        await over.wait()
        if attempt.struck_at is not None:
            raise SiblingError

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sibling())
            await attempt
            over.set()

    task = asyncio.create_task(run())
    await _ended(task)
    error = task.exception()
    if attempt.struck_at is None:
        task.result()
    else:
        assert isinstance(error, ExceptionGroup), repr(error)
        assert [type(one) for one in error.exceptions] == [SiblingError], repr(error)
    return attempt


class ChildCancels:
    """A task factory that cancels the n-th await among all tasks a call starts, not those of the caller."""

    def __init__(self) -> None:
        self.point = 0
        self.seen = 0
        self._inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)

    def inside(self, point: int) -> None:
        """From here on tasks belong to the call, and the *point*-th of their awaits is cancelled."""
        self.point, self.seen = point, 0
        self._inside.set(True)

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # A clean-up has a task of its own so that no cancel reaches it.
        if not self._inside.get() or coro.__qualname__ == "_perform":
            return asyncio.Task(coro, loop=loop, **options)
        task = asyncio.Task(self._counted(coro), loop=loop, **options)
        # Cancelled before its first step, the task never gets to what it was made for.
        task.add_done_callback(lambda _: coro.close())
        return task

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await _Shared(work, self)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The loop's task factory for a while."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(cast("Any", self))
        try:
            yield
        finally:
            loop.set_task_factory(before)


class _Shared(CancelAt[Any]):
    """Counts together with its siblings."""

    def __init__(self, work: Awaitable[Any], counter: ChildCancels) -> None:
        super().__init__(work)
        self._counter = counter

    def _suspended(self) -> None:
        self._counter.seen += 1
        if self._counter.seen == self._counter.point:
            _cancel_current()


async def cancel_children_everywhere(work: Work, check: Check, *, tally: Tally) -> int:
    """
    Cancel each await of each task that *work* starts, one at a time: it survives that, or fails typed.

    Gives the number of awaits tried. A call that hangs is an error here too.
    """
    loop = asyncio.get_running_loop()
    cancels = ChildCancels()

    async def attempt(point: int) -> None:
        cancels.inside(point)
        async with asyncio.timeout(PATIENCE):
            await work()

    with cancels.installed():
        for point in range(1, MOST_AWAITS):
            begun = time.monotonic()
            # The attempt's own task is the caller's; what it starts are the children.
            ended = asyncio.Task(attempt(point), loop=loop)
            await asyncio.wait([ended])
            seconds = time.monotonic() - begun
            await check()
            if not ended.cancelled() and (error := ended.exception()) is not None:
                assert isinstance(error, S3Error), repr(error)
            if cancels.seen < point:
                return point - 1
            tally.add("cancelled child", seconds)
    raise AssertionError(f"still not done after {MOST_AWAITS} awaits")


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for the end of *task*; what does not end is a failure, not a hang."""
    done, _ = await asyncio.wait([task], timeout=PATIENCE)
    if not done:
        stack = task.get_stack()
        task.cancel()
        raise AssertionError(f"hangs after a cancel: {stack}")


async def _finish(attempt: CancelAt[object]) -> None:
    await attempt
