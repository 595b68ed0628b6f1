"""One open body: truncation, stalls, closing, and what counts as waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
import pytest

from greenlang_async_storage import S3ConnectionError, S3Error, S3TimeoutError
from greenlang_async_storage._body import Body
from greenlang_async_storage._settings import STALL_MIN_BYTES_PER_SECOND

pytestmark = pytest.mark.asyncio
Piece = bytes | Exception | Callable[[], Awaitable[bytes]]


class PlainStream:
    """A body as aiobotocore gives it: pieces of any size, then the end."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = list(pieces)
        self.closed = 0

    async def read(self, _size: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece if isinstance(piece, bytes) else await piece()

    def close(self) -> None:
        self.closed += 1


class FastStream(PlainStream):
    """A body of the fast path: counts what arrived, also inside a pending read."""

    def __init__(self, *pieces: Piece) -> None:
        super().__init__(*pieces)
        self.bytes_received = 0
        self.validating = True

    def disable_validation(self) -> None:
        self.validating = False

    async def readany(self) -> bytes:
        data = await super().read(-1)
        self.bytes_received += len(data)
        return data

    async def read(self, size: int) -> bytes:
        if size >= 0:
            return await self.readany()
        parts = []
        while part := await self.readany():
            parts.append(part)
        return b"".join(parts)

    async def readinto(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and (data := await self.readany()):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled


def body(stream: PlainStream, length: int | None, *, stall: float = 20) -> tuple[Body, list[Body]]:
    """A body over *stream*, and where it reports that it was closed."""
    closed: list[Body] = []
    response = cast("Any", {"Body": stream, "ContentLength": length})
    return Body(response, bucket="b", key="k", stall=stall, on_close=closed.append), closed


@pytest.mark.parametrize("kind", [PlainStream, FastStream])
async def test_every_way_of_reading_gives_all_bytes(kind: type[PlainStream]) -> None:
    """`read`, `chunk` and `readinto` see the same bytes."""
    pieces = (b"abc", b"d", b"efgh")
    opened, _ = body(kind(*pieces), 8)
    assert await opened.read() == b"abcdefgh"
    opened, _ = body(kind(*pieces), 8)
    chunks = []
    while chunk := await opened.chunk():
        chunks.append(chunk)
    assert b"".join(chunks) == b"abcdefgh"
    opened, _ = body(kind(*pieces), 8)
    buffer = bytearray(8)
    assert await opened.readinto(memoryview(buffer)) == 8
    assert bytes(buffer) == b"abcdefgh"
    assert await opened.readinto(memoryview(bytearray(1))) == 0
    assert opened.received == 8


@pytest.mark.parametrize("kind", [PlainStream, FastStream])
async def test_a_body_that_ends_early_is_no_body(kind: type[PlainStream]) -> None:
    """Fewer bytes than Content-Length are a retryable failure, never a short answer."""
    for read in ("read", "chunk"):
        opened, _ = body(kind(b"abc"), 8)
        assert read == "read" or await opened.chunk() == b"abc"
        with pytest.raises(S3ConnectionError, match="3 of 8") as caught:
            await getattr(opened, read)()
        assert caught.value.retryable
        assert caught.value.key == "k"


async def test_a_body_without_a_length_ends_where_it_ends() -> None:
    """Chunked replies carry no length."""
    opened, _ = body(PlainStream(b"abc"), None)
    assert await opened.read() == b"abc"


async def test_a_broken_connection_is_a_typed_error() -> None:
    """Aiohttp's payload error does not reach users."""
    opened, _ = body(PlainStream(b"abc", aiohttp.ClientPayloadError("cut")), 8)
    with pytest.raises(S3ConnectionError) as caught:
        await opened.read()
    assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)


@pytest.mark.parametrize("kind", [PlainStream, FastStream])
async def test_silence_is_a_stall(kind: type[PlainStream]) -> None:
    """Nothing for a whole stall period ends the read."""
    opened, _ = body(kind(b"abc", cast("Any", asyncio.Event().wait)), 8, stall=0.05)
    with pytest.raises(S3TimeoutError) as caught:
        await opened.read()
    assert caught.value.retryable
    opened.close()


async def test_a_drip_is_a_stall() -> None:
    """A few bytes a second are as bad as none: many short waits add up."""

    async def drip() -> bytes:
        await asyncio.sleep(0.01)
        return b"x"

    opened, _ = body(PlainStream(*[drip] * 1000), 1000, stall=0.1)
    with pytest.raises(S3TimeoutError, match="bytes a second"):
        await opened.read()
    opened.close()


async def test_steady_data_is_no_stall() -> None:
    """Just above the limit a body may take as long as it likes."""
    stall = 0.05
    enough = bytes(int(STALL_MIN_BYTES_PER_SECOND * stall) + 1)

    async def steady() -> bytes:
        await asyncio.sleep(stall / 5)
        return enough

    opened, _ = body(PlainStream(*[steady] * 20), 20 * len(enough), stall=stall)
    assert len(await opened.read()) == 20 * len(enough)
    opened.close()


async def test_a_slow_reader_is_no_stall() -> None:
    """Time between two reads belongs to the consumer."""
    opened, _ = body(PlainStream(b"a", b"b", b"c"), 3, stall=0.02)
    got = b""
    while chunk := await opened.chunk():
        got += chunk
        await asyncio.sleep(0.05)
    assert got == b"abc"
    opened.close()


async def test_closing_reports_once_and_closes_the_stream() -> None:
    """The slot goes back exactly once."""
    stream = PlainStream(b"abc")
    opened, closed = body(stream, 3)
    opened.close()
    opened.close()
    assert closed == [opened]
    assert stream.closed == 1


async def test_closing_under_a_pending_read_ends_it() -> None:
    """A session that closes does not leave a reader waiting."""
    opened, closed = body(PlainStream(cast("Any", asyncio.Event().wait)), 3)
    reading = asyncio.create_task(opened.read())
    await asyncio.sleep(0)
    opened.close()
    with pytest.raises(S3Error):
        await reading
    assert closed == [opened]


async def test_a_cancelled_read_is_cancelled() -> None:
    """CancelledError passes through."""
    opened, _ = body(PlainStream(cast("Any", asyncio.Event().wait)), 3)
    reading = asyncio.create_task(opened.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    opened.close()


async def test_the_transports_own_check_is_switched_off() -> None:
    """Bytes are verified once, above, where resumed pieces are known too."""
    stream = FastStream(b"abc")
    body(stream, 3)
    assert not stream.validating
