"""The part of a response body that has arrived, and the reader that waits for more."""

from __future__ import annotations

import asyncio
import io
import math
from collections import deque
from typing import Protocol

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport._errors import (
    SessionClosedError,
    WireError,
    body_error,
    url_of,
)

UNKNOWN = math.inf
"""`left` of a body without an announced length."""
HIGH_WATER = 262_144
"""Bytes held for a slow reader before the socket is no longer read."""
LOW_WATER = 65_536
"""Bytes left at which the socket is read again."""
WHOLE_LIMIT = 64 * 1024 * 1024
"""Largest body whose announced length is allocated before its bytes arrive."""


class BodySource(Protocol):
    """What a body needs of its connection."""

    def receive_into(self, target: memoryview | None) -> None:
        """Let the socket write straight into *target*, telling `Body.filled`; None: no more."""
        ...

    def set_reading(self, *, reading: bool) -> None:
        """Read the socket, or leave the bytes with the kernel."""
        ...

    def run_deadline(self, *, running: bool) -> None:
        """Start the read timeout, or stop it while nobody waits for bytes."""
        ...

    def give_up(self) -> None:
        """Close the connection: the rest of the body is not wanted."""
        ...


class Body:
    """
    A body that arrives in pieces; holds at most `HIGH_WATER` bytes plus one receive.

    `left` counts the bytes the socket has still to bring, and is infinite when only the end tells. `raw` says
    that bytes of the socket are bytes of the body, so that they may be received in place.
    One reader at a time.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_error",
        "_expected",
        "_filled",
        "_offset",
        "_origin",
        "_path",
        "_paused",
        "_source",
        "_taken",
        "_waiter",
        "_wanted",
        "finished",
        "left",
        "raw",
    )

    def __init__(
        self, source: BodySource, origin: Origin, path: str, expected: int | None, *, raw: bool
    ) -> None:
        self._source = source
        self._origin = origin
        self._path = path
        self._expected = expected
        self._chunks: deque[bytes] = deque()
        self._offset = 0
        self._buffered = 0
        self._taken = 0
        self._wanted = 0
        self._filled = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: WireError | None = None
        self._paused = False
        self.left: float = UNKNOWN if expected is None else expected
        self.raw = raw
        self.finished = False

    @property
    def over(self) -> bool:
        """Whether the connection is done with this body, for good or ill."""
        return self.finished or self._error is not None

    @property
    def received(self) -> int:
        """Bytes that have arrived, read or not, those of a read under way included."""
        return self._taken + self._buffered

    @property
    def at_end(self) -> bool:
        """Whether every byte of the body was read."""
        return self.finished and not self._chunks

    # What the connection tells.

    def feed(self, data: bytes) -> None:
        """Append bytes that arrived."""
        self._chunks.append(data)
        self._buffered += len(data)
        self.left -= len(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        elif self._buffered >= HIGH_WATER and not self._paused and self.left > 0:
            self._paused = True
            self._source.set_reading(reading=False)

    def filled(self, count: int) -> bool:
        """*count* more bytes were received into the target; whether the socket may go on with it."""
        self._filled += count
        self._taken += count
        self.left -= count
        if self._filled < self._wanted and self.left > 0:
            return True
        self._wake()
        return False

    def finish(self) -> None:
        """The body is complete."""
        self.finished = True
        self.left = 0
        self._wake()

    def fail(self, error: WireError) -> None:
        """The rest of the body will not come; what has arrived can still be read."""
        self._error = error
        self.left = 0
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What a reader asks.

    async def read(self, size: int = -1) -> bytes:
        """As `WireResponse.read`."""
        if size < 0:
            return await self._read_whole()
        while size and not self._chunks:
            if self._ended():
                break
            await self._wait()
        return self._take(size)

    async def readany(self) -> bytes:
        """As `WireResponse.readany`."""
        while not self._chunks:
            if self._ended():
                return b""
            await self._wait()
        return self._take(HIGH_WATER)

    async def readinto(self, buffer: memoryview) -> int:
        """As `WireResponse.readinto`."""
        view = buffer if buffer.format == "B" and buffer.ndim == 1 else buffer.cast("B")
        size = len(view)
        done = 0
        try:
            while done < size:
                if self._chunks:
                    data = self._take(size - done)
                    view[done : done + len(data)] = data
                    done += len(data)
                elif (self._error is not None and done) or self._ended():
                    break
                elif self.raw:
                    done += await self._receive(view, done)
                else:
                    await self._wait()
        except asyncio.CancelledError:
            self._give_back(bytes(view[:done]))
            raise
        return done

    async def _read_whole(self) -> bytes:
        if self.finished and len(self._chunks) <= 1:
            return self._take(self._buffered)
        if self.raw and self._buffered + self.left <= WHOLE_LIMIT:
            # A bytes object nobody else holds is filled in place and handed out again without a copy.
            sink = io.BytesIO(bytes(int(self._buffered + self.left)))
            with sink.getbuffer() as view:
                await self.readinto(view)
            self._ended()
            return sink.getvalue()
        sink = io.BytesIO()
        try:
            while data := await self.readany():
                sink.write(data)
        except asyncio.CancelledError:
            self._give_back(sink.getvalue())
            raise
        return sink.getvalue()

    async def _receive(self, view: memoryview, start: int) -> int:
        """Bytes received in place into *view* from *start*, to its end unless the body ends or breaks off."""
        self._wanted = int(min(len(view) - start, self.left))
        self._filled = 0
        # Released when we leave: a view that lives on in a traceback would keep its buffer from being freed.
        with view[start : start + self._wanted] as target:
            self._source.receive_into(target)
            try:
                await self._wait()
            except asyncio.CancelledError:
                self._give_back(bytes(target[: self._filled]))
                raise
            finally:
                if not self.over:  # else the connection may serve somebody else by now
                    self._source.receive_into(None)
        return self._filled

    def _give_back(self, data: bytes) -> None:
        """Put *data* before what is buffered: a cancelled read loses nothing, so a reader may go on."""
        if not data:
            return
        if self._offset:
            self._chunks[0] = self._chunks[0][self._offset :]
            self._offset = 0
        self._chunks.appendleft(data)
        self._buffered += len(data)
        self._taken -= len(data)

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("another task is reading this response body: one reader at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        self._resume()
        self._source.run_deadline(running=True)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if not self.over:
                self._source.run_deadline(running=False)

    def _ended(self) -> bool:
        if self._error is not None:
            url = url_of(self._origin, self._path)
            raise body_error(self._error, url, self._taken, self._expected) from self._error
        return self.finished

    def _take(self, size: int) -> bytes:
        chunks = self._chunks
        if not size or not chunks:
            return b""
        data = chunks[0]
        start = self._offset
        if len(data) - start > size:
            self._offset = start + size
            data = data[start : start + size]
        else:
            chunks.popleft()
            if start:
                self._offset = 0
                data = data[start:]
            if len(data) < size and chunks:
                data = self._join(data, size)
        self._buffered -= len(data)
        self._taken += len(data)
        if self._paused and self._buffered <= LOW_WATER:
            self._resume()
        return data

    def _join(self, data: bytes, size: int) -> bytes:
        parts = [data]
        room = size - len(data)
        while room and self._chunks:
            part = self._chunks[0]
            if len(part) > room:
                self._offset = room
                part = part[:room]
            else:
                self._chunks.popleft()
            parts.append(part)
            room -= len(part)
        return b"".join(parts)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.over:
                self._source.set_reading(reading=True)

    def close(self) -> None:
        """Drop what was not read; the connection is closed unless the body had arrived whole."""
        self._chunks.clear()
        self._offset = self._buffered = 0
        if not self.over:
            self._source.give_up()
            self.fail(SessionClosedError("the response was closed before its end"))
