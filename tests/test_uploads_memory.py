"""Memory of uploads: the formula holds, whatever the producer, the pieces and the concurrency."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket
from greenlang_async_storage._uploads import _source
from greenlang_async_storage._uploads._buffers import BufferPool
from tests.support.faulty import FaultyClient

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
DATA = random.Random(5).randbytes(2 * PART + MIB)
LARGE = random.Random(9).randbytes(16 * MIB + PART + 3)
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that goes in parts."""
    path = tmp_path / "source.bin"
    path.write_bytes(LARGE)
    return path


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """*data*, *size* bytes at a time."""
    for position in range(0, len(data), size):
        yield data[position : position + size]
        await asyncio.sleep(0)


class Tracked:
    """Bytes that count themselves while they are alive."""

    def __init__(self) -> None:
        self.taken = self.stored = self.peak = 0

    async def produce(self, total: int, size: int) -> AsyncIterator[bytes]:
        for position in range(0, total, size):
            piece = DATA[: min(size, total - position)]
            self.taken += len(piece)
            self.peak = max(self.peak, self.taken - self.stored)
            yield piece

    async def store(self, call: Any, arguments: dict[str, Any]) -> Any:
        for _ in range(5):  # slower than the producer
            await asyncio.sleep(0)
        reply = await call(**arguments)
        self.stored += len(arguments["Body"])
        return reply


@ON_MOTO
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("size", [64 * 1024, 1_000_003, PART, PART - 1])
async def test_bytes_taken_and_not_stored_are_bounded(lake: Bucket, concurrency: int, size: int) -> None:
    """However fast the producer, it is never more than (concurrency + 1) parts ahead of the store."""
    client, tracked = FaultyClient.install(lake), Tracked()
    client.always["upload_part"] = tracked.store
    source = tracked.produce(6 * PART + 11, size)
    await lake.upload_stream("key", source, part_size=PART, concurrency=concurrency)
    assert tracked.taken == 6 * PART + 11
    assert PART < tracked.peak <= (concurrency + 1) * PART


@ON_MOTO
async def test_parts_are_sent_side_by_side_and_never_more_than_asked(lake: Bucket) -> None:
    """With concurrency 2 there are moments with two parts on their way, and none with three."""
    client, running, most = FaultyClient.install(lake), 0, 0

    async def count(call: Any, arguments: dict[str, Any]) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await call(**arguments)
        finally:
            running -= 1

    client.always["upload_part"] = count
    await lake.upload_stream("key", pieces(DATA * 2, PART), part_size=PART, concurrency=2)
    assert most == 2


@ON_MOTO
@pytest.mark.parametrize("size", [64 * 1024, 1_000_003, PART])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_memory_keeps_to_the_formula(lake: Bucket, size: int, concurrency: int) -> None:
    """All Python memory of a stream, its pieces included, peaks at (concurrency + 1) parts and a little."""

    async def produce() -> AsyncIterator[bytes]:
        for number in range(12 * PART // size):
            yield bytes([number % 256]) * size

    await lake.upload_bytes("warm", b"up")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await lake.upload_stream("key", produce(), part_size=PART, concurrency=concurrency)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < (concurrency + 1) * PART + 2 * MIB


@ON_MOTO
async def test_at_most_concurrency_parts_of_a_file_are_in_memory(
    lake: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is read when it may be sent, not before."""
    client, held, most = FaultyClient.install(lake), 0, 0
    fill = _source.SourceFile.fill

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal held, most
        held += 1
        most = max(most, held)
        return fill(*args, **kwargs)

    async def release(call: Any, arguments: dict[str, Any]) -> Any:
        nonlocal held
        reply = await call(**arguments)
        held -= 1
        return reply

    monkeypatch.setattr(_source.SourceFile, "fill", counted)
    client.always["upload_part"] = release
    await lake.upload_file("key", source, part_size=PART, concurrency=2)
    assert most == 2


@ON_MOTO
async def test_memory_of_a_file_keeps_to_the_formula(lake: Bucket, source: Path) -> None:
    """Parts are read into the same few buffers: all Python memory peaks at concurrency parts and a little."""
    await lake.upload_bytes("warm", b"up")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await lake.upload_file("key", source, part_size=PART, concurrency=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2 * PART + 3 * MIB


async def test_buffers_somebody_looks_at_are_not_used_again() -> None:
    """Memory comes back once the last view of it is gone; until then new memory is taken."""
    pool = BufferPool(10)
    first = pool.take(4)
    first[:] = b"part"
    watching = first[1:]
    pool.give_back(first)
    second = pool.take(10)
    second[:] = b"0123456789"
    assert bytes(watching) == b"art"
    memory = id(second.obj)
    pool.give_back(second)
    third = pool.take(3)
    assert id(third.obj) == memory
    assert bytes(third) == b"012"
