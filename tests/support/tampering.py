"""A proxy that cuts, damages and records the bodies of objects on their way to a client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Fault:
    """What happens to the body of one GetObject reply."""

    cut_at: int | None = None
    """Close the connection after this many bytes of it."""
    flip_at: int | None = None
    """Turn the bits of this byte around."""
    hold_at: int | None = None
    """Call `on_hold` before this byte goes on."""
    on_hold: Callable[[], Awaitable[object]] | None = None
    status: bytes | None = None
    """Answer this status line, such as `b"503 Slow Down"`, instead of asking the store."""
    repeat_first: bool = False
    """Answer with the first whole body again, as a cache does that knows neither Range nor If-Match."""


@dataclass
class TamperingProxy:
    """
    Relays HTTP/1.1 to one store; `async with` it.

    `faults` are used up by GetObject requests in order; `None` leaves a request alone. `gets` has the headers
    of each of them. The Host header stays as it was signed.
    """

    host: str
    port: int
    faults: deque[Fault | None] = field(default_factory=deque)
    gets: list[dict[str, str]] = field(default_factory=list)
    heads: int = 0
    _first: bytes = b""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its reply; whether the connection may be used again."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.split(b" ", 2)[:2]
        headers = _headers(head)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        key = target.partition(b"?")[0].removeprefix(b"/").partition(b"/")[2]
        fault = Fault()
        if method == b"GET" and key:
            self.gets.append(headers)
            fault = (self.faults.popleft() if self.faults else None) or fault
        self.heads += method == b"HEAD"
        if fault.status is not None or fault.repeat_first:
            empty = b"HTTP/1.1 " + (fault.status or b"") + b"\r\nContent-Length: 0\r\n\r\n"
            writer.write(self._first if fault.repeat_first else empty)
            await writer.drain()
            return True
        upstream, sender = await asyncio.open_connection(self.host, self.port)
        try:
            sender.write(head + body)
            reply = await upstream.readuntil(b"\r\n\r\n")
            writer.write(reply)
            length = int(_headers(reply).get("content-length", "0"))
            if method == b"HEAD":
                return True
            if method == b"GET" and key and not self._first:
                whole = await upstream.readexactly(length)
                self._first = reply + whole
                upstream = asyncio.StreamReader()
                upstream.feed_data(whole)
            return await _relay(upstream, writer, length, fault)
        finally:
            sender.close()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int, fault: Fault
) -> bool:
    position = 0
    stops = sorted(stop for stop in (fault.cut_at, fault.hold_at) if stop is not None and stop <= length)
    while position < length:
        if stops and position == stops[0]:
            stop = stops.pop(0)
            await writer.drain()
            if stop == fault.hold_at and fault.on_hold is not None:
                await fault.on_hold()
            if stop == fault.cut_at:
                return False
        upto = stops[0] if stops else length
        data = bytearray(await reader.read(min(65536, upto - position)))
        if not data:
            return False
        if fault.flip_at is not None and position <= fault.flip_at < position + len(data):
            data[fault.flip_at - position] ^= 0xFF
        writer.write(data)
        await writer.drain()
        position += len(data)
    return True


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
        if name
    }
