from __future__ import annotations

import array
import asyncio
import contextvars
import gzip
import io
import mmap
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import httpx
import pytest

from greenlang_async_storage import _chunks as chunks
from greenlang_async_storage._chunks import _thread, open_source
from greenlang_async_storage._errors import S3LocalFileError
from greenlang_async_storage._types import Buffer, ByteSource

pytestmark = pytest.mark.asyncio

DATA = bytes(range(256)) * 40


async def read(source: object, **options: int) -> bytes:
    """All bytes of *source*."""
    async with open_source(cast("ByteSource", source), **options) as pieces:
        return b"".join([bytes(cast("Buffer", piece)) async for piece in pieces])


def in_pieces(size: int) -> Iterator[bytes]:
    """DATA in pieces of *size* bytes."""
    for position in range(0, len(DATA), size):
        yield DATA[position : position + size]


async def in_async_pieces(size: int) -> AsyncIterator[bytes]:
    """DATA in pieces of *size* bytes, with a turn of the loop after each."""
    for piece in in_pieces(size):
        yield piece
        await asyncio.sleep(0)


class Reader:
    """What a web framework's upload looks like: `read(n)`, and iteration by line."""

    def __init__(self, data: bytes = DATA) -> None:
        self._file = io.BytesIO(data)
        self.asked: list[int] = []

    async def read(self, size: int = -1) -> bytes:
        self.asked.append(size)
        return self._file.read(min(size, 1000))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"a reader is read by size, not by line"


class PlainReader:
    """A reader whose plain `read` gives an awaitable, as compiled libraries do."""

    def __init__(self) -> None:
        self._reader = Reader()

    def read(self, size: int) -> Awaitable[bytes]:
        return self._reader.read(size)


class Pieces:
    """Iterable again and again, as data sets are."""

    def __iter__(self) -> Iterator[bytes]:
        return in_pieces(700)


class AsyncPieces:
    """The same, asynchronously."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return in_async_pieces(700)


async def stream_reader() -> asyncio.StreamReader:
    """An asyncio stream that has everything already."""
    reader = asyncio.StreamReader()
    reader.feed_data(DATA)
    reader.feed_eof()
    return reader


async def http_body() -> AsyncIterator[bytes]:
    """The body of an HTTP reply, as httpx gives it."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=in_async_pieces(500)))
    async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", "http://x") as reply:
        async for piece in reply.aiter_bytes():
            yield piece


def anonymous_map() -> mmap.mmap:
    """A memory-mapped buffer, which has `read` as well."""
    mapped = mmap.mmap(-1, len(DATA))
    mapped.write(DATA)
    mapped.seek(0)
    return mapped


SOURCES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: DATA,
    "bytearray": lambda: bytearray(DATA),
    "memoryview": lambda: memoryview(DATA),
    "array": lambda: array.array("H", DATA),
    "mmap": anonymous_map,
    "list": lambda: list(in_pieces(999)),
    "tuple": lambda: tuple(in_pieces(999)),
    "generator": lambda: in_pieces(777),
    "tiny pieces": lambda: in_pieces(1),
    "map": lambda: map(bytearray, in_pieces(777)),
    "iterable": Pieces,
    "async generator": lambda: in_async_pieces(777),
    "async iterable": AsyncPieces,
    "BytesIO": lambda: io.BytesIO(DATA),
    "gzip": lambda: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(DATA))),
    "async reader": Reader,
    "reader of awaitables": PlainReader,
    "mock": lambda: AsyncMock(spec=Reader, read=AsyncMock(side_effect=[DATA[:5], DATA[5:], b""])),
    "http": http_body,
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_every_kind_of_source(kind: str) -> None:
    """Each kind of source gives its bytes, all of them, in order."""
    assert await read(SOURCES[kind]()) == DATA


async def test_stream_readers() -> None:
    """An asyncio stream is a source."""
    assert await read(await stream_reader()) == DATA


async def test_paths_and_files(tmp_path: Path) -> None:
    """A path is opened and closed again; an open file is read from where it stands and stays open."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    assert await read(path) == await read(str(path)) == DATA
    with path.open("rb") as file:
        file.seek(100)
        assert await read(file) == DATA[100:]
        assert not file.closed
    with path.open("rb", buffering=0) as raw:
        assert await read(raw) == DATA
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(DATA)
        spooled.seek(0)
        assert await read(spooled) == DATA


async def test_read_size() -> None:
    """A reader is asked for the size the caller wants."""
    reader = Reader()
    assert await read(reader, read_size=64) == DATA
    assert set(reader.asked) == {64}


async def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file or a folder is an S3LocalFileError with path and errno, and a cause."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(S3LocalFileError, match=str(path)) as caught:
            await read(path)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.errno == caught.value.__cause__.errno


async def text_reader() -> AsyncIterator[bytes]:
    """Not a source: has to be called."""
    yield b""


class ReadsAll:
    """A reply whose `read` takes no size."""

    async def read(self) -> bytes:
        return DATA


class ReadsText:
    def read(self, size: int) -> str:
        return "text"


class NotReady:
    def read(self, size: int) -> None:
        return None


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (7, "is a int; pass bytes, a path"),
        (None, "NoneType"),
        ({"a": b"b"}, "is a dict"),
        (text_reader, "has to be called first"),
        (io.StringIO("text"), r"text mode.*'rb'"),
        (ReadsAll(), r"read\(\) of ReadsAll takes no size"),
        (ReadsText(), "gave str"),
        (NotReady(), "non-blocking"),
    ],
)
async def test_what_is_no_source(source: object, complaint: str) -> None:
    """Anything else is a TypeError that says what to pass instead."""
    with pytest.raises(TypeError, match=complaint):
        await read(source)


async def test_coroutines_are_no_source() -> None:
    """A forgotten await is named as such."""

    async def data() -> bytes:
        return b""

    coroutine = data()
    with pytest.raises(TypeError, match="await it first"):
        await read(coroutine)
    coroutine.close()


async def test_a_text_file_is_no_source(tmp_path: Path) -> None:
    """A file opened in text mode is refused before anything is read."""
    path = tmp_path / "text"
    path.write_text("text")
    with path.open() as file, pytest.raises(TypeError, match="text mode"):
        await read(file)


async def test_a_generator_stays_in_one_thread() -> None:
    """Every step of a generator, and its closing, happens in one other thread, in the caller's context."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    seen: set[tuple[int, str]] = set()

    def produce() -> Iterator[bytes]:
        try:
            while True:
                seen.add((threading.get_ident(), variable.get()))
                yield bytes(_thread.BATCH_BYTES)
        finally:
            seen.add((threading.get_ident(), variable.get()))

    async with open_source(produce()) as pieces:
        for _ in range(5):
            await anext(pieces)
    [(thread, value)] = seen
    assert thread != threading.get_ident()
    assert value == "set"


async def test_small_pieces_share_a_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces come many at a time; a large one that may change ends its trip, before it does."""
    monkeypatch.setattr(_thread, "BATCH_SECONDS", 60.0)
    trips: list[int] = []
    advance = _thread._advance

    def watched(iterator: Iterator[object]) -> Any:
        batch = advance(iterator)
        trips.append(len(batch.pieces))
        return batch

    monkeypatch.setattr(_thread, "_advance", watched)
    await read(b"x" for _ in range(2 * _thread.BATCH_PIECES))
    assert trips == [_thread.BATCH_PIECES, _thread.BATCH_PIECES, 0]
    trips.clear()
    await read(bytearray(_thread.COPY_MAX_BYTES) for _ in range(4))
    assert trips == [4, 0]
    trips.clear()
    await read(bytes(_thread.BATCH_BYTES // 2) for _ in range(4))
    assert trips == [2, 2, 0]
    trips.clear()
    await read(bytearray(_thread.COPY_MAX_BYTES + 1) for _ in range(3))
    assert trips == [1, 1, 1, 0]


@pytest.mark.parametrize("size", [10, _thread.COPY_MAX_BYTES + 1])
@pytest.mark.parametrize("view", [False, True])
async def test_a_generator_that_uses_its_buffer_again(size: int, view: bool) -> None:
    """A generator may overwrite its buffer after each piece, whatever its size."""
    buffer = bytearray(size)

    def produce() -> Iterator[Buffer]:
        for turn in range(20):
            buffer[:] = bytes([turn]) * size
            yield memoryview(buffer) if view else buffer

    async with open_source(produce()) as pieces:
        found = [part.data async for part in chunks.assemble(pieces, chunks.PartPlan(size))]
    assert found == [bytes([turn]) * size for turn in range(20)]


class OwnError(Exception):
    """What a user's code raises."""


@pytest.mark.parametrize("after", [0, 1, 300])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_generator_that_raises(after: int, asynchronous: bool) -> None:
    """What a generator raises comes through as it is, after the pieces it gave before."""
    error = OwnError()

    def produce() -> Iterator[bytes]:
        for _ in range(after):
            yield b"x"
        raise error

    async def produce_async() -> AsyncIterator[bytes]:
        for piece in produce():
            yield piece

    got = 0
    with pytest.raises(OwnError) as caught:  # noqa: PT012  # the pieces before the error count
        async with open_source(produce_async() if asynchronous else produce()) as pieces:
            async for _ in pieces:
                got += 1
    assert caught.value is error
    assert got == after
