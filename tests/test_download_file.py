"""Objects as local files: exact, verified, in place in one step, and nothing left behind when it fails."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3IntegrityError,
    S3LocalFileError,
    S3NotFoundError,
    StorageSession,
)
from greenlang_async_storage.testing import StorageServer
from tests.support.cancel import cancel_everywhere
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

KIB = 1024
PART = 64 * KIB
MIB = 1024 * KIB
DATA = random.Random(3).randbytes(10 * PART + 17)
OTHER = random.Random(4).randbytes(len(DATA))


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket."""
    return Seeder(observer, bucket_name)


def names_in(folder: Path) -> list[str]:
    """What the folder holds."""
    return sorted(path.name for path in folder.iterdir())


async def test_files_of_every_size(
    lake: Bucket, session: StorageSession, seed: Seeder, tmp_path: Path
) -> None:
    """Around the sizes at which parts begin, with one worker and many: exact, verified, no slot kept."""
    for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART, 10 * PART + 17):
        seed.put("key", DATA[:size])
        for concurrency in (1, 3, 20):
            info = await lake.download_file("key", tmp_path / "file", part_size=PART, concurrency=concurrency)
            assert (tmp_path / "file").read_bytes() == DATA[:size]
            assert (info.key, info.size, info.verified) == ("key", size, True)
    assert names_in(tmp_path) == ["file"]
    assert session.statistics().in_flight == 0


async def test_parts_of_odd_lengths(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Any part size gives the same file."""
    seed.put("key", DATA[:5000])
    for part_size in (1, 7, 999, 4999, 5000, 5001, 8 * MIB):
        limit = 40 if part_size == 1 else 5000
        seed.put("key", DATA[:limit])
        await lake.download_file("key", tmp_path / "file", part_size=part_size, concurrency=4)
        assert (tmp_path / "file").read_bytes() == DATA[:limit]


async def test_large_parts_come_over_several_connections(
    lake: Bucket, session: StorageSession, seed: Seeder, tmp_path: Path
) -> None:
    """The default part size works on an object of many parts, and every byte is fetched once."""
    data = DATA * 64
    seed.put("key", data)
    info = await lake.download_file("key", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data
    assert info.verified
    assert session.statistics().requests > 1
    assert session.statistics().bytes_received == len(data)


async def test_directories_are_made(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """For small and for large objects, but not for a missing key."""
    seed.put("key", DATA)
    for part_size in (PART, MIB):
        target = tmp_path / str(part_size) / "a" / "b" / "file"
        await lake.download_file("key", str(target), part_size=part_size)
        assert target.read_bytes() == DATA
    with pytest.raises(S3NotFoundError):
        await lake.download_file("missing", tmp_path / "never" / "file")
    assert not (tmp_path / "never").exists()


@pytest.mark.allow_blocking("the hook works while the download waits for it")
async def test_an_existing_file_is_replaced_in_one_step(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Its mode is kept, a new file has the umask's, and while it comes only a private file is there."""
    seed.put("key", DATA)
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o640)
    seen: set[tuple[bytes, tuple[int, ...]]] = set()

    def look(progress: Progress) -> None:
        if progress.done < len(DATA):
            parts = [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
            seen.add((target.read_bytes(), tuple(stat.S_IMODE(path.stat().st_mode) for path in parts)))

    await lake.download_file("key", target, part_size=PART, on_progress=look)
    assert seen == {(b"old", (0o600,))}
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (DATA, 0o640)
    mask = os.umask(0o027)
    try:
        for part_size in (PART, MIB):
            await lake.download_file("key", tmp_path / str(part_size), part_size=part_size)
            assert stat.S_IMODE((tmp_path / str(part_size)).stat().st_mode) == 0o640
    finally:
        os.umask(mask)


async def test_durable_files_are_synced(
    lake: Bucket, seed: Seeder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before its rename, the directory after it; nothing with `durable=False`."""
    seed.put("key", DATA)
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        synced.append(
            "directory" if stat.S_ISDIR(mode) else f"file, in place: {(tmp_path / 'file').exists()}"
        )
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for part_size in (PART, MIB):
        (tmp_path / "file").unlink(missing_ok=True)
        synced.clear()
        await lake.download_file("key", tmp_path / "file", part_size=part_size)
        assert synced == ["file, in place: False", "directory"]
        await lake.download_file("key", tmp_path / "file", part_size=part_size, durable=False)
        assert len(synced) == 2


async def test_progress_is_cumulative(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """`done` grows part by part up to the size; an async hook is awaited; a broken one does no harm."""
    seed.put("key", DATA)
    for part_size in (PART, MIB):
        seen: list[Progress] = []
        await lake.download_file("key", tmp_path / "file", part_size=part_size, on_progress=seen.append)
        done = [event.done for event in seen]
        assert done == sorted(done)
        assert (done[-1], seen[-1].total, seen[-1].key) == (len(DATA), len(DATA), "key")

    async def broken(_: Progress) -> None:
        raise LookupError("the hook's own")

    await lake.download_file("key", tmp_path / "file", part_size=PART, on_progress=broken)
    assert (tmp_path / "file").read_bytes() == DATA


async def test_cancel_half_way_leaves_the_old_file(
    lake: Bucket, session: StorageSession, seed: Seeder, tmp_path: Path
) -> None:
    """No temporary file, no slot, no task, and the bytes that were there before."""
    seed.put("key", DATA)
    target = tmp_path / "file"
    target.write_bytes(b"old")
    half_way = asyncio.Event()
    task = asyncio.create_task(
        lake.download_file(
            "key",
            target,
            part_size=PART,
            on_progress=lambda progress: half_way.set() if progress.done > len(DATA) // 2 else None,
        )
    )
    await half_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (target.read_bytes(), names_in(tmp_path)) == (b"old", ["file"])
    assert session.statistics().in_flight == 0


async def test_cancel_anywhere_leaves_old_or_new(
    lake: Bucket, session: StorageSession, seed: Seeder, tmp_path: Path
) -> None:
    """At each await, also twice: the file is the old or the whole new one, and nothing is left behind."""
    seed.put("key", DATA[: 4 * PART])
    target = tmp_path / "file"
    target.write_bytes(b"old")

    async def whole() -> None:
        assert target.read_bytes() in {b"old", DATA[: 4 * PART]}
        assert names_in(tmp_path) == ["file"]
        assert session.statistics().in_flight == 0
        target.write_bytes(b"old")

    for part_size in (PART, MIB):
        for again_after in (0, 1):

            def work(part_size: int = part_size) -> Any:
                return lake.download_file("key", target, part_size=part_size, durable=False)

            assert await cancel_everywhere(work, whole, again_after=again_after) > 1


async def test_two_downloads_to_one_path(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Each writes its own temporary file; the path holds one object whole at any time."""
    seed.put("one", DATA)
    seed.put("two", OTHER)
    target = tmp_path / "file"
    await asyncio.gather(
        *(lake.download_file(key, target, part_size=PART) for key in ("one", "two", "one", "two"))
    )
    assert target.read_bytes() in {DATA, OTHER}
    assert names_in(tmp_path) == ["file"]


@pytest.mark.allow_blocking("the hook works while the download waits for it")
async def test_an_object_replaced_meanwhile_is_one_version(
    lake: Bucket, seed: Seeder, tmp_path: Path
) -> None:
    """A hook that overwrites the object half-way: the file is the one or the other, never a mix."""
    seed.put("key", DATA)
    left = [OTHER]

    def overwrite(progress: Progress) -> None:
        if left and progress.done > PART:
            seed.put("key", left.pop())

    info = await lake.download_file(
        "key", tmp_path / "file", part_size=PART, concurrency=3, on_progress=overwrite
    )
    assert (tmp_path / "file").read_bytes() in {DATA, OTHER}
    assert info.verified
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("size", [1000, len(DATA)], ids=["small", "large"])
async def test_objects_without_a_checksum(lake: Bucket, seed: Seeder, tmp_path: Path, size: int) -> None:
    """Read and marked as not verified; refused with `verify="require"`, before the file is touched."""
    seed.put("key", DATA[:size], checksum=None)
    target = tmp_path / "file"
    info = await lake.download_file("key", target, part_size=PART)
    assert (target.read_bytes(), info.verified, info.checksum) == (DATA[:size], False, None)
    target.write_bytes(b"old")
    with pytest.raises(S3IntegrityError, match=r"the store has none.*GREENLANG_STORAGE_CHECKSUM"):
        await lake.download_file("key", target, part_size=PART, verify="require")
    assert (target.read_bytes(), names_in(tmp_path)) == (b"old", ["file"])


async def test_places_that_cannot_be_written(
    lake: Bucket, session: StorageSession, seed: Seeder, tmp_path: Path
) -> None:
    """A directory, a file in the way and a name too long: typed, with errno, at once, nothing left."""
    seed.put("key", DATA)
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_bytes(b"kept")
    cases = [
        (tmp_path / "folder", errno.EISDIR),
        (tmp_path / "plain" / "file", errno.ENOTDIR),
        (tmp_path / "plain" / "below" / "file", errno.ENOTDIR),
        (tmp_path / ("n" * 300), errno.ENAMETOOLONG),
    ]
    for target, code in cases:
        for part_size in (PART, MIB):
            with pytest.raises(S3LocalFileError) as caught:
                await lake.download_file("key", target, part_size=part_size)
            assert (caught.value.errno, caught.value.key, caught.value.retryable) == (code, "key", False)
    assert names_in(tmp_path) == ["folder", "plain"]
    assert session.statistics().in_flight == 0


async def test_mistakes_are_found_before_anything_is_sent(
    lake: Bucket, session: StorageSession, tmp_path: Path
) -> None:
    """Values that can never work are TypeError or ValueError that name the limit."""
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"part_size": 0}, ValueError, "Pass 1 to"),
        ({"part_size": 6 * 1024**3}, ValueError, "Pass 1 to"),
        ({"part_size": "8MiB"}, TypeError, "must be an int"),
        ({"concurrency": 0}, ValueError, "Pass 1 to"),
        ({"concurrency": True}, TypeError, "must be an int"),
        ({"verify": "always"}, ValueError, "if-available, require"),
        ({"resume": tmp_path / "file"}, ValueError, "its own file"),
        ({"path": ""}, ValueError, "names no file"),
        ({"path": str(tmp_path) + "/"}, ValueError, "names no file"),
    ]
    for options, error, text in wrong:
        arguments = {"path": tmp_path / "file", **options}
        with pytest.raises(error, match=text):
            await lake.download_file("key", **arguments)
    assert session.statistics().requests == 0


LIMITED = """
    import asyncio, os, resource, sys
    from greenlang_async_storage import S3LocalFileError, StorageSession, StorageSettings

    async def main():
        settings = StorageSettings(
            endpoint_url={url!r}, region="us-east-1", access_key_id={access!r}, secret_access_key={secret!r}
        )
        async with StorageSession(settings) as session:
            lake = session.bucket({bucket!r})
            await lake.head("key")
            resource.setrlimit(getattr(resource, {limit!r}), ({value}, {value}))
            try:
                await lake.download_file("key", {target!r}, part_size={part})
            except S3LocalFileError as exc:
                print("errno", exc.errno)
            print("in flight", session.statistics().in_flight)

    asyncio.run(main())
"""


@pytest.mark.parametrize("part_size", [PART, MIB], ids=["large", "small"])
async def test_a_full_disk_is_told_and_leaves_nothing(
    server: StorageServer, bucket_name: str, seed: Seeder, tmp_path: Path, part_size: int
) -> None:
    """A limit on file sizes stands for a full disk: EFBIG, the old file untouched, nothing beside it."""
    await asyncio.to_thread(seed.put, "key", DATA)
    target = tmp_path / "file"
    target.write_bytes(b"old")
    settings = server.settings_kwargs()
    script = textwrap.dedent(LIMITED).format(
        url=server.endpoint_url,
        access=settings["access_key_id"],
        secret=settings["secret_access_key"],
        bucket=bucket_name,
        limit="RLIMIT_FSIZE",
        value=len(DATA) // 2,
        target=str(target),
        part=part_size,
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"errno {errno.EFBIG}", "in flight 0"], done.stderr
    assert (target.read_bytes(), names_in(tmp_path)) == (b"old", ["file"])


async def test_parts_of_many_windows(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Parts larger than the buffers they pass through are exact, and their CRC is that of the whole part."""
    data = random.Random(5).randbytes(11 * MIB + 17)
    seed.put("key", data)
    for part_size, concurrency in ((5 * MIB + 1, 1), (3 * MIB, 2), (5 * MIB, 3)):
        info = await lake.download_file(
            "key",
            tmp_path / "file",
            part_size=part_size,
            concurrency=concurrency,
            resume=tmp_path / "journal",
        )
        assert (tmp_path / "file").read_bytes() == data
        assert info.verified
