"""Advancing a blocking iterator in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from queue import SimpleQueue
from typing import Final, NamedTuple

from greenlang_async_storage._closing import closing_with

BATCH_BYTES: Final = 256 * 1024
BATCH_PIECES: Final = 256
BATCH_SECONDS: Final = 0.001
"""One trip to the thread (some 60 µs) fetches pieces until one of these limits is reached."""
COPY_MAX_BYTES: Final = 64 * 1024
"""Smaller pieces that may change are copied so that the batch can go on; a larger one ends it."""
CLOSE_GRACE_SECONDS: Final = 0.1
"""How long a closing source waits for a read that is under way; the thread ends by itself after it."""


class _Batch(NamedTuple):
    pieces: list[object]
    error: BaseException | None = None
    last: bool = False


_Request = asyncio.Future[_Batch]


@asynccontextmanager
async def in_thread(pieces: Iterable[object]) -> AsyncIterator[AsyncIterator[object]]:
    """
    *pieces* as an async iterator; `iter`, every `next` and the closing of a generator run in one and the
    same thread.

    The thread is a daemon that lives as long as the block: an iterator that blocks for ever delays neither
    a cancel (by more than `CLOSE_GRACE_SECONDS`) nor the end of the program. Holds at most `BATCH_BYTES`
    and one piece beyond what was asked for.
    """
    pump = _Pump(pieces)
    async with closing_with(pump.aclose):
        yield pump.pieces()


class _Pump:
    """A thread that makes one batch per request, and closes its iterator when it is told to stop."""

    def __init__(self, pieces: Iterable[object]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._busy = False
        self._ended: asyncio.Future[BaseException | None] = self._loop.create_future()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="greenlang-storage-source", daemon=True
        )
        self._thread.start()

    async def pieces(self) -> AsyncIterator[object]:
        """Every piece in order; then the error the iterator raised, if it did."""
        last = False
        while not last:
            request: _Request = self._loop.create_future()
            self._busy = True
            self._requests.put(request)
            batch = await request
            self._busy = False
            for piece in batch.pieces:
                yield piece
            last = batch.last
            if batch.error is not None:
                try:
                    raise batch.error
                finally:
                    del batch  # with it the error would hold itself, and all its frames hold, alive

    async def aclose(self) -> None:
        """Let the thread close the iterator and end; a read under way is waited for a moment only."""
        self._requests.put(None)
        grace = CLOSE_GRACE_SECONDS if self._busy else None
        await asyncio.wait([self._ended], timeout=grace)
        if self._ended.done() and (error := self._ended.result()) is not None:
            raise error

    def _run(self) -> None:
        iterator: Iterator[object] | None = None
        error: BaseException | None = None
        try:
            last = False
            while not last and (request := self._requests.get()) is not None:
                try:
                    iterator = iterator or iter(self._pieces)
                    batch = _advance(iterator)
                except BaseException as exc:  # noqa: BLE001  # it is raised where the pieces are read
                    batch = _Batch([], exc, last=True)
                last = batch.last
                self._post(_deliver, request, batch)
            if isinstance(iterator, Generator):
                iterator.close()
        except BaseException as exc:  # noqa: BLE001  # it is raised where the source is closed
            error = exc
        finally:
            self._post(_deliver, self._ended, error)

    def _post(self, deliver: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(deliver, *args)


def _deliver(future: asyncio.Future[object], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _advance(iterator: Iterator[object]) -> _Batch:
    """As many pieces as fit in one batch, and how the iterator ended if it did."""
    pieces: list[object] = []
    size = 0
    deadline = time.monotonic() + BATCH_SECONDS
    while size < BATCH_BYTES and len(pieces) < BATCH_PIECES:
        try:
            piece = next(iterator)
        except StopIteration:
            return _Batch(pieces, last=True)
        except BaseException as exc:  # noqa: BLE001  # it is raised where the pieces are read
            return _Batch(pieces, exc, last=True)
        kept = _keep(piece)
        pieces.append(kept)
        if type(kept) is not bytes:
            break
        size += len(kept)
        if time.monotonic() >= deadline:
            break
    return _Batch(pieces)


def _keep(piece: object) -> object:
    """*piece* such that the producer may go on: a small mutable one is copied."""
    if isinstance(piece, bytearray | memoryview):
        size = piece.nbytes if isinstance(piece, memoryview) else len(piece)
        return bytes(piece) if size <= COPY_MAX_BYTES else piece
    return piece
