"""A scripted HTTP server: it reads requests and writes exactly the bytes a test gives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession

HEADERS = [("Host", "test")]


@dataclass
class Request:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> Request:
        """The next request without its body; raises asyncio.IncompleteReadError when there is none."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = text.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (entry.partition(": ") for entry in rest)}
        return Request(line, headers)

    async def request(self) -> Request:
        """The next request with its body; `100 Continue` is sent to whoever waits for it."""
        request = await self.head()
        if request.headers.get("expect"):
            await self.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await self.body(request)
        return request

    async def body(self, request: Request) -> bytes:
        """The body of *request*, chunks put together."""
        if request.headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(request.headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def say(self, data: bytes, *, every: int | None = None) -> None:
        """Send *data*; with *every*, in pieces of so many bytes, each seen by the client before the next."""
        if self.writer.is_closing():
            raise ConnectionResetError("the client went away")
        if every is None:
            self.writer.write(data)
            await self.writer.drain()
            return
        for start in range(0, len(data), every):
            self.writer.write(data[start : start + every])
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def cut(self) -> None:
        """End the stream as somebody on the wire would: without the close_notify of TLS."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_WR)

    async def wait_closed(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """Runs `script` on each connection; `failures` holds what went wrong in scripts."""

    script: Script | None = None
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        # Else the kernel takes tens of megabytes that no script has read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        listener.bind((self.host, 0))
        self._server = await asyncio.start_server(self._serve, sock=listener, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        assert not self.failures, self.failures

    @property
    def origin(self) -> Origin:
        return Origin("https" if self.tls else "http", self.host, self.port)

    def answers(self, *replies: bytes, every: int | None = None) -> None:
        """Read a request, send the next reply, and so on; the last one again and again."""
        left = list(replies)

        async def script(peer: Peer) -> None:
            while True:
                self.requests.append(await peer.request())
                await peer.say(left.pop(0) if len(left) > 1 else left[0], every=every)

        self.script = script

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            assert self.script is not None, "the test installed no script"
            await self.script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client went away, as clients do
        except asyncio.CancelledError:
            pass  # the server is closed
        except BaseException as error:  # noqa: BLE001 - told when the server is closed
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


def reply(body: bytes = b"", *, status: str = "200 OK", headers: str = "", length: bool = True) -> bytes:
    """A response with a Content-Length."""
    told = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\n{told}{headers}\r\n".encode() + body


def chunked(*pieces: bytes, trailers: str = "", status: str = "200 OK") -> bytes:
    """A response in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return (
        f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + framed
        + f"0\r\n{trailers}\r\n".encode()
    )


@contextlib.asynccontextmanager
async def opened(
    *,
    timeout: tuple[float | None, float | None] = (5, 5),
    connections: int = 4,
    **arguments: object,
) -> AsyncIterator[HTTPSession]:
    """A session that must be at rest when the test is done with it."""
    async with HTTPSession(timeout=timeout, max_pool_connections=connections, **arguments) as session:  # type: ignore[arg-type]
        yield session
        assert session.statistics().in_use == 0
        assert session.statistics().waiting == 0
    assert not session._pool._sockets


async def get(session: HTTPSession, server: Server, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of one request."""
    response = await session.exchange(server.origin, method, "/key", HEADERS)
    try:
        return response.status, await response.read()
    finally:
        response.close()
