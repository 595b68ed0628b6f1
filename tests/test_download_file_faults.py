"""File downloads through a proxy that cuts and damages: the whole verified file, or the old one."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3IntegrityError,
    S3ObjectChangedError,
    S3ThrottlingError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage._ranges import _reader as reader
from tests.support.proxied import lake, proxied, proxy, seed
from tests.support.seeding import Seeder
from tests.support.tampering import Fault, TamperingProxy

pytestmark = pytest.mark.asyncio
__all__ = ["lake", "proxied", "proxy", "seed"]  # fixtures

KIB = 1024
PART = 64 * KIB
DATA = random.Random(5).randbytes(10 * PART + 17)
OTHER = random.Random(6).randbytes(len(DATA))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A path with an old file."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def only_the_old_file(target: Path) -> bool:
    """Whether nothing happened to the folder."""
    return target.read_bytes() == b"old" and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_broken_connections_are_resumed(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path, concurrency: int
) -> None:
    """Two connections break, somewhere: the file is whole, and every later request is pinned."""
    etag = seed.put("key", DATA)
    proxy.faults.extend([Fault(cut_at=4 * PART + 5), Fault(cut_at=100)])
    info = await lake.download_file("key", target, part_size=PART, concurrency=concurrency)
    assert target.read_bytes() == DATA
    assert info.verified
    first, *others = proxy.gets
    assert "range" not in first
    assert others
    assert all(get["if-match"] == etag for get in others)


async def test_parallel_requests_do_not_overlap(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """The first reply brings the beginning, ranges bring the end; nothing is asked for twice."""
    seed.put("key", DATA)
    await lake.download_file("key", target, part_size=PART, concurrency=3)
    asked = [get["range"] for get in proxy.gets if "range" in get]
    assert len(asked) == len(set(asked)) > 0
    assert f"bytes={10 * PART}-{len(DATA) - 1}" in asked


async def test_a_small_object_is_one_request(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """Size, checksum and bytes of an object of one part come in one reply."""
    seed.put("key", DATA[:PART])
    info = await lake.download_file("key", target, part_size=PART)
    assert info.verified
    assert (len(proxy.gets), proxy.heads) == (1, 0)


async def test_a_damaged_object_is_fetched_once_more(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """One flipped bit costs one more try; the file is the good one."""
    for size in (PART, len(DATA)):
        seed.put("key", DATA[:size])
        proxy.faults.append(Fault(flip_at=5))
        info = await lake.download_file("key", target, part_size=PART, concurrency=2)
        assert (target.read_bytes(), info.verified) == (DATA[:size], True)


async def test_damage_that_stays_never_reaches_the_path(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """After two damaged tries the old file is untouched and nothing lies beside it, with every algorithm."""
    for checksum in ("CRC64NVME", "CRC32", "SHA256"):
        for size in (PART, len(DATA)):
            seed.put("key", DATA[:size], checksum=checksum)
            proxy.gets.clear()
            proxy.faults.extend(Fault(flip_at=5) for _ in range(40))
            with pytest.raises(S3IntegrityError) as caught:
                await lake.download_file("key", target, part_size=PART, concurrency=2)
            proxy.faults.clear()
            assert only_the_old_file(target)
            assert (caught.value.key, caught.value.operation) == ("key", "GetObject")
            assert len([get for get in proxy.gets if "range" not in get]) == 2


async def test_a_failing_part_ends_the_others(
    lake: Bucket,
    proxy: TamperingProxy,
    seed: Seeder,
    target: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failure itself is raised, not a group; siblings stop; the folder is as it was."""
    monkeypatch.setattr(reader, "BACKOFF_BASE", 0.0)
    seed.put("key", DATA)
    proxy.faults.extend([None, *(Fault(cut_at=0) for _ in range(100))])
    with pytest.raises(S3ConnectionError) as caught:
        await lake.download_file("key", target, part_size=PART, concurrency=3)
    assert caught.value.attempts == 3
    assert only_the_old_file(target)


async def test_a_pool_of_one_is_enough(
    settings: StorageSettings, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """Workers that get no connection in time leave their parts to the one that has it."""
    seed.put("key", DATA)
    narrow = settings.model_copy(
        update={"endpoint_url": proxy.url, "max_pool_connections": 1, "pool_timeout": 0.05}
    )
    async with StorageSession(narrow) as session:

        async def until_the_others_gave_up() -> None:
            for waiting in (True, False):
                while bool(session.statistics().pool_waiting) is not waiting:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0)

        proxy.faults.append(Fault(hold_at=PART, on_hold=until_the_others_gave_up))
        info = await session.data_lake.download_file("key", target, part_size=PART, concurrency=3)
        assert session.statistics().in_flight == 0
    assert (target.read_bytes(), info.verified, len(proxy.gets)) == (DATA, True, 1)


async def test_throttled_parts_are_retried_then_told(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """A store that asks to slow down is asked again; when it insists, the error says so."""
    seed.put("key", DATA)
    proxy.faults.extend([None, Fault(status=b"503 Slow Down"), Fault(status=b"503 Slow Down")])
    await lake.download_file("key", target, part_size=PART, concurrency=2)
    assert target.read_bytes() == DATA
    target.write_bytes(b"old")
    proxy.faults.extend([Fault(cut_at=PART), *(Fault(status=b"503 Slow Down") for _ in range(20))])
    with pytest.raises(S3ThrottlingError):
        await lake.download_file("key", target, part_size=PART, concurrency=1)
    assert only_the_old_file(target)


async def test_an_object_replaced_once_comes_in_its_new_version(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """The old parts are thrown away, the new object is fetched whole, and progress is about the new one."""
    seed.put("key", DATA)
    newer = OTHER[: 4 * PART + 3]
    seen: list[tuple[int, int | None]] = []

    async def replace() -> None:
        await asyncio.to_thread(seed.put, "key", newer)

    proxy.faults.append(Fault(hold_at=3 * PART, on_hold=replace, cut_at=3 * PART))
    await lake.download_file(
        "key", target, part_size=PART, concurrency=1, on_progress=lambda at: seen.append((at.done, at.total))
    )
    assert target.read_bytes() == newer
    assert seen[0][1] == len(DATA)
    assert seen[-1] == (len(newer), len(newer))
    assert [total for done, total in seen if done > 3 * PART] == [len(newer)] * 2


async def test_an_object_replaced_each_time_is_told(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, target: Path
) -> None:
    """After the second replacement the caller hears of it, and keeps the old file."""
    seed.put("key", DATA)
    versions = [DATA, OTHER]

    async def replace() -> None:
        await asyncio.to_thread(seed.put, "key", versions.pop())

    changed = Fault(hold_at=PART, on_hold=replace, cut_at=PART)
    proxy.faults.extend([changed, None, changed])
    with pytest.raises(S3ObjectChangedError):
        await lake.download_file("key", target, part_size=PART, concurrency=1)
    assert only_the_old_file(target)
    assert len(proxy.gets) == 4
