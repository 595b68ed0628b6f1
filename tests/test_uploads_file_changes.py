"""Files that change while they are uploaded: found, refused, and nothing is stored of the mixture."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3SourceChangedError
from greenlang_async_storage._uploads import _source
from tests.support.faulty import FaultyClient

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
LARGE = random.Random(9).randbytes(16 * MIB + PART + 3)
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that goes in parts."""
    path = tmp_path / "source.bin"
    path.write_bytes(LARGE)
    return path


def append(path: Path) -> None:
    """One byte more."""
    with path.open("ab") as file:
        file.write(b"x")


def truncate(path: Path) -> None:
    """Shorter than one part."""
    os.truncate(path, 1000)


def overwrite(path: Path) -> None:
    """Other bytes, the same size, the old modification time put back."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(len(LARGE) - 10)
        file.write(b"0123456789")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file under the same name."""
    other = path.with_name("other")
    other.write_bytes(LARGE[::-1])
    other.replace(path)


@pytest.mark.parametrize("change", [append, truncate, overwrite, replace])
@pytest.mark.parametrize("part", [1, 2, 5])
async def test_a_file_that_changes_is_not_stored(
    lake: Bucket, observer: Any, source: Path, change: Callable[[Path], None], part: int
) -> None:
    """Modified, truncated, rewritten or replaced at any part: `S3SourceChangedError`, upload aborted."""
    client = FaultyClient.install(lake)

    async def interfere(call: Any, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(change, source)
        return await call(**arguments)

    client.plan("upload_part", *[None] * (part - 1), interfere)
    with pytest.raises(S3SourceChangedError, match=r"changed while it was uploaded") as caught:
        await lake.upload_file("key", source, part_size=PART, concurrency=1)
    assert (caught.value.key, caught.value.outcome) == ("key", "not_applied")
    assert not await lake.exists("key")
    assert client.still_open(observer, lake.name) == []


@ON_MOTO
async def test_a_change_without_a_trace_is_found_by_content(
    lake: Bucket, observer: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that differ from those hashed, though size and times agree, are not stored under that hash."""
    client = FaultyClient.install(lake)

    async def interfere(call: Any, arguments: dict[str, Any]) -> Any:
        monkeypatch.setattr(_source.SourceFile, "check", lambda _self: None)
        await asyncio.to_thread(overwrite, source)
        return await call(**arguments)

    client.plan("create_multipart_upload", interfere)
    with pytest.raises(S3SourceChangedError, match="differs from what was hashed"):
        await lake.upload_file("key", source, part_size=PART)
    assert client.still_open(observer, lake.name) == []


@ON_MOTO
async def test_a_small_file_that_changes_is_not_stored(
    lake: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file written to while its few bytes are read is refused, too."""
    path = tmp_path / "small"
    path.write_bytes(b"before")
    preadv = os.preadv

    def interfere(descriptor: int, views: list[memoryview], offset: int) -> int:
        count = preadv(descriptor, views, offset)
        append(path)
        return count

    monkeypatch.setattr(os, "preadv", interfere)
    with pytest.raises(S3SourceChangedError, match="its size went from 6 to 7 bytes"):
        await lake.upload_file("key", path)
    assert not await lake.exists("key")


@ON_MOTO
async def test_a_file_that_gives_more_than_its_size_is_refused(lake: Bucket) -> None:
    """The files of /proc say that they are empty; storing nothing for them would be silent loss."""
    with pytest.raises(S3SourceChangedError, match="more bytes than its size of 0"):
        await lake.upload_file("key", "/proc/self/status")
