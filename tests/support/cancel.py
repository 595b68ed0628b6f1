"""Cancelling a coroutine at each of its awaits, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MOST_AWAITS = 2_000


class CancelAt(Generic[T]):
    """
    `await CancelAt(work, n)` does *work*, and cancels the current task when *work* suspends for the n-th
    time.

    Suspensions are counted in the awaiting task only, those inside `finally` blocks and clean-up included;
    `seen` tells how many there were. Several numbers cancel several times.
    """

    def __init__(self, work: Awaitable[T], *points: int) -> None:
        self._work = work
        self._points = frozenset(points)
        self.seen = 0

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
            self.seen += 1
            if self.seen in self._points:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waits_for
            except BaseException as exc:  # noqa: BLE001  # it belongs to the work
                failure = exc


async def cancel_everywhere(
    work: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[None]] | None = None,
    *,
    again_after: int = 0,
) -> int:
    """
    Do *work* again and again, cancelled at its 1st, 2nd, … await, until it ends before its cancel.

    Every run but the last has to end in CancelledError; after each, *check* looks at what is left. With
    *again_after* a second cancel follows so many awaits later.
    Gives the number of awaits tried.
    """
    for point in range(1, MOST_AWAITS):
        points = {point, point + again_after}
        attempt = CancelAt(work(), *points)
        task = asyncio.create_task(_finish(attempt))
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        if check is not None:
            await check()
        if attempt.seen < point:
            return point - 1
        assert task.cancelled(), f"a cancel at await {point} was swallowed"
    raise AssertionError(f"still not done after {MOST_AWAITS} awaits")


async def _finish(attempt: CancelAt[object]) -> None:
    await attempt
