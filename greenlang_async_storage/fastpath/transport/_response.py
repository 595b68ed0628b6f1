"""The two responses of `HTTPSession.exchange`: arrived whole with its head, or still on its way."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from typing import TypeAlias

from greenlang_async_storage.fastpath.transport._body import Body
from greenlang_async_storage.fastpath.transport._head import PlainHead, ResponseHead


class WholeResponse:
    """A response whose body came with its head: it holds no connection, and closing it does nothing."""

    __slots__ = ("_data", "_head", "_position", "status")

    def __init__(self, head: PlainHead | ResponseHead, data: bytes) -> None:
        self.status = head.status
        self._head = head
        self._data = data
        self._position = 0

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As `WireResponse.headers`."""
        return self._head.headers

    def fields(self) -> dict[str, str]:
        """As `WireResponse.fields`."""
        return self._head.fields()

    async def read(self, size: int = -1) -> bytes:
        """As `WireResponse.read`."""
        start = self._position
        if size < 0:
            self._position = len(self._data)
            return self._data[start:] if start else self._data
        data = self._data[start : start + size]
        self._position = start + len(data)
        return data

    def take(self, length: int | None) -> bytes | None:
        """The whole body when nothing of it was read yet and it has *length* bytes; it counts as read."""
        if self._position or len(self._data) != length:
            return None
        self._position = length
        return self._data

    @property
    def received(self) -> int:
        """As `WireResponse.received`."""
        return len(self._data)

    async def readany(self) -> bytes:
        """As `WireResponse.readany`."""
        return await self.read()

    async def readinto(self, buffer: memoryview) -> int:
        """As `WireResponse.readinto`."""
        view = buffer if buffer.format == "B" and buffer.ndim == 1 else buffer.cast("B")
        data = await self.read(len(view))
        view[: len(data)] = data
        return len(data)

    @property
    def at_end(self) -> bool:
        """Whether every byte of the body was read."""
        return self._position == len(self._data)

    def close(self) -> None:
        """Drop what was not read."""
        self._position = len(self._data)


class StreamedResponse:
    """
    A response whose body is still arriving: close it, or read it to its end.

    Memory: what a read returns, plus at most 256 KiB and one receive that wait for the reader.
    Lost to the collector half-read, it closes its connection and warns with ResourceWarning.
    """

    __slots__ = ("_body", "_head", "_loop", "status")

    def __init__(self, head: PlainHead | ResponseHead, body: Body, loop: asyncio.AbstractEventLoop) -> None:
        self.status = head.status
        self._head = head
        self._body = body
        self._loop = loop

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As `WireResponse.headers`."""
        return self._head.headers

    def fields(self) -> dict[str, str]:
        """As `WireResponse.fields`."""
        return self._head.fields()

    @property
    def received(self) -> int:
        """As `WireResponse.received`."""
        return self._body.received

    async def read(self, size: int = -1) -> bytes:
        """As `WireResponse.read`; raises `TruncatedBodyError` or aiobotocore's `AioReadTimeoutError`."""
        return await self._body.read(size)

    async def readany(self) -> bytes:
        """As `WireResponse.readany`; raises as `read` does."""
        return await self._body.readany()

    async def readinto(self, buffer: memoryview) -> int:
        """
        As `WireResponse.readinto`; raises as `read` does.

        Bytes that have not arrived yet are received straight into *buffer*. Bytes that came before an error
        are returned first; the error is raised by the next call.
        """
        return await self._body.readinto(buffer)

    @property
    def at_end(self) -> bool:
        """Whether every byte of the body was read."""
        return self._body.at_end

    def close(self) -> None:
        """Give the slot back; the connection is closed unless the whole body had arrived."""
        self._body.close()

    def __del__(self) -> None:
        body = self._body
        if body.over:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(body.close)
        warnings.warn(
            f"a response body ({self.status}) was dropped half-read: close it, or use `async with`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )


Response: TypeAlias = WholeResponse | StreamedResponse
