"""What aiobotocore and its users see of a response: the surface of aiohttp's `ClientResponse`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from http.client import responses
from types import TracebackType
from typing import Any, Self

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from greenlang_async_storage.fastpath._wire import WireResponse

_LINE_LIMIT = 1024 * 1024
"""Longest line `readline` and `readuntil` put together."""


class RawResponse:
    """
    A `WireResponse` with the attributes and methods of `aiohttp.ClientResponse` that S3 code uses.

    Header names are lower case. `async with` closes it, as `release` does: the connection is kept when the
    body was read to its end. Reads raise `TruncatedBodyError` (an `aiohttp.ClientPayloadError`) and
    aiobotocore's `AioReadTimeoutError` (an `asyncio.TimeoutError`).
    """

    # aiobotocore's checksum body is a proxy that sets its own attributes on what it wraps: hence a dict.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_body",
        "_closed",
        "_content",
        "_headers",
        "_url",
        "_wire",
        "method",
        "status",
    )

    def __init__(self, wire: WireResponse, url: str, method: str) -> None:
        self.status = wire.status
        self.method = method
        self._wire = wire
        self._url = url
        self._content: RawContent | None = None
        self._body: bytes | None = None
        self._headers: CIMultiDictProxy[str] | None = None
        self._closed = False

    @property
    def content(self) -> RawContent:
        """The body as a stream."""
        if self._content is None:
            self._content = RawContent(self._wire)
        return self._content

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header lines as they came, names in lower case."""
        return tuple(self._wire.headers)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers, case-insensitive; repeated ones keep each value."""
        if self._headers is None:
            headers: CIMultiDict[str] = CIMultiDict()
            for name, value in self._wire.headers:
                headers.add(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            self._headers = CIMultiDictProxy(headers)
        return self._headers

    @property
    def url(self) -> URL:
        """The URL that was asked for."""
        return URL(self._url, encoded=True)

    @property
    def real_url(self) -> URL:
        """As `url`."""
        return self.url

    @property
    def reason(self) -> str:
        """The usual phrase for the status."""
        return responses.get(self.status, "")

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def content_type(self) -> str:
        """The media type without parameters."""
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip()

    @property
    def content_length(self) -> int | None:
        """The announced length of the body."""
        length = self.headers.get("content-length")
        return None if length is None else int(length)

    @property
    def closed(self) -> bool:
        """Whether the body is over, or was closed."""
        return self._closed or self.content.at_eof()

    async def read(self) -> bytes:
        """The whole body; the same bytes again when called again."""
        if self._body is None:
            self._body = await self.content.read()
        return self._body

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The whole body as text, UTF-8 unless told otherwise."""
        return (await self.read()).decode(encoding or "utf-8", errors)

    async def json(self, *, loads: Callable[[str], Any] = json.loads) -> Any:
        """The whole body, decoded."""
        return loads(await self.text())

    def raise_for_status(self) -> None:
        """Raise `aiohttp.ClientResponseError` for a status of 400 or more."""
        if not self.ok:
            self.close()
            info = aiohttp.RequestInfo(self.url, self.method, CIMultiDictProxy(CIMultiDict()), self.url)
            raise aiohttp.ClientResponseError(
                info, (), status=self.status, message=self.reason, headers=self.headers
            )

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        self._closed = True
        self._wire.close()

    def release(self) -> Released:
        """As `close`; may be awaited."""
        self.close()
        return Released()

    async def wait_for_close(self) -> None:
        """As `close`."""
        self.close()

    def at_eof(self) -> bool:
        """Whether every byte was read."""
        return self.content.at_eof()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RawResponse [{self.status} {self.reason}]>"


class Released:
    """Nothing left to wait for, in a form that can be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


class RawContent:
    """The body with the methods of `aiohttp.StreamReader`."""

    __slots__ = ("_eof", "_error", "_rest", "_wire")

    def __init__(self, wire: WireResponse) -> None:
        self._wire = wire
        self._rest = b""
        self._eof = False
        self._error: Exception | None = None

    async def read(self, n: int = -1) -> bytes:
        """All of the rest, or at most *n* bytes as soon as there are any."""
        if self._rest:
            return await self._read_with_rest(n)
        data = await self._guard(self._wire.read(n))
        if n < 0 or (n and not data):
            self._eof = True
        return data

    async def _read_with_rest(self, n: int) -> bytes:
        rest = self._rest
        if 0 <= n <= len(rest):
            self._rest = rest[n:]
            return rest[:n]
        self._rest = b""
        return rest if n >= 0 else rest + await self.read()

    async def _guard(self, reading: Awaitable[bytes]) -> bytes:
        try:
            return await reading
        except Exception as error:
            self._error = error
            raise

    async def readany(self) -> bytes:
        """Whatever has arrived."""
        if rest := self._rest:
            self._rest = b""
            return rest
        data = await self._guard(self._wire.readany())
        self._eof = not data
        return data

    async def readchunk(self) -> tuple[bytes, bool]:
        """As `readany`; the flag says that a chunk of the transfer ended there, which is not tracked."""
        data = await self.readany()
        return data, not data

    async def readexactly(self, n: int) -> bytes:
        """*n* bytes; raises `asyncio.IncompleteReadError` when the body is shorter."""
        parts = bytearray()
        while len(parts) < n:
            data = await self.read(n - len(parts))
            if not data:
                raise asyncio.IncompleteReadError(bytes(parts), n)
            parts += data
        return bytes(parts)

    async def readline(self) -> bytes:
        """The next line with its end, or what is left."""
        return await self.readuntil(b"\n")

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Bytes up to and including *separator*, or what is left; raises ValueError beyond 1 MiB."""
        line = bytearray()
        while True:
            data = await self.readany()
            if not data:
                return bytes(line)
            searched = max(0, len(line) - len(separator) + 1)
            line += data
            end = line.find(separator, searched)
            if end >= 0:
                end += len(separator)
                self._rest = bytes(line[end:])
                return bytes(line[:end])
            if len(line) > _LINE_LIMIT:
                raise ValueError(f"the line is longer than {_LINE_LIMIT} bytes: read by size instead")

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Pieces of at most *n* bytes."""
        while data := await self.read(n):
            yield data

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive."""
        while data := await self.readany():
            yield data

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Pieces as they arrive, each with a flag that is True."""
        while data := await self.readany():
            yield data, True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    def at_eof(self) -> bool:
        """Whether every byte was read."""
        return not self._rest and (self._eof or bool(getattr(self._wire, "at_end", False)))

    def is_eof(self) -> bool:
        """As `at_eof`."""
        return self.at_eof()

    def exception(self) -> Exception | None:
        """The error that ended the body early."""
        return self._error
