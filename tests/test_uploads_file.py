"""Files: exact bytes, read where they are needed, and never a mixture of what a file was and became."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3AccessDeniedError,
    S3Error,
    S3InvalidRequestError,
    S3LocalFileError,
    StorageSession,
)
from greenlang_async_storage._concurrency import _progress
from greenlang_async_storage._uploads import _source
from tests.support.faulty import FaultyClient, answer
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
THRESHOLD = 16 * MIB
DATA = random.Random(9).randbytes(THRESHOLD + 2 * PART)
LARGE = DATA[: THRESHOLD + PART + 3]
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that goes in parts."""
    path = tmp_path / "source.bin"
    path.write_bytes(LARGE)
    return path


def stored(observer: Any, bucket: str, key: str = "key") -> bytes:
    """What a plain client reads."""
    return bytes(observer.get_object(Bucket=bucket, Key=key)["Body"].read())


def holds_open(path: Path) -> bool:
    """Whether this process has the file open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if descriptor.readlink() == path:
                return True
    return False


@pytest.mark.parametrize(
    "size", [0, 1, PART - 1, PART, PART + 1, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 4 * PART, 4 * PART + 1]
)
async def test_files_of_every_size(
    lake: Bucket, observer: Any, client: FaultyClient, tmp_path: Path, size: int
) -> None:
    """Exact bytes, size, hash and checksum; one request below the threshold, else parts."""
    path = tmp_path / "data.csv"
    path.write_bytes(DATA[:size])
    result = await lake.upload_file("key", path, part_size=PART, concurrency=3)
    assert not holds_open(path)
    assert stored(observer, lake.name) == DATA[:size]
    assert result.size == size
    assert client.calls["put_object"] == (size < THRESHOLD)
    assert client.calls["upload_part"] == (0 if size < THRESHOLD else -(-size // PART))
    info = await lake.head("key")
    assert info.metadata == {"content-hash": hashlib.sha256(DATA[:size]).hexdigest()}
    assert result.checksum is not None
    assert result.checksum.type == "FULL_OBJECT"
    assert client.still_open(observer, lake.name) == []


async def test_the_checksum_of_a_file_in_parts_is_the_stores_own(
    lake: Bucket, observer: Any, source: Path
) -> None:
    """The CRCs of the parts, combined, are what the store computed over the whole object."""
    result = await lake.upload_file("key", source, part_size=PART)
    head = observer.head_object(Bucket=lake.name, Key="key", ChecksumMode="ENABLED")
    assert result.checksum is not None
    assert head["ChecksumCRC64NVME"] == result.checksum.value


@ON_MOTO
async def test_a_hash_the_caller_knows_saves_a_pass(
    lake: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `content-hash` given, the file is not read a second time to compute it."""
    monkeypatch.delattr(_source.SourceFile, "hasher")
    await lake.upload_file("key", source, metadata={"content-hash": "known"})
    assert (await lake.head("key")).metadata == {"content-hash": "known"}


@ON_MOTO
async def test_files_are_never_read_on_the_loop(
    lake: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening, hashing and reading happen in threads."""
    threads = set()
    fstat = os.fstat

    def watched(descriptor: int) -> os.stat_result:
        threads.add(threading.get_ident())
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", watched)
    await lake.upload_file("key", source, part_size=PART)
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("make", "number", "text"),
    [
        (lambda path: None, 2, "No such file"),
        (lambda path: path.mkdir(), 21, "directory"),
        (lambda path: path.symlink_to(path), 40, "symbolic links"),
    ],
)
@ON_MOTO
async def test_what_cannot_be_read_is_a_local_error(
    lake: Bucket, tmp_path: Path, make: Callable[[Path], None], number: int, text: str
) -> None:
    """Missing files, directories and loops of links: typed, with errno and the path, nothing sent."""
    client, path = FaultyClient.install(lake), tmp_path / "thing"
    make(path)
    with pytest.raises(S3LocalFileError, match=text) as caught:
        await lake.upload_file("key", path)
    assert caught.value.errno == number
    assert str(path) in str(caught.value)
    assert not client.calls


@ON_MOTO
async def test_a_read_error_ends_the_upload(
    lake: Bucket, observer: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO in the middle: `S3LocalFileError`, and the upload is aborted."""
    client, preadv = FaultyClient.install(lake), os.preadv

    def broken(descriptor: int, views: list[memoryview], offset: int) -> int:
        if offset:
            raise OSError(5, "Input/output error")
        return preadv(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(S3LocalFileError) as caught:
        await lake.upload_file("key", source, part_size=PART, metadata={"content-hash": "known"})
    assert len(client.uploads) == 1
    assert caught.value.errno == 5
    assert client.still_open(observer, lake.name) == []


@ON_MOTO
async def test_a_pipe_is_read_as_a_stream(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """A fifo has neither size nor offsets: all that comes through it is stored."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = asyncio.create_task(asyncio.to_thread(path.write_bytes, DATA))
    await lake.upload_file("key", path, part_size=PART)
    await writer
    assert stored(observer, lake.name) == DATA
    with pytest.raises(S3InvalidRequestError, match="cannot be resumed"):
        await lake.upload_file("key", path, resume=tmp_path / "journal")


@ON_MOTO
async def test_reads_the_system_cuts_short_are_continued(
    lake: Bucket, observer: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read gives at most 2 GiB; what it leaves is read on."""
    preadv = os.preadv

    def short(descriptor: int, views: list[memoryview], offset: int) -> int:
        return preadv(descriptor, [views[0][:40_000]], offset)

    monkeypatch.setattr(os, "preadv", short)
    await lake.upload_file("key", source, part_size=PART)
    assert stored(observer, lake.name) == LARGE


async def test_a_refused_part_leaves_nothing(
    lake: Bucket, observer: Any, client: FaultyClient, source: Path, session: StorageSession
) -> None:
    """A part the store refuses: the typed error, no upload, no descriptor, no slot."""
    client.plan("upload_part", None, answer(error_reply("AccessDenied", 403)))
    with pytest.raises(S3AccessDeniedError):
        await lake.upload_file("key", source, part_size=PART, concurrency=2)
    assert not holds_open(source)
    assert client.still_open(observer, lake.name) == []
    assert session.statistics().in_flight == 0


async def test_a_cancel_half_way_leaves_nothing(
    lake: Bucket, observer: Any, client: FaultyClient, source: Path, session: StorageSession
) -> None:
    """Cancelled with parts on their way: no upload, no descriptor, no slot, no clean-up."""
    reached = asyncio.Event()

    async def hold(call: Any, arguments: dict[str, Any]) -> Any:
        reached.set()
        await asyncio.Event().wait()

    client.plan("upload_part", None, None, hold)
    task = asyncio.create_task(lake.upload_file("key", source, part_size=PART, concurrency=2))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not holds_open(source)
    assert not await lake.exists("key")
    assert client.still_open(observer, lake.name) == []
    statistics = session.statistics()
    assert (statistics.in_flight, statistics.cleanups_pending, statistics.possible_orphans) == (0, 0, 0)


async def test_an_abort_that_fails_is_noted_and_counted(
    lake: Bucket, observer: Any, client: FaultyClient, source: Path, session: StorageSession
) -> None:
    """The first failure is the one that is raised; the abort's is a note on it, and a possible orphan."""
    client.plan("upload_part", answer(error_reply("AccessDenied", 403)))
    client.always["abort_multipart_upload"] = answer(error_reply("MethodNotAllowed", 405))
    with pytest.raises(S3AccessDeniedError) as caught:
        await lake.upload_file("key", source, part_size=PART, concurrency=1)
    assert "AbortMultipartUpload" in " ".join(caught.value.__notes__)
    assert session.statistics().possible_orphans == 1
    [(key, upload_id)] = client.uploads
    observer.abort_multipart_upload(Bucket=lake.name, Key=key, UploadId=upload_id)


async def test_progress_of_a_file(lake: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cumulative bytes of a known total, which the last event reaches."""
    # A busy machine may stop us in the hook, which would count as a slow one and be called less often.
    monkeypatch.setattr(_progress, "SLOW_HOOK_SECONDS", math.inf)
    events: list[Progress] = []
    await lake.upload_file("key", source, part_size=PART, on_progress=events.append)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert len(done) >= 5
    assert {event.total for event in events} == {len(LARGE)}
    assert done[-1] == len(LARGE)


async def test_two_uploads_of_one_file_at_once(
    lake: Bucket, observer: Any, client: FaultyClient, source: Path
) -> None:
    """Each has a descriptor of its own: they do not move each other's reads."""
    await asyncio.gather(*(lake.upload_file(key, source, part_size=PART) for key in ("key", "other")))
    assert stored(observer, lake.name) == stored(observer, lake.name, "other") == LARGE


@ON_MOTO
async def test_errors_are_all_storage_errors(lake: Bucket, tmp_path: Path) -> None:
    """`except S3Error` is enough for a path that is not there."""
    with pytest.raises(S3Error):
        await lake.upload_file("key", tmp_path / "missing")
