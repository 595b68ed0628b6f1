"""Downloads through a proxy that cuts and damages: resumed, read once more, or refused; never wrong bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3IntegrityError,
    S3ObjectChangedError,
    S3TimeoutError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage import _ranges as ranges
from greenlang_async_storage._ranges import _reader as reader
from tests.support.proxied import lake, proxied, proxy, seed
from tests.support.seeding import Seeder
from tests.support.tampering import Fault, TamperingProxy

pytestmark = pytest.mark.asyncio
__all__ = ["lake", "proxied", "proxy", "seed"]  # fixtures

KIB = 1024
MIB = 1024 * KIB
DATA = random.Random(11).randbytes(2 * MIB + 5)
OTHER = random.Random(12).randbytes(2 * MIB + 5)


async def stream(lake: Bucket, key: str = "key") -> bytes:
    """The object, read as a stream."""
    async with lake.open_download(key) as body:
        return b"".join([chunk async for chunk in body])


@pytest.mark.parametrize("read", [stream, Bucket.download_bytes], ids=["stream", "bytes"])
async def test_a_cut_body_is_resumed(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, read: Callable[[Bucket, str], Any]
) -> None:
    """After a broken connection the rest is fetched from the last good byte, held to the same version."""
    etag = seed.put("key", DATA)
    proxy.faults.extend([Fault(cut_at=MIB), Fault(cut_at=512 * KIB), None])
    assert await read(lake, "key") == DATA
    first, second, third = proxy.gets
    assert "range" not in first
    resumed = [int(get["range"].removeprefix("bytes=").partition("-")[0]) for get in (second, third)]
    assert 0 < resumed[0] <= MIB
    assert resumed[0] < resumed[1] <= resumed[0] + 512 * KIB
    assert all(get["range"].endswith(f"-{len(DATA) - 1}") for get in (second, third))
    assert [get["if-match"] for get in (second, third)] == [etag, etag]


async def test_small_bodies_are_fetched_again(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """A body of one piece that was cut arrives whole at the next try."""
    seed.put("key", DATA[:1000])
    proxy.faults.extend([Fault(cut_at=0), Fault(cut_at=999), None])
    assert await lake.download_bytes("key") == DATA[:1000]


async def test_tries_without_progress_are_limited(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `max_attempts` connections that brought next to nothing the failure is raised."""
    monkeypatch.setattr(reader, "BACKOFF_BASE", 0.0)
    seed.put("key", DATA)
    proxy.faults.extend(Fault(cut_at=10) for _ in range(10))
    with pytest.raises(S3ConnectionError) as caught:
        await lake.download_bytes("key")
    assert (len(proxy.gets), caught.value.attempts) == (3, 3)
    assert (caught.value.key, caught.value.retryable) == ("key", True)


async def test_progress_renews_the_tries(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """Connections that each bring a good piece may break as often as they like."""
    seed.put("key", DATA * 2)
    # aiohttp drops up to 192 KiB that arrived before the break.
    proxy.faults.extend(Fault(cut_at=512 * KIB) for _ in range(6))
    assert await stream(lake) == DATA * 2
    assert len(proxy.gets) == 7


async def test_without_retries_nothing_is_resumed(
    proxied: StorageSettings, proxy: TamperingProxy, seed: Seeder
) -> None:
    """`RETRY_MODE=none` means one attempt, of bodies too."""
    seed.put("key", DATA)
    proxy.faults.append(Fault(cut_at=MIB))
    async with StorageSession(proxied.model_copy(update={"retry_mode": "none"})) as session:
        with pytest.raises(S3ConnectionError):
            await session.data_lake.download_bytes("key")
    assert len(proxy.gets) == 1


async def test_a_silent_body_is_a_timeout_and_resumed(
    proxied: StorageSettings, proxy: TamperingProxy, seed: Seeder
) -> None:
    """A body that stops coming is given up after the stall limit and resumed elsewhere."""
    seed.put("key", DATA)
    never = asyncio.Event()
    impatient = proxied.model_copy(update={"stall_timeout": 0.2})
    async with StorageSession(impatient) as session:
        proxy.faults.append(Fault(hold_at=MIB, on_hold=never.wait))
        assert await session.data_lake.download_bytes("key") == DATA
        proxy.faults.extend(Fault(hold_at=0, on_hold=never.wait) for _ in range(3))
        with pytest.raises(S3TimeoutError):
            await session.data_lake.download_bytes("key")


async def test_a_slow_reader_is_no_stall(
    proxied: StorageSettings, proxy: TamperingProxy, seed: Seeder
) -> None:
    """Time the reader takes between two chunks is not counted against the store."""
    seed.put("key", DATA)
    impatient = proxied.model_copy(update={"stall_timeout": 0.05})
    async with StorageSession(impatient) as session, session.data_lake.open_download("key") as body:
        first = await anext(body)
        await asyncio.sleep(0.2)
        assert first + await body.read() == DATA
    assert len(proxy.gets) == 1


async def test_a_damaged_body_is_read_once_more(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """One flipped bit is noticed, and the second reply is taken."""
    seed.put("key", DATA)
    proxy.faults.append(Fault(flip_at=MIB))
    assert await lake.download_bytes("key") == DATA
    assert len(proxy.gets) == 2


async def test_twice_damaged_is_an_integrity_error(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """Damage that stays is told, with the checksum, after exactly two tries."""
    seed.put("key", DATA)
    proxy.faults.extend(Fault(flip_at=at) for at in (0, 5))
    with pytest.raises(S3IntegrityError) as caught:
        await lake.download_bytes("key")
    assert (caught.value.key, caught.value.operation) == ("key", "GetObject")
    assert len(proxy.gets) == 2


async def test_a_damaged_stream_raises_at_its_end(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """What was given out already cannot be read again, so the reader is told before it is done."""
    seed.put("key", DATA)
    proxy.faults.append(Fault(flip_at=3))
    async with lake.open_download("key") as body:
        given = len(await anext(body))
        with pytest.raises(S3IntegrityError):
            given += len(await body.read())
    assert not body.info.verified
    assert 0 < given < len(DATA)
    assert len(proxy.gets) == 1


async def test_damage_in_a_resumed_body_is_noticed(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """The checksum covers the object, whatever number of replies it came in."""
    seed.put("key", DATA)
    proxy.faults.extend([Fault(cut_at=MIB), Fault(flip_at=100), None])
    assert await lake.download_bytes("key") == DATA
    assert len(proxy.gets) == 3
    assert "range" not in proxy.gets[2]


async def test_an_object_replaced_under_a_stream_is_told(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder
) -> None:
    """A stream never goes on with the bytes of another version, also of the same size."""
    seed.put("key", DATA)

    async def replace() -> None:
        await asyncio.to_thread(seed.put, "key", OTHER)

    proxy.faults.append(Fault(hold_at=MIB, on_hold=replace, cut_at=MIB))
    with pytest.raises(S3ObjectChangedError) as caught:
        await stream(lake)
    assert caught.value.retryable
    assert "version_id=" in str(caught.value)


async def test_a_deleted_object_is_told(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """A key that goes away in the middle is no S3NotFoundError: it was there."""
    seed.put("key", DATA)

    async def delete() -> None:
        await asyncio.to_thread(seed.delete, "key")

    proxy.faults.append(Fault(hold_at=MIB, on_hold=delete, cut_at=MIB))
    with pytest.raises(S3ObjectChangedError):
        await stream(lake)


async def test_bytes_of_a_replaced_object_are_read_once_more(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder
) -> None:
    """`download_bytes` starts again and gives the new version whole."""
    seed.put("key", DATA)

    async def replace() -> None:
        await asyncio.to_thread(seed.put, "key", OTHER)

    proxy.faults.append(Fault(hold_at=MIB, on_hold=replace, cut_at=MIB))
    assert await lake.download_bytes("key") == OTHER


async def test_an_old_version_outlives_an_overwrite(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder
) -> None:
    """In a bucket with versions a broken stream goes on with the version it began with, deleted or not."""
    seed.keep_versions()
    for change in (lambda: seed.put("key", OTHER), lambda: seed.delete("key")):
        seed.put("key", DATA)
        proxy.gets.clear()

        async def hold(change: Callable[[], object] = change) -> None:
            await asyncio.to_thread(change)

        proxy.faults.append(Fault(hold_at=MIB, on_hold=hold, cut_at=MIB))
        assert await stream(lake) == DATA
        assert len(proxy.gets) == 3, "the body, the refused If-Match, the version"


async def test_a_cache_that_ignores_ranges_is_refused(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder
) -> None:
    """Bytes from another place than the one asked for are never taken."""
    seed.put("key", DATA)
    proxy.faults.extend([Fault(cut_at=MIB), Fault(repeat_first=True), Fault(repeat_first=True)])
    with pytest.raises(S3IntegrityError, match="honours the Range header"):
        await stream(lake)
    with pytest.raises(S3IntegrityError, match="asked for bytes 10-20, the store sent 0-"):
        await lake.download_bytes("key", range=(10, 20))


async def test_a_cache_that_ignores_conditions_is_refused(
    lake: Bucket, proxy: TamperingProxy, seed: Seeder
) -> None:
    """A reply with another ETag than the pinned one is another object, whatever the status says."""
    seed.put("key", DATA)
    assert await stream(lake) == DATA
    seed.put("key", OTHER)
    proxy.faults.extend([Fault(cut_at=0), Fault(repeat_first=True)])
    with pytest.raises(S3ObjectChangedError):
        await stream(lake)


async def test_a_body_without_etag_is_not_resumed(lake: Bucket, proxy: TamperingProxy, seed: Seeder) -> None:
    """Where nothing names the version, the break itself is raised."""
    seed.put("key", DATA)
    proxy.faults.append(Fault(cut_at=MIB))
    connection = lake._connection
    info, found = await ranges.open_reader(connection, lake.name, "key")
    nameless = ranges.Pin(lake.name, "key", "", info.size, None, None)
    found.pin = nameless
    with pytest.raises(S3ConnectionError):
        await found.read()
    assert len(proxy.gets) == 1
