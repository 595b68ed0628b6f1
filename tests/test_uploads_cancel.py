"""Uploads in parts, cancelled once and twice at every await: the old object or the new, and nothing else."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, StorageSession
from tests.support.cancel import cancel_everywhere
from tests.support.faulty import FaultyClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

PART = 5 * 1024 * 1024
DATA = random.Random(6).randbytes(PART + 99)
FILE = random.Random(7).randbytes(16 * 1024 * 1024 + 5)


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, which remembers every upload it opened."""
    return FaultyClient.install(lake)


@pytest.fixture
def nothing_left(
    lake: Bucket, observer: Any, client: FaultyClient, session: StorageSession
) -> Callable[[bytes], Callable[[], Awaitable[None]]]:
    """A check: old or new object, no open upload, no slot, no clean-up, no orphan."""

    def expecting(new: bytes) -> Callable[[], Awaitable[None]]:
        async def check() -> None:
            found = observer.get_object(Bucket=lake.name, Key="key")["Body"].read()
            assert found in {b"old", new}
            assert client.still_open(observer, lake.name) == []
            client.uploads.clear()
            client.arguments.clear()
            statistics = session.statistics()
            left = statistics.in_flight, statistics.cleanups_pending, statistics.possible_orphans
            assert left == (0, 0, 0)
            observer.put_object(Bucket=lake.name, Key="key", Body=b"old")

        return check

    return expecting


@pytest.mark.parametrize("again_after", [0, 1, 3])
async def test_a_stream(lake: Bucket, observer: Any, nothing_left: Any, again_after: int) -> None:
    """The generator is closed as well, wherever it was."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"old")
    opened = closed = 0

    async def produce() -> AsyncIterator[bytes]:
        nonlocal opened, closed
        opened += 1
        try:
            for position in range(0, len(DATA), 3_000_000):
                yield DATA[position : position + 3_000_000]
        finally:
            closed += 1

    async def work() -> None:
        await lake.upload_stream("key", produce(), part_size=PART, concurrency=2)

    async def check() -> None:
        await nothing_left(DATA)()
        assert opened == closed

    assert await cancel_everywhere(work, check, again_after=again_after) >= 3


@pytest.mark.parametrize("again_after", [0, 2])
async def test_a_file(
    lake: Bucket, observer: Any, nothing_left: Any, tmp_path: Path, again_after: int
) -> None:
    """In parts read by threads."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"old")
    path = tmp_path / "file"
    path.write_bytes(FILE)

    async def work() -> None:
        await lake.upload_file("key", path, part_size=PART, concurrency=2)

    assert await cancel_everywhere(work, nothing_left(FILE), again_after=again_after) >= 3


async def test_bytes(lake: Bucket, observer: Any, nothing_left: Any) -> None:
    """In parts that are views."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"old")

    async def work() -> None:
        await lake.upload_stream("key", FILE, part_size=PART, concurrency=2)

    assert await cancel_everywhere(work, nothing_left(FILE)) >= 3


async def test_a_resumable_file(
    lake: Bucket, observer: Any, client: FaultyClient, tmp_path: Path, session: StorageSession
) -> None:
    """Cancelled at every await and called again: it ends with the whole object and no journal."""
    path, journal = tmp_path / "file", tmp_path / "journal"
    path.write_bytes(FILE)

    async def work() -> None:
        await lake.upload_file("key", path, part_size=PART, concurrency=2, resume=journal)

    async def check() -> None:
        assert len(client.still_open(observer, lake.name)) <= journal.exists()
        assert {found.name for found in tmp_path.iterdir()} <= {"file", "journal"}

    assert await cancel_everywhere(work, check) >= 3
    assert observer.get_object(Bucket=lake.name, Key="key")["Body"].read() == FILE
    assert client.still_open(observer, lake.name) == []
    assert not journal.exists()
    assert session.statistics().possible_orphans == 0
