"""Streams: exact bytes from any source, bounded memory, and failures that surface at once."""

from __future__ import annotations

import asyncio
import io
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3AccessDeniedError,
    S3InvalidRequestError,
    StorageSession,
)
from tests.support.faulty import FaultyClient, answer
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""
DATA = random.Random(5).randbytes(2 * PART + MIB)


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


def stored(observer: Any, bucket: str, key: str = "key") -> bytes:
    """What a plain client reads."""
    return bytes(observer.get_object(Bucket=bucket, Key=key)["Body"].read())


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """*data*, *size* bytes at a time."""
    for position in range(0, len(data), size):
        yield data[position : position + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1])
async def test_streams_of_every_size(lake: Bucket, observer: Any, client: FaultyClient, size: int) -> None:
    """Exact bytes; less than a part is one put, anything else as many parts as it takes."""
    result = await lake.upload_stream("key", pieces(DATA[:size], 700_001), part_size=PART)
    assert stored(observer, lake.name) == DATA[:size]
    assert result.size == size
    assert client.calls["put_object"] == (size < PART)
    assert client.calls["upload_part"] == (0 if size < PART else -(-size // PART))
    assert client.still_open(observer, lake.name) == []


@ON_MOTO
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=strategies.lists(strategies.integers(0, 2 * PART + 7), max_size=6), kind=strategies.integers(0, 2)
)
async def test_pieces_of_any_size_and_kind(lake: Bucket, observer: Any, sizes: list[int], kind: int) -> None:
    """However a producer cuts its bytes, and whatever buffers it uses, the object is their concatenation."""
    cut = [DATA[:size] for size in sizes]

    async def produce() -> AsyncIterator[bytes | bytearray | memoryview]:
        for piece in cut:
            yield (bytes, bytearray, memoryview)[kind](piece)

    await lake.upload_stream("key", produce(), part_size=PART)
    assert stored(observer, lake.name) == b"".join(cut)


class SyncReader:
    """A reader that gives less than it is asked for, and notes the threads that read."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.threads: set[int] = set()

    def read(self, size: int) -> bytes:
        self.threads.add(threading.get_ident())
        return self._file.read(min(size, 400_003))


class AsyncReader:
    """The same, asynchronous."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(min(size, 400_003))


def sync_generator() -> Iterator[bytes]:
    """Pieces from a plain generator."""
    for position in range(0, len(DATA), 333_333):
        yield DATA[position : position + 333_333]


@ON_MOTO
@pytest.mark.parametrize(
    "make",
    [
        lambda: DATA,
        lambda: bytearray(DATA),
        lambda: memoryview(DATA),
        lambda: [DATA[:7], b"", DATA[7:]],
        sync_generator,
        lambda: io.BytesIO(DATA),
        lambda: SyncReader(DATA),
        lambda: AsyncReader(DATA),
        lambda: pieces(DATA, 99_999),
    ],
)
async def test_every_kind_of_source(lake: Bucket, observer: Any, make: Callable[[], Any]) -> None:
    """Buffers, lists, generators and readers, sync and async, are all sources."""
    await lake.upload_stream("key", make(), part_size=PART)
    assert stored(observer, lake.name) == DATA


@ON_MOTO
async def test_a_path_is_a_source(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """A path goes the way of `upload_file`, so it gets a content hash."""
    (tmp_path / "file").write_bytes(DATA)
    await lake.upload_stream("key", str(tmp_path / "file"), part_size=PART)
    assert stored(observer, lake.name) == DATA
    assert "content-hash" in (await lake.head("key")).metadata


@ON_MOTO
async def test_plain_readers_are_read_off_the_loop(lake: Bucket) -> None:
    """A sync `read` never runs in the loop's thread."""
    reader = SyncReader(DATA)
    await lake.upload_stream("key", reader, part_size=PART)
    assert threading.get_ident() not in reader.threads


@pytest.mark.parametrize("source", ["text pieces", 7, None, {"a": b"b"}])
async def test_what_is_no_source_is_refused(lake: Bucket, client: FaultyClient, source: Any) -> None:
    """TypeError, or S3LocalFileError for a str (a path), before anything is sent."""
    from greenlang_async_storage import S3LocalFileError

    with pytest.raises((TypeError, S3LocalFileError)):
        await lake.upload_stream("key", source)
    assert not client.calls


async def test_a_piece_that_is_no_bytes_names_itself(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The third piece is text: TypeError says so, and the upload it came in is aborted."""

    async def produce() -> AsyncIterator[Any]:
        yield DATA[:PART]
        yield b"more"
        yield "text"

    with pytest.raises(TypeError, match="piece 2 of the source is str"):
        await lake.upload_stream("key", produce(), part_size=PART)
    assert len(client.uploads) == 1
    assert client.still_open(observer, lake.name) == []


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("part_size", PART - 1, S3InvalidRequestError),
        ("part_size", 5 * 1024**3 + 1, S3InvalidRequestError),
        ("concurrency", 0, ValueError),
    ],
)
async def test_limits_are_checked_first(
    lake: Bucket, client: FaultyClient, name: str, value: int, error: type[Exception]
) -> None:
    """A part size or concurrency that cannot work is refused before the source is touched."""
    touched = []

    async def produce() -> AsyncIterator[bytes]:
        touched.append(1)
        yield b""

    arguments: dict[str, Any] = {name: value}
    with pytest.raises(error, match=str(value)):
        await lake.upload_stream("key", produce(), **arguments)
    assert not touched
    assert not client.calls


class ProducerError(Exception):
    """The producer's own."""


@pytest.mark.parametrize("after", [0, 1, PART - 1, PART, 2 * PART, 2 * PART + 5])
async def test_what_the_producer_raises_comes_through(
    lake: Bucket, observer: Any, client: FaultyClient, session: StorageSession, after: int
) -> None:
    """The very exception, wherever it comes; nothing is stored or stays open, the generator is closed."""
    failure, closed = ProducerError(), []

    async def produce() -> AsyncIterator[bytes]:
        try:
            async for piece in pieces(DATA[:after], 1_000_003):
                yield piece
            raise failure
        finally:
            closed.append(1)

    with pytest.raises(ProducerError) as caught:
        await lake.upload_stream("key", produce(), part_size=PART, concurrency=2)
    assert caught.value is failure
    assert closed
    assert not await lake.exists("key")
    assert client.still_open(observer, lake.name) == []
    assert session.statistics().in_flight == 0
    assert session.statistics().possible_orphans == 0


async def test_a_failed_part_surfaces_while_the_producer_blocks(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The producer waits for ever; the part it gave fails; the caller hears of it at once."""
    client.plan("upload_part", answer(error_reply("AccessDenied", 403)))
    closed = []

    async def produce() -> AsyncIterator[bytes]:
        try:
            yield DATA[:PART]
            await asyncio.Event().wait()
        finally:
            closed.append(1)

    with pytest.raises(S3AccessDeniedError):
        await lake.upload_stream("key", produce(), part_size=PART)
    assert closed
    assert client.still_open(observer, lake.name) == []


async def test_a_failed_part_surfaces_while_a_plain_reader_blocks(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The same for a reader stuck in its thread."""
    client.plan("upload_part", answer(error_reply("AccessDenied", 403)))
    unblock = threading.Event()

    class Reader:
        given = False

        def read(self, size: int) -> bytes:
            if self.given:
                unblock.wait(30)
                return b""
            self.given = True
            return DATA[:PART]

    try:
        with pytest.raises(S3AccessDeniedError):
            await lake.upload_stream("key", Reader(), part_size=PART)
    finally:
        unblock.set()
    assert client.still_open(observer, lake.name) == []


async def test_a_cancel_ends_a_blocked_stream(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Cancelled twice while parts and producer wait: CancelledError, nothing open, the generator closed."""
    sent, closed = asyncio.Event(), []

    async def hold(call: Any, arguments: dict[str, Any]) -> Any:
        await call(**arguments)
        sent.set()
        await asyncio.Event().wait()

    client.plan("upload_part", hold)

    async def produce() -> AsyncIterator[bytes]:
        try:
            yield DATA[:PART]
            await asyncio.Event().wait()
        finally:
            closed.append(1)

    task = asyncio.create_task(lake.upload_stream("key", produce(), part_size=PART))
    await sent.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    assert client.still_open(observer, lake.name) == []


async def test_progress_is_cumulative_and_ends_at_the_total(lake: Bucket) -> None:
    """Bytes acknowledged, never going back; the total is known for sources that know it."""
    for source, total in ((pieces(DATA, MIB), None), (io.BytesIO(DATA), len(DATA)), (DATA, len(DATA))):
        events: list[Progress] = []
        await lake.upload_stream("key", source, part_size=PART, on_progress=events.append)
        done = [event.done for event in events]
        assert done == sorted(done)
        assert (events[-1].done, events[-1].total) == (len(DATA), len(DATA))
        assert {event.total for event in events[:-1]} <= {total}


async def test_the_same_key_twice_at_once(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Two streams to one key: both succeed, the object is one of them, whole."""
    data = DATA, DATA[1:]
    await asyncio.gather(*(lake.upload_stream("key", pieces(each, MIB), part_size=PART) for each in data))
    assert stored(observer, lake.name) in data
    assert client.still_open(observer, lake.name) == []


@ON_MOTO
async def test_fixed_parts_end_at_ten_thousand(lake: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fixed parts the one too many is refused, and the upload aborted; without, parts grow."""
    from greenlang_async_storage._chunks import _plan

    monkeypatch.setattr(_plan, "MAX_PARTS", 2)
    client = FaultyClient.install(lake)
    with pytest.raises(S3InvalidRequestError, match="fixed_parts=False"):
        await lake.upload_stream("key", pieces(DATA, MIB), part_size=PART, fixed_parts=True)
    assert client.calls["abort_multipart_upload"] == 2
    monkeypatch.setattr(_plan, "GROWTH_AFTER_PARTS", 1)
    monkeypatch.setattr(_plan, "GROWTH_EVERY_PARTS", 1)
    _plan._doublings.cache_clear()
    await lake.upload_stream("key", pieces(DATA, MIB), part_size=PART)
    _plan._doublings.cache_clear()
    assert (await lake.head("key")).size == len(DATA)
