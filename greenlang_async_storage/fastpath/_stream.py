"""The streaming body of GetObject: aiobotocore's own body classes over a response of our transport."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from typing import Any

from aiobotocore.httpchecksum import StreamingChecksumBody
from aiobotocore.response import StreamingBody
from botocore.httpchecksum import _CHECKSUM_CLS

from greenlang_async_storage.fastpath._wire import Buffer, WireResponse

_LINE_PIECE = 64 << 10
# aiobotocore 2.x wraps the response in a proxy, whose own attributes carry this prefix.
_PREFIX = "_self" if hasattr(StreamingBody, "__wrapped__") else ""
_AMOUNT = f"{_PREFIX}_amount_read"
_UNCHECKED = f"{_PREFIX}_unchecked"


class Content:
    """What aiohttp calls `response.content`: the bytes as they arrive."""

    __slots__ = ("_pending", "_wire", "ended")

    def __init__(self, wire: WireResponse) -> None:
        self._wire = wire
        self._pending = b""
        self.ended = False

    async def read(self, n: int = -1) -> bytes:
        """At most *n* bytes, at least one unless the body has ended; all of the rest when *n* is negative."""
        if self._pending:
            return await self._read_pending(n)
        data = await self._wire.read(n)
        if n < 0 or (not data and n):
            self.ended = True
        return data

    async def _read_pending(self, n: int) -> bytes:
        pending, self._pending = self._pending, b""
        if n < 0:
            return pending + await self.read()
        self._pending = pending[n:]
        return pending[:n]

    async def readany(self) -> bytes:
        """Whatever has arrived, at least one byte unless the body has ended."""
        if self._pending:
            return await self._read_pending(len(self._pending))
        data = await self._wire.readany()
        self.ended = self.ended or not data
        return data

    async def readinto(self, buffer: memoryview) -> int:
        """As many bytes as *buffer* holds, fewer only at the end of the body."""
        if self._pending:
            data = await self._read_pending(len(buffer))
            buffer[: len(data)] = data
            return len(data) + await self._wire.readinto(buffer[len(data) :])
        count = await self._wire.readinto(buffer)
        self.ended = self.ended or (count == 0 and len(buffer) > 0)
        return count

    async def readexactly(self, n: int) -> bytes:
        """*n* bytes; asyncio.IncompleteReadError when the body ends before."""
        from asyncio import IncompleteReadError

        data = bytearray()
        while len(data) < n:
            piece = await self.read(n - len(data))
            if not piece:
                raise IncompleteReadError(bytes(data), n)
            data += piece
        return bytes(data)

    async def readline(self) -> bytes:
        """The next line with its line feed; the rest when the body ends without one."""
        line = bytearray()
        while piece := await self.read(_LINE_PIECE):
            head, feed, rest = piece.partition(b"\n")
            line += head + feed
            if feed:
                self._pending = rest + self._pending
                break
        return bytes(line)

    async def readchunk(self) -> tuple[bytes, bool]:
        """Whatever has arrived, and whether it ends a chunk of the transfer, which is not told apart here."""
        return await self.readany(), True

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Pieces of at most *n* bytes."""
        while data := await self.read(n):
            yield data

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive."""
        while data := await self.readany():
            yield data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    def at_eof(self) -> bool:
        """Whether the end of the body was seen."""
        return self.ended or (not self._pending and bool(getattr(self._wire, "at_end", False)))

    def is_eof(self) -> bool:
        """The same, under aiohttp's other name."""
        return self.at_eof()


class _Nothing:
    """aiohttp's `release()` may be awaited, and need not."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_NOTHING = _Nothing()


class StreamedReply:
    """The part of `aiohttp.ClientResponse` that users of aiobotocore's bodies meet."""

    # No __slots__: aiobotocore's proxy keeps attributes of its own here.
    def __init__(self, wire: WireResponse, url: str, method: str, headers: dict[str, str]) -> None:
        self.wire = wire
        self.status = wire.status
        self.method = method
        self.content = Content(wire)
        self._url = url
        self._headers = headers
        self._body: bytes | None = None
        self.closed = False

    @property
    def url(self) -> Any:
        """The request's URL, a `yarl.URL` as aiohttp has it."""
        from yarl import URL

        return URL(self._url, encoded=True)

    @property
    def headers(self) -> Any:
        """All header lines, looked up without regard to case."""
        from multidict import CIMultiDict, CIMultiDictProxy

        return CIMultiDictProxy(CIMultiDict((name.decode(), value.decode()) for name, value in self.wire.headers))

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header lines as received, names in lower case."""
        return tuple(self.wire.headers)

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def reason(self) -> str:
        """The standard phrase of the status."""
        from http.client import responses

        return responses.get(self.status, "")

    @property
    def content_length(self) -> int | None:
        """The announced length, if there is one."""
        length = self._headers.get("content-length")
        return None if length is None else int(length)

    @property
    def content_type(self) -> str:
        """The media type without its parameters."""
        return self._headers.get("content-type", "application/octet-stream").partition(";")[0].strip()

    async def read(self) -> bytes:
        """The whole body; the same bytes when called again."""
        if self._body is None:
            self._body = await self.content.read()
        return self._body

    async def text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole body as text."""
        return (await self.read()).decode(encoding, errors)

    async def json(self, *, encoding: str = "utf-8") -> Any:
        """The whole body, read as JSON."""
        return json.loads(await self.text(encoding))

    def release(self) -> _Nothing:
        """Give the connection back; what was not read is dropped."""
        self.close()
        return _NOTHING

    def close(self) -> None:
        """The same."""
        self.closed = True
        self.wire.close()

    async def __aenter__(self) -> StreamedReply:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class PlainBody(StreamingBody):  # type: ignore[misc]
    """A body botocore would not check, with three methods more than aiobotocore's."""

    async def readinto(self, b: Buffer) -> int:
        """As many bytes as *b* holds, received straight into it; fewer only at the end, 0 after it."""
        view = memoryview(b).cast("B")
        count = await _raw(self).content.readinto(view)
        _count(self, view[:count])
        if count == 0 and view.nbytes:
            self._verify_content_length()
        return count

    async def readany(self) -> bytes:
        """Whatever has arrived, waiting for at least one byte; `b""` at the end."""
        data = await _raw(self).content.readany()
        _count(self, memoryview(data))
        if not data:
            self._verify_content_length()
        return data

    def disable_validation(self) -> None:
        """Leave the checksum to the caller, who verifies it; the length is still checked."""


class CheckedBody(StreamingChecksumBody):  # type: ignore[misc]
    """The same with the check of the checksum that came in the headers, at the end of the body."""

    async def read(self, amt: int | None = None) -> bytes:
        """At most *amt* bytes, all of the rest without it; FlexibleChecksumError at the end of a body that differs."""
        base = StreamingBody if getattr(self, _UNCHECKED, False) else StreamingChecksumBody
        data: bytes = await base.read(self, amt)
        return data

    async def readinto(self, b: Buffer) -> int:
        """As many bytes as *b* holds, received straight into it; fewer only at the end, 0 after it."""
        view = memoryview(b).cast("B")
        count = await _raw(self).content.readinto(view)
        self._take(view[:count], ended=count == 0 and view.nbytes > 0)
        return count

    async def readany(self) -> bytes:
        """Whatever has arrived, waiting for at least one byte; `b""` at the end."""
        data = await _raw(self).content.readany()
        self._take(memoryview(data), ended=not data)
        return data

    def disable_validation(self) -> None:
        """Leave the checksum to the caller, who verifies it; the length is still checked. Call before any read."""
        setattr(self, _UNCHECKED, True)

    def _take(self, data: memoryview, *, ended: bool) -> None:
        _count(self, data)
        checked = not getattr(self, _UNCHECKED, False)
        if checked:
            self._checksum.update(data)
        if ended:
            self._verify_content_length()
            if checked:
                self._validate_checksum()


def streamed_body(reply: StreamedReply, length: str | None, algorithm: str | None, expected: str | None) -> Any:
    """The body of the installed aiobotocore for *reply*, with the check botocore would make."""
    if algorithm is None:
        return PlainBody(reply, length)
    return CheckedBody(reply, length, _CHECKSUM_CLS[algorithm](), expected)


def _raw(body: Any) -> StreamedReply:
    reply: StreamedReply = body.__wrapped__ if _PREFIX else body._raw_stream
    return reply


def _count(body: Any, data: memoryview) -> None:
    setattr(body, _AMOUNT, getattr(body, _AMOUNT) + len(data))
