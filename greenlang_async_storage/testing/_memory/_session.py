"""aiobotocore's HTTP session on the in-memory store: real signing and parsing, no socket."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.response import AioReadTimeoutError
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from greenlang_async_storage.fastpath.transport import RawResponse
from greenlang_async_storage.testing._faults._plan import BrokenConnectionError, Exchange, FaultPlan, replaced
from greenlang_async_storage.testing._memory._chunked import decoded
from greenlang_async_storage.testing._memory._wire import Reply

PIECE = 64 * 1024
"""Bytes that arrive at a time."""


class Store(Protocol):
    """What answers: a `MemoryS3`."""

    faults: FaultPlan
    open_bodies: int

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply to one request."""
        ...


class MemoryHttpSession:
    """
    What `AioConfig(http_session_cls=…)` takes; made by `MemoryS3.http_session_class()`.

    Each request waits for the loop before the store sees it, before its reply, and once per piece of a body,
    as a network makes it wait: a cancel can come at each of these places.
    """

    store: ClassVar[Store]

    def __init__(
        self, *_: object, timeout: float | Sequence[float | None] | None = None, **__: object
    ) -> None:
        self._read_timeout: float | None = timeout[1] if isinstance(timeout, Sequence) else timeout
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

    async def close(self) -> None:
        """Nothing is sent any more."""
        self._closed = True

    async def send(self, request: Any) -> AioAWSResponse:  # noqa: ANN401 - botocore's AWSPreparedRequest
        """The reply, as aiobotocore's own session gives it; broken connections as its exceptions."""
        url = str(request.url)
        if self._closed:
            raise EndpointConnectionError(endpoint_url=url, error="the HTTP session is closed")
        headers = _plain_headers(request.headers, urlsplit(url).netloc)
        body, headers = decoded(await _body_of(request.body), headers)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        exchange = self.store.faults.begin(request.method, target, headers)
        try:
            async with asyncio.timeout(self._read_timeout):
                reply = await self._exchange(exchange, body)
        except BrokenConnectionError as broken:
            if broken.fault.phase == "connect":
                raise EndpointConnectionError(endpoint_url=url, error=broken) from broken
            raise ConnectionClosedError(endpoint_url=url, request=request, error=broken) from broken
        except TimeoutError as late:
            raise ReadTimeoutError(endpoint_url=url, error=late) from late
        wire = MemoryBody(self.store, exchange, reply, self._read_timeout)
        response = AioAWSResponse(
            url, reply.status, dict(reply.headers), RawResponse(wire, url, request.method)
        )
        if not request.stream_output:
            try:
                await response.content
            except aiohttp.ClientPayloadError as error:
                raise ConnectionClosedError(endpoint_url=url, request=request, error=error) from error
            finally:
                wire.close()
        for fault in exchange.faults("idle", "hook"):
            await exchange.do(fault)
        return response

    async def _exchange(self, exchange: Exchange, body: bytes) -> Reply:
        request = exchange.request
        await exchange.reach("connect")
        await asyncio.sleep(0)
        await exchange.reach("request_head")
        for fault in exchange.faults("request_head", "replace"):
            return _answered(exchange, Reply(*replaced(fault, 503, {}, b"")))
        await exchange.reach("request_body")
        request.size = len(body)
        body = exchange.damaged_request(body)
        await exchange.reach("unforwarded")
        for fault in exchange.faults("unforwarded", "replace"):
            return _answered(exchange, Reply(*replaced(fault, 503, {}, b"")))
        reply = self.store.handle(request.method, request.target, request.headers, body)
        if exchange.has("withheld", "twice"):
            reply = self.store.handle(request.method, request.target, request.headers, body)
        await exchange.reach("withheld")
        await asyncio.sleep(0)
        await exchange.reach("reply_head")
        for fault in exchange.faults("reply_head", "replace"):
            reply = Reply(*replaced(fault, reply.status, reply.headers, reply.body))
        return _answered(exchange, reply)


def _answered(exchange: Exchange, reply: Reply) -> Reply:
    exchange.request.status = reply.status
    reply.headers.setdefault("content-length", str(len(reply.body)))
    if exchange.request.method == "HEAD":
        reply.body = b""
    return reply


class MemoryBody:
    """A reply's body on its way, as the package's own transport has it (`WireResponse`)."""

    def __init__(self, store: Store, exchange: Exchange, reply: Reply, read_timeout: float | None) -> None:
        self.status = reply.status
        self.headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        self._store = store
        self._exchange = exchange
        self._data = exchange.damaged_reply(reply.body)
        self._breaks = sorted(
            (fault for fault in exchange.faults("reply_body") if fault.action != "flip"),
            key=lambda fault: fault.at,
        )
        self._read_timeout = read_timeout
        self._position = 0
        self._open = bool(self._data) or bool(self._breaks)
        store.open_bodies += self._open

    def fields(self) -> dict[str, str]:
        """The headers by lower-case name."""
        return {name.decode(): value.decode() for name, value in self.headers}

    @property
    def received(self) -> int:
        """Bytes given out so far."""
        return self._position

    @property
    def at_end(self) -> bool:
        """Whether every byte was read."""
        return self._position >= len(self._data) and not self._breaks

    async def read(self, size: int = -1) -> bytes:
        """All of the rest, or at most *size* bytes as soon as there are any."""
        if size >= 0:
            return await self._piece(size)
        pieces = []
        try:
            while piece := await self._piece(PIECE):
                pieces.append(piece)
        except BaseException:
            # As aiohttp does: nobody else closes the body of an error whose reading was given up.
            self.close()
            raise
        return b"".join(pieces)

    async def readany(self) -> bytes:
        """The next piece."""
        return await self._piece(PIECE)

    async def readinto(self, buffer: memoryview) -> int:
        """Bytes written to the start of *buffer*: fills it unless the body ends first."""
        filled = 0
        while filled < len(buffer) and (piece := await self._piece(len(buffer) - filled)):
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def close(self) -> None:
        """Give the body up."""
        if self._open:
            self._open = False
            self._store.open_bodies -= 1

    async def _piece(self, size: int) -> bytes:
        try:
            async with asyncio.timeout(self._read_timeout):
                await asyncio.sleep(0)
                while self._breaks and self._breaks[0].at <= self._position:
                    fault = self._breaks[0]
                    if fault.action == "drip":
                        size = min(size, 1)
                        await asyncio.sleep(fault.seconds)
                        if self._position >= len(self._data):
                            self._breaks.pop(0)
                        break
                    self._breaks.pop(0)
                    await self._exchange.do(fault)
        except BrokenConnectionError as broken:
            self.close()
            raise aiohttp.ClientPayloadError("the connection broke in the body") from broken
        except TimeoutError as late:
            self.close()
            raise AioReadTimeoutError(endpoint_url=self._exchange.request.target, error=late) from late
        if self._breaks and self._breaks[0].at > self._position:
            size = min(size, self._breaks[0].at - self._position)
        piece = self._data[self._position : self._position + min(size, PIECE)]
        self._position += len(piece)
        if self._breaks and self._position >= len(self._data) and not piece:
            # A fault planned beyond the end of this body: nothing to break any more.
            self._breaks.clear()
        if self.at_end:
            self.close()
        return piece


def _plain_headers(given: Mapping[str, str | bytes], host: str) -> dict[str, str]:
    lines = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in given.items()
    }
    return {"host": host, **lines}


async def _body_of(body: Any) -> bytes:  # noqa: ANN401 - whatever botocore takes
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, io.IOBase) or hasattr(body, "read"):
        pieces: list[bytes] = []
        while True:
            piece = body.read(PIECE)
            if inspect.isawaitable(piece):
                piece = await piece
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    raise TypeError(f"the in-memory store takes bytes and files as bodies, not {type(body).__name__}")
