from __future__ import annotations

import array
import gzip
import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage._chunks import known_size, measure


def generator() -> Iterator[bytes]:
    """A source without a size."""
    yield b""


async def async_generator() -> AsyncIterator[bytes]:
    """A source without a size."""
    yield b""


def stands_at(position: int) -> io.BytesIO:
    """Ten bytes, some of them read."""
    file = io.BytesIO(bytes(10))
    file.seek(position)
    return file


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("source", "size"),
    [
        (b"123", 3),
        (bytearray(5), 5),
        (memoryview(bytes(12)).cast("I"), 12),
        (array.array("H", [1, 2]), 4),
        ([b"12", bytearray(3), memoryview(b"1")], 6),
        ((), 0),
        ([b"12", "text"], None),
        (stands_at(0), 10),
        (stands_at(4), 6),
        (stands_at(40), 0),
        (generator(), None),
        (async_generator(), None),
        (gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"123"))), None),
        (io.StringIO("text"), None),
        (7, None),
        ("/no/such/file", None),
    ],
)
async def test_sizes(source: Any, size: int | None) -> None:
    """The size is told where it can be known without reading, from where the source stands."""
    assert await measure(source) == size


@pytest.mark.asyncio
async def test_sizes_of_files(tmp_path: Path) -> None:
    """Paths and open files tell their size; folders and wrappers that change the bytes do not."""
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    assert await measure(path) == await measure(str(path)) == 1000
    assert await measure(tmp_path) is None
    for buffering in (0, -1):
        with path.open("rb", buffering=buffering) as file:
            file.seek(400)
            assert await measure(file) == 600
        assert await measure(file) is None
    with gzip.open(tmp_path / "data.gz", "wb") as packed:
        packed.write(bytes(1000))
    with gzip.open(tmp_path / "data.gz", "rb") as packed:
        assert await measure(packed) is None
        assert await measure(io.BufferedReader(packed)) is None


def test_sizes_of_pipes() -> None:
    """A pipe has no size."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb"):
        assert known_size(file) is None
