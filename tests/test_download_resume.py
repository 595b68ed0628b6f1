"""Downloads that go on where a killed one stopped: only what is still true is kept."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3IntegrityError,
    S3LocalFileError,
    StorageSession,
)
from greenlang_async_storage import _local_files as files
from greenlang_async_storage._checksums import compute
from greenlang_async_storage.testing import StorageServer
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

KIB = 1024
PART = 64 * KIB
PARTS = 16
DATA = random.Random(8).randbytes(PARTS * PART - 9)
OTHER = random.Random(9).randbytes(len(DATA))


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket."""
    return Seeder(observer, bucket_name)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A path with an old file, in a folder of its own."""
    path = tmp_path / "data" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the journal goes."""
    return tmp_path / "journal.json"


async def interrupt(lake: Bucket, target: Path, journal: Path, *, after: int = 8 * PART) -> None:
    """Cancel a download once *after* bytes are in its file."""
    enough = asyncio.Event()

    def watch(progress: Progress) -> None:
        if progress.done >= after:
            enough.set()

    download = lake.download_file(
        "key", target, part_size=PART, concurrency=2, resume=journal, on_progress=watch
    )
    task = asyncio.create_task(download)
    await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def kept_file(target: Path) -> Path:
    """The partial file of a resumable download."""
    return files.partial_path(target, "resume")


async def fetched(session: StorageSession, download: Any) -> int:
    """The bytes that came from the store while *download* ran."""
    before = session.statistics().bytes_received
    await download
    return session.statistics().bytes_received - before


async def test_a_cancelled_download_goes_on(
    lake: Bucket, session: StorageSession, seed: Seeder, *, target: Path, journal: Path
) -> None:
    """Only the missing parts are fetched; progress begins where it stopped; nothing stays behind."""
    seed.put("key", DATA)
    await interrupt(lake, target, journal)
    assert target.read_bytes() == b"old"
    assert (kept_file(target).stat().st_mode & 0o777, journal.stat().st_mode & 0o777) == (0o600, 0o600)
    kept = len(journal.read_text().splitlines()) - 1
    assert kept >= 8
    seen: list[int] = []
    received = await fetched(
        session,
        lake.download_file(
            "key", target, part_size=PART, resume=journal, on_progress=lambda at: seen.append(at.done)
        ),
    )
    assert target.read_bytes() == DATA
    assert received <= (PARTS - kept) * PART
    assert seen[0] >= PART
    assert seen[-1] == len(DATA)
    assert list(target.parent.iterdir()) == [target]
    assert not journal.exists()


async def test_a_download_without_a_break_leaves_nothing(
    lake: Bucket, seed: Seeder, target: Path, journal: Path
) -> None:
    """With a journal in a folder still to be made, for one part and for many."""
    for size in (0, PART, len(DATA)):
        seed.put("key", DATA[:size])
        path = journal.parent / "made" / "journal"
        info = await lake.download_file("key", target, part_size=PART, resume=path)
        assert info.verified
        assert target.read_bytes() == DATA[:size]
        assert list(target.parent.iterdir()) == [target]
        assert not path.exists()


async def test_another_version_is_fetched_from_the_start(
    lake: Bucket, seed: Seeder, target: Path, journal: Path
) -> None:
    """The same size is not enough: without the same ETag nothing of the partial file is used."""
    seed.put("key", DATA)
    await interrupt(lake, target, journal)
    seed.put("key", OTHER)
    await lake.download_file("key", target, part_size=PART, resume=journal)
    assert target.read_bytes() == OTHER
    seed.put("key", DATA)
    await interrupt(lake, target, journal)
    seed.put("key", OTHER[:100])
    await lake.download_file("key", target, part_size=PART, resume=journal)
    assert target.read_bytes() == OTHER[:100]
    assert list(target.parent.iterdir()) == [target]
    assert not journal.exists()


async def test_damage_on_disk_is_fetched_again(
    lake: Bucket, session: StorageSession, seed: Seeder, *, target: Path, journal: Path
) -> None:
    """Parts whose bytes are no longer what the journal says are not kept: changed, cut off, or gone."""
    seed.put("key", DATA)

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), PART):
            data[at] ^= 1
        path.write_bytes(data)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:10])

    damages: list[Callable[[Path], object]] = [flip, cut, Path.unlink]
    for damage in damages:
        await interrupt(lake, target, journal)
        damage(kept_file(target))
        received = await fetched(session, lake.download_file("key", target, part_size=PART, resume=journal))
        assert (target.read_bytes(), received) == (DATA, len(DATA))
        target.write_bytes(b"old")


async def test_the_part_size_of_the_journal_counts(
    lake: Bucket, session: StorageSession, seed: Seeder, *, target: Path, journal: Path
) -> None:
    """A resumed download keeps the parts it has, whatever part size the second call asks for."""
    seed.put("key", DATA)
    await interrupt(lake, target, journal)
    received = await fetched(session, lake.download_file("key", target, part_size=3 * PART, resume=journal))
    assert target.read_bytes() == DATA
    assert received < len(DATA)


async def test_objects_without_a_checksum_are_resumed_too(
    lake: Bucket, session: StorageSession, seed: Seeder, *, target: Path, journal: Path
) -> None:
    """The journal's own CRCs tell what is on disk; the whole stays unverified and says so."""
    seed.put("key", DATA, checksum=None)
    await interrupt(lake, target, journal)
    received = await fetched(session, lake.download_file("key", target, part_size=PART, resume=journal))
    assert target.read_bytes() == DATA
    assert received < len(DATA)
    seed.put("sha", DATA, checksum="SHA256")
    info = await lake.download_file("sha", target, part_size=PART, resume=journal)
    assert info.verified


async def test_a_journal_that_lies_ends_in_a_fresh_download(
    lake: Bucket, session: StorageSession, seed: Seeder, *, target: Path, journal: Path
) -> None:
    """Bytes and CRCs that agree with each other, but not with the object, fail its checksum and go."""
    seed.put("key", DATA)
    await interrupt(lake, target, journal)
    header, *parts = journal.read_text().splitlines()
    index = json.loads(parts[0])[0]
    kept = bytearray(kept_file(target).read_bytes())
    kept[index * PART : (index + 1) * PART] = bytes(PART)
    kept_file(target).write_bytes(kept)
    zeros = compute("CRC64NVME", bytes(PART))
    journal.write_text("\n".join([header, json.dumps([index, zeros]), *parts[1:], ""]))
    info = await lake.download_file("key", target, part_size=PART, resume=journal)
    assert (target.read_bytes(), info.verified) == (DATA, True)
    assert list(target.parent.iterdir()) == [target]


async def test_a_file_of_the_user_is_not_taken_for_a_journal(
    lake: Bucket, session: StorageSession, seed: Seeder, target: Path, journal: Path
) -> None:
    """Something else under the journal's path is refused and left alone."""
    seed.put("key", DATA)
    journal.write_text("precious,data\n")
    with pytest.raises(S3LocalFileError, match="not the journal of a download") as caught:
        await lake.download_file("key", target, part_size=PART, resume=journal)
    assert caught.value.errno == errno.EEXIST
    assert (journal.read_text(), target.read_bytes()) == ("precious,data\n", b"old")
    assert session.statistics().requests == 0


async def test_a_second_download_does_not_share_the_partial_file(
    lake: Bucket, seed: Seeder, target: Path, journal: Path
) -> None:
    """While one resumable download to a path is under way another one is told to wait."""
    seed.put("key", DATA)
    results = await asyncio.gather(
        *(lake.download_file("key", target, part_size=PART, resume=journal) for _ in range(2)),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    assert [type(failure) for failure in failures] in ([], [S3LocalFileError])
    assert target.read_bytes() == DATA
    assert all("another download" in str(failure) for failure in failures)


async def test_require_refuses_before_anything_is_kept(
    lake: Bucket, seed: Seeder, target: Path, journal: Path
) -> None:
    """An object that may not be taken leaves neither journal nor partial file."""
    seed.put("key", DATA, checksum=None)
    with pytest.raises(S3IntegrityError):
        await lake.download_file("key", target, part_size=PART, resume=journal, verify="require")
    assert list(target.parent.iterdir()) == [target]
    assert not journal.exists()


KILLED = """
    import asyncio, os, signal
    from greenlang_async_storage import StorageSession, StorageSettings

    def die(progress):
        if progress.done >= {after}:
            os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        settings = StorageSettings(
            endpoint_url={url!r}, region="us-east-1", access_key_id={access!r}, secret_access_key={secret!r}
        )
        async with StorageSession(settings) as session:
            await session.bucket({bucket!r}).download_file(
                "key", {target!r}, part_size={part}, concurrency=2, resume={journal!r}, on_progress=die
            )

    asyncio.run(main())
"""


async def test_a_killed_process_is_taken_over(
    lake: Bucket,
    session: StorageSession,
    server: StorageServer,
    seed: Seeder,
    *,
    target: Path,
    journal: Path,
) -> None:
    """After SIGKILL the path has the old file; the rest is fetched, or without a journal all of it."""
    await asyncio.to_thread(seed.put, "key", DATA)
    settings = server.settings_kwargs()
    for kept in (str(journal), None):
        script = textwrap.dedent(KILLED).format(
            after=8 * PART,
            url=server.endpoint_url,
            access=settings["access_key_id"],
            secret=settings["secret_access_key"],
            bucket=lake.name,
            target=str(target),
            part=PART,
            journal=kept,
        )
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script], capture_output=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert target.read_bytes() == b"old"
        received = await fetched(session, lake.download_file("key", target, part_size=PART, resume=journal))
        assert target.read_bytes() == DATA
        assert (received < len(DATA)) is (kept is not None)
        target.write_bytes(b"old")
    left = [path for path in target.parent.iterdir() if path != target]
    assert await asyncio.to_thread(files.sweep_partial_files, target.parent, -60) == left
    assert len(left) == 1
