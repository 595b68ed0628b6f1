"""Standard input and output beside the event loop: threads that may block for ever, and nobody waits for."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import queue
import select
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final, TypeVar, cast

T = TypeVar("T")

READ_BYTES: Final = 1024 * 1024
READ_AHEAD: Final = 4
"""Pieces held; a slow upload stops the reading, and so the producer."""


def closing(items: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """A listing, ended when the block is left, however it is left."""
    return aclosing(cast("AsyncGenerator[T, None]", items))


async def read_pieces(open_source: Callable[[], Callable[[int], bytes]]) -> AsyncGenerator[bytes, None]:
    """
    What a blocking source gives, piece by piece, read by a thread of its own.

    *open_source* is called in that thread (opening a named pipe blocks) and gives `read(n)`. Leaving the
    iterator leaves the thread where it blocks, as nothing can wake it; it does not outlive the process.
    """
    pieces: deque[bytes | OSError] = deque()
    arrived = asyncio.Event()
    wanted = threading.Semaphore(READ_AHEAD)
    loop = asyncio.get_running_loop()
    left = threading.Event()

    def give(piece: bytes | OSError) -> None:
        pieces.append(piece)
        arrived.set()

    def pump() -> None:
        piece: bytes | OSError = b""
        try:
            read = open_source()
            while wanted.acquire() and not left.is_set() and (piece := read(READ_BYTES)):
                loop.call_soon_threadsafe(give, piece)
            piece = b""
        except OSError as error:
            piece = error
        except RuntimeError:  # the loop is closed: nobody listens any more
            return
        if not loop.is_closed():
            loop.call_soon_threadsafe(give, piece)

    threading.Thread(target=pump, name="storage-stdin", daemon=True).start()
    try:
        while True:
            await arrived.wait()
            piece = pieces.popleft()
            if not pieces:
                arrived.clear()
            if isinstance(piece, OSError):
                raise piece
            if not piece:
                return
            wanted.release()
            yield piece
    finally:
        left.set()
        wanted.release()


def stdin_pieces() -> AsyncGenerator[bytes, None]:
    """Standard input to its end."""

    def open_stdin() -> Callable[[int], bytes]:
        # None where the process was started without one.
        if sys.stdin is None:
            raise OSError(errno.EBADF, "standard input is closed", "-")
        try:
            number = sys.stdin.fileno()
        except (io.UnsupportedOperation, ValueError):
            return sys.stdin.buffer.read
        return lambda size: os.read(number, size)

    return read_pieces(open_stdin)


def file_pieces(path: str) -> AsyncGenerator[bytes, None]:
    """A named pipe or device to its end."""

    def open_file() -> Callable[[int], bytes]:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return lambda size: os.read(number, size)

    return read_pieces(open_file)


class Output:
    """
    Standard output, written by a thread, so that a reader who does not read never blocks the event loop.

    Raises BrokenPipeError once the reader is gone.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._text: list[str] = []
        self._held = 0

    async def line(self, text: str) -> None:
        """One line; written when 8 KiB are together, or by `flush`."""
        self._text.append(text + "\n")
        self._held += len(text)
        if self._held >= 8192:
            await self.flush()

    async def flush(self) -> None:
        """Write what `line` has kept."""
        if self._text:
            text, self._text, self._held = "".join(self._text), [], 0
            await self.write(text.encode("utf-8", "surrogateescape"))

    async def write(self, data: bytes) -> None:
        """All of *data*; returns when the system has taken it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="storage-stdout", daemon=True)
            self._thread.start()
        done = asyncio.get_running_loop().create_future()
        self._jobs.put((data, done))
        await done

    def close(self) -> None:
        """Let the thread end, if it does not block."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, done = job
            failure: OSError | None = None
            try:
                _write_all(data)
            except OSError as error:
                failure = error
            loop = done.get_loop()
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(_settle, done, failure)


def _settle(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _write_all(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed", "-")
    try:
        number = sys.stdout.fileno()
    except (io.UnsupportedOperation, ValueError):
        sys.stdout.buffer.write(data)
        return
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(number, view) :]
        except BlockingIOError:  # another program on the same terminal made it so
            select.select([], [number], [])
