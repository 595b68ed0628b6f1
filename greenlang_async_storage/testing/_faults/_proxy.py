"""`FaultProxy`: a proxy that knows S3's operations and breaks those it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from greenlang_async_storage.testing._faults._http1 import HEAD_LIMIT, Message, read_body, read_head
from greenlang_async_storage.testing._faults._plan import (
    BrokenConnectionError,
    Exchange,
    FaultPlan,
    replaced,
)
from greenlang_async_storage.testing._faults._schedule import Fault, Schedule
from greenlang_async_storage.testing._faults._upstream import Address, InProcess, Upstream

if TYPE_CHECKING:
    from greenlang_async_storage.testing._memory._s3 import MemoryS3
    from greenlang_async_storage.testing._server import StorageServer

PIECE: Final = 64 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class FaultProxy:
    """
    A store's address that breaks on purpose: `async with FaultProxy(server, schedule) as proxy`.

    *target* is a `StorageServer`, its URL, or a `MemoryS3`, which gets an address this way. Point clients at
    `proxy.url`: requests arrive as they were signed, and go on but for `Expect` and chunked coding. Bodies
    are held whole in memory. `faults` has the schedule, hooks and the log of requests; with an empty
    schedule nothing breaks, and a `FaultPlan` may be given in its place. Aim at operations: "the reply of
    the third UploadPart" is `Fault("UploadPart", 3, "withheld", "reset")`. A proxy learns the operation from
    the head, so `connect` breaks there.
    """

    def __init__(
        self, target: StorageServer | MemoryS3 | str, schedule: Schedule | FaultPlan | None = None
    ) -> None:
        self._upstream = _upstream_of(target)
        self.faults = schedule if isinstance(schedule, FaultPlan) else FaultPlan(schedule)
        """What happens to requests on their way, and the log of all of them."""
        self.connections = 0
        """How many were accepted."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        if self._server is None:
            raise RuntimeError("the proxy has no address outside its `async with` block")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs it as one
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        except BrokenConnectionError as broken:
            if broken.fault.action == "reset":
                _reset(writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # The proxy ends; asyncio's server would log this as a failure.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its reply; whether the connection may be used again."""
        head = await read_head(reader)
        if head is None:
            return False
        method, target, _ = head.first.decode("latin-1").split(" ")
        headers = head.headers()
        exchange = self.faults.begin(method, target, headers)
        await exchange.reach("connect")
        await exchange.reach("request_head")
        for fault in exchange.faults("request_head", "replace"):
            await self._send(writer, exchange, *_canned(fault))
            # The body was not read: what follows on this connection is not a request.
            return False
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _request_body(reader, headers, exchange)
        exchange.request.size = len(body)
        body = exchange.damaged_request(body)
        await exchange.reach("unforwarded")
        for fault in exchange.faults("unforwarded", "replace"):
            await self._send(writer, exchange, *_canned(fault))
            return True
        reply, data = await self._upstream.exchange(head, body)
        if exchange.has("withheld", "twice"):
            reply, data = await self._upstream.exchange(head, body)
        await exchange.reach("withheld")
        await exchange.reach("reply_head")
        for fault in exchange.faults("reply_head", "replace"):
            reply, data = _changed(fault, reply, data)
        await self._send(writer, exchange, reply, data)
        await exchange.reach("idle")
        return headers.get("connection", "").lower() != "close"

    async def _send(
        self, writer: asyncio.StreamWriter, exchange: Exchange, reply: Message, data: bytes
    ) -> None:
        exchange.request.status = int(reply.first.split(b" ")[1])
        if exchange.request.method == "HEAD":
            data = b""
        data = exchange.damaged_reply(data)
        writer.write(reply.encode())
        sent = 0
        breaks = [fault for fault in exchange.faults("reply_body") if fault.action != "flip"]
        for fault in sorted(breaks, key=lambda one: one.at):
            await _write(writer, data[sent : fault.at])
            sent = max(sent, min(fault.at, len(data)))
            if fault.action == "drip":
                for at in range(sent, len(data)):
                    await asyncio.sleep(fault.seconds)
                    await _write(writer, data[at : at + 1])
                return
            await exchange.do(fault)
        await _write(writer, data[sent:])


def _upstream_of(target: StorageServer | MemoryS3 | str) -> Upstream:
    if isinstance(target, str):
        return Address(target)
    url = getattr(target, "endpoint_url", None)
    if isinstance(url, str):
        return Address(url)
    from greenlang_async_storage.testing._memory._s3 import MemoryS3

    if isinstance(target, MemoryS3):
        return InProcess(target)
    raise TypeError(f"a fault proxy stands before a StorageServer, a MemoryS3 or a URL, not {target!r}")


async def _request_body(reader: asyncio.StreamReader, headers: dict[str, str], exchange: Exchange) -> bytes:
    """The body; a fault in it comes when the planned byte has arrived, and never waits for more."""
    breaks = sorted(
        (fault for fault in exchange.faults("request_body") if fault.action != "flip"),
        key=lambda one: one.at,
    )
    arrived = b""
    length = int(headers.get("content-length", "0"))
    for fault in breaks:
        wanted = min(max(fault.at, 0), length) - len(arrived)
        if wanted > 0:
            arrived += await reader.readexactly(wanted)
        await exchange.do(fault)
    if breaks and length:
        return arrived + await reader.readexactly(length - len(arrived))
    return await read_body(reader, headers, until_end=False)


def _canned(fault: Fault) -> tuple[Message, bytes]:
    return _message(*replaced(fault, 503, {"content-length": "0"}, b""))


def _changed(fault: Fault, reply: Message, data: bytes) -> tuple[Message, bytes]:
    status = int(reply.first.split(b" ")[1])
    return _message(*replaced(fault, status, reply.headers(), data))


def _message(status: int, headers: dict[str, str], body: bytes) -> tuple[Message, bytes]:
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Message(f"HTTP/1.1 {status} Planned".encode(), lines), body


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    for start in range(0, len(data), PIECE):
        writer.write(data[start : start + PIECE])
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST instead of FIN."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
