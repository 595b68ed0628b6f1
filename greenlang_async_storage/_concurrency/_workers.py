"""A fixed number of workers over items of any number: what runs, and what waits, is bounded."""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar, cast

from greenlang_async_storage._closing import closing_generator, closing_with

from ._groups import task_group, wait_through_cancels

T = TypeVar("T")
R = TypeVar("R")

Items: TypeAlias = Iterable[T] | AsyncIterable[T]
"""
A plain iterable is advanced on the loop and must not block; what does I/O belongs into an async iterable.
"""
Worker: TypeAlias = Callable[[int, T], Awaitable[R]]
"""Called with the position of the item, from 0, and the item."""
_Handle: TypeAlias = Callable[[int, T], Awaitable[None]]

ITEMS_PER_TURN: Final = 64
"""After so many items a worker lets others run, also when none of its items ever waits."""


@dataclass(frozen=True, slots=True)
class Settled(Generic[R]):
    """What became of one item: its value, or the error its worker raised."""

    index: int
    """Position in the input, from 0."""
    value: R | None
    error: Exception | None


class _StrayCancelError(Exception):
    """A worker raised CancelledError although nobody had cancelled it."""


async def run_bounded(
    items: Items[T], worker: Worker[T, R], *, width: int, fail_fast: bool = False
) -> list[Settled[R]]:
    """
    One `Settled` per item, in input order; at most *width* workers at a time.

    Of the input, the items being worked on and one read ahead are held. A worker's Exception is that item's
    error; with *fail_fast* it is raised at once, after the other workers were cancelled and had ended. What
    *items* raises is raised in either case. Generators are closed on every exit.
    """
    settled: list[Settled[R] | None] = []

    async def handle(index: int, item: T) -> None:
        if index >= len(settled):
            settled.extend([None] * (index + 1 - len(settled)))
        try:
            settled[index] = Settled(index, await worker(index, item), None)
        except Exception as exc:
            if fail_fast:
                raise
            settled[index] = Settled(index, None, exc)

    await _drive(items, handle, width)
    return cast("list[Settled[R]]", settled)


@asynccontextmanager
async def stream_bounded(
    items: Items[T], worker: Worker[T, R], *, width: int
) -> AsyncIterator[AsyncIterator[Settled[R]]]:
    """
    An async iterator of one `Settled` per item, as they complete, to be read inside the block by one task.

    A worker takes its next item only after its last outcome was read, so a slow reader holds everything back:
    at most *width* items are worked on or waiting to be read, and one is read ahead. What *items* raises is
    raised to the reader after the outcomes that were ready. Leaving the block, in whatever way, cancels what
    still runs, waits for its end and closes generators.
    """
    results: _Results[R] = _Results()

    async def handle(index: int, item: T) -> None:
        try:
            settled: Settled[R] = Settled(index, await worker(index, item), None)
        except Exception as exc:  # noqa: BLE001  # it is this item's outcome
            settled = Settled(index, None, exc)
        await results.offer(settled)

    _require_width(width)
    results.start(_drive(items, handle, width))
    async with closing_with(results.aclose):
        yield results


class _Results(Generic[R]):
    """Outcomes on their way from the workers to one reader; a worker waits until its outcome was read."""

    def __init__(self) -> None:
        self._ready: deque[tuple[Settled[R], asyncio.Future[None]]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._driver: asyncio.Task[BaseException | None] | None = None
        self._loop = asyncio.get_running_loop()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run *work*, which offers the outcomes; the reader ends when it does, with its failure if any."""
        self._driver = self._loop.create_task(_failure_of(work), name="storage-batch")
        self._driver.add_done_callback(self._wake)

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end; raise its failure if the reader has not seen it."""
        if self._driver is None:
            return
        self._driver.cancel()
        if await wait_through_cancels(self._driver):
            raise asyncio.CancelledError
        if not self._driver.cancelled():
            self._end(self._driver)

    async def offer(self, settled: Settled[R]) -> None:
        """Return once the reader has taken *settled*."""
        taken: asyncio.Future[None] = self._loop.create_future()
        self._ready.append((settled, taken))
        self._wake()
        await taken

    def __aiter__(self) -> AsyncIterator[Settled[R]]:
        return self

    async def __anext__(self) -> Settled[R]:
        while not self._ready:
            if self._driver is None:
                raise StopAsyncIteration
            if self._driver.done():
                self._end(self._driver)
                continue
            if self._reader is not None:
                raise RuntimeError("two tasks read the same outcomes; read them in one and hand them on")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        settled, taken = self._ready.popleft()
        if not taken.done():
            taken.set_result(None)
        return settled

    def _end(self, driver: asyncio.Task[BaseException | None]) -> None:
        """Raise what ended *driver*, once."""
        self._driver = None
        failure = driver.result()
        try:
            if failure is not None:
                raise failure
        finally:
            del driver, failure  # held here, a failure would hold itself, and all its frames hold, alive

    def _wake(self, _driver: object = None) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


async def _failure_of(work: Coroutine[None, None, None]) -> BaseException | None:
    """What *work* raised; a KeyboardInterrupt raised here would stop the loop before the reader gets it."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # noqa: BLE001  # it is raised to the reader
        return exc
    return None


async def _drive(items: Items[T], handle: _Handle[T], width: int) -> None:
    """Run *handle* for every item in *width* workers; the first failure ends them all and is raised."""
    _require_width(width)
    try:
        if isinstance(items, AsyncIterable):
            await _drive_async(items, handle, width)
        else:
            await _drive_sync(items, handle, width)
    except _StrayCancelError as exc:
        raise asyncio.CancelledError from exc.__cause__


async def _drive_sync(items: Iterable[T], handle: _Handle[T], width: int) -> None:
    """The workers share the iterator itself: nothing suspends between taking an item and working on it."""
    iterator = iter(items)
    numbered = enumerate(iterator)

    async def work() -> None:
        for turn, (index, item) in enumerate(numbered, 1):
            await _guarded(handle, index, item)
            if not turn % ITEMS_PER_TURN:
                await asyncio.sleep(0)

    try:
        async with task_group() as group:
            for _ in range(min(width, operator.length_hint(items, width))):
                group.create_task(work())
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


async def _drive_async(items: AsyncIterable[T], handle: _Handle[T], width: int) -> None:
    """One task, the caller's, reads the items; workers are started as they are needed."""
    iterator = aiter(items)
    handoff: _Handoff[T] = _Handoff()
    workers = index = 0

    async def work(numbered: tuple[int, T] | None) -> None:
        while numbered is not None:
            await _guarded(handle, *numbered)
            numbered = None  # while this worker waits, nobody needs the item
            numbered = handoff.take_held() or await handoff.take()

    async with task_group() as group, closing_generator(iterator):
        async for item in iterator:
            numbered = (index, item)
            index += 1
            if handoff.give(numbered):
                continue
            if workers < width:
                workers += 1
                group.create_task(work(numbered))
            else:
                await handoff.hold(numbered)
        handoff.close()


async def _guarded(handle: _Handle[T], index: int, item: T) -> None:
    try:
        await handle(index, item)
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # A TaskGroup takes it for an ordinary end, and the item would be lost without a word.
        raise _StrayCancelError from exc


class _Handoff(Generic[T]):
    """From one reader to many workers without a buffer: the reader goes on when its item was taken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: deque[asyncio.Future[tuple[int, T] | None]] = deque()
        self._held: tuple[int, T] | None = None
        self._reader: asyncio.Future[None] | None = None
        self._closed = False

    def give(self, numbered: tuple[int, T]) -> bool:
        """Whether an idle worker was there to take the item."""
        while self._idle:
            worker = self._idle.popleft()
            if not worker.done():
                worker.set_result(numbered)
                return True
        return False

    async def hold(self, numbered: tuple[int, T]) -> None:
        """Return once a worker has taken the item."""
        self._held = numbered
        self._reader = self._loop.create_future()
        await self._reader

    def take_held(self) -> tuple[int, T] | None:
        """The item the reader waits with, if there is one."""
        numbered, self._held = self._held, None
        if numbered is not None and self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        return numbered

    async def take(self) -> tuple[int, T] | None:
        """The next item; `None` after the last."""
        if self._closed:
            return None
        idle: asyncio.Future[tuple[int, T] | None] = self._loop.create_future()
        self._idle.append(idle)
        return await idle

    def close(self) -> None:
        """There are no more items."""
        self._closed = True
        for worker in self._idle:
            if not worker.done():
                worker.set_result(None)


def _require_width(width: int) -> None:
    if width < 1:
        raise ValueError(f"width is {width}; at least one worker is needed")
