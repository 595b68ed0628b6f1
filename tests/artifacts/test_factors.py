"""Emission factors: alive for a time, loaded once for everybody, and never half."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from examples.demo import factors as tables
from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3InvalidRequestError,
    S3NotFoundError,
    StorageSession,
)
from greenlang_async_storage.artifacts import EmissionFactorCache
from tests.artifacts.conftest import TurnedClock
from tests.support.faulty import FaultyClient, answer, no_reply
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

FACTORS = {"DE": {"kg_co2e_per_kwh": 0.38}, "FR": {"kg_co2e_per_kwh": 0.06}}
HOUR = timedelta(hours=1)


@pytest.fixture
def cache(lake: Bucket, clock: TurnedClock) -> EmissionFactorCache:
    """A cache with the platform's 24 hours."""
    return EmissionFactorCache(lake, clock=clock)


async def test_factors_come_back_until_they_expire(
    cache: EmissionFactorCache, lake: Bucket, clock: TurnedClock
) -> None:
    """For the same cache and for another reader: alive for 24 hours, then a miss."""
    stored = await cache.put("ipcc", FACTORS)
    assert stored.version == "20260203103000"
    reader = EmissionFactorCache(lake, clock=clock)
    for found in (cache, reader):
        assert await found.get("ipcc") == FACTORS
        assert await found.get("ipcc", stored.version) == FACTORS
    clock.turn(23 * HOUR)
    assert await cache.get("ipcc") == await reader.get("ipcc") == FACTORS
    clock.turn(HOUR)
    assert await cache.get("ipcc") is None
    assert await reader.get("ipcc") is None
    info = await cache.info("ipcc")
    assert info is not None
    assert not info.fresh


async def test_metadata_of_the_guide(cache: EmissionFactorCache, lake: Bucket, clock: TurnedClock) -> None:
    """source, version, cached-at, expires-at and Cache-Control."""
    stored = await cache.put("ecoinvent", FACTORS, version="3.10")
    assert stored.key == "cache/emission-factors/ecoinvent/3.10/factors.json"
    info = await lake.head(stored.key)
    assert info.metadata["source"] == "ecoinvent"
    assert info.metadata["version"] == "3.10"
    assert info.metadata["cached-at"] == clock.now.isoformat()
    assert info.metadata["expires-at"] == (clock.now + 24 * HOUR).isoformat()
    assert info.cache_control == "max-age=86400"
    assert info.content_type == "application/json"


async def test_the_highest_version_is_the_latest(cache: EmissionFactorCache) -> None:
    """2026.10 comes after 2026.9; versions and sources are listed."""
    for version in ("2026.9", "2026.10"):
        await cache.put("defra", {"version": version}, version=version)
    await cache.put("defra2", {"version": "99"}, version="99")
    assert await cache.get("defra") == {"version": "2026.10"}
    assert await cache.versions("defra") == ["2026.9", "2026.10"]
    assert await cache.sources() == ["defra", "defra2"]


async def test_what_is_missing_is_none(cache: EmissionFactorCache, session: StorageSession) -> None:
    """A source or version nobody stored; a bucket that does not exist is an error."""
    await cache.put("ipcc", FACTORS, version="1")
    assert await cache.get("none") is None
    assert await cache.get("ipcc", "2") is None
    assert await cache.info("none") is None
    with pytest.raises(S3NotFoundError):
        await EmissionFactorCache(session.bucket("no-such-bucket-at-all")).get("ipcc", "1")


async def test_a_folder_without_factors_is_no_version(cache: EmissionFactorCache, seed: Seeder) -> None:
    """Other objects below a source do not hide the newest table."""
    await cache.put("ipcc", FACTORS, version="1")
    seed.put("cache/emission-factors/ipcc/2/readme.txt", b"soon")
    seed.put("cache/emission-factors/ipcc/a b/factors.json", b"{}")
    assert await cache.get("ipcc") == FACTORS


async def test_500_readers_cause_one_load(cache: EmissionFactorCache, lake: Bucket) -> None:
    """One request for all of them; each has factors of its own to change."""
    await cache.put("ipcc", FACTORS, version="1")
    faults = FaultyClient.install(lake)
    found = await asyncio.gather(*(cache.get("ipcc", "1") for _ in range(500)))
    assert faults.calls["get_object"] == 1
    assert all(one == FACTORS for one in found)
    assert len({id(one) for one in found}) == 500


async def test_a_cancelled_reader_leaves_the_load_to_the_others(
    cache: EmissionFactorCache, lake: Bucket
) -> None:
    """The first of them, who started it, goes; the others get their factors from the same load."""
    await cache.put("ipcc", FACTORS, version="1")
    faults = FaultyClient.install(lake)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(call: Any, arguments: dict[str, Any]) -> Any:
        reached.set()
        await go_on.wait()
        return await call(**arguments)

    faults.always["get_object"] = hold
    readers = [asyncio.create_task(cache.get("ipcc", "1")) for _ in range(5)]
    await reached.wait()
    readers[0].cancel()
    readers[3].cancel()
    await asyncio.wait([readers[0], readers[3]])
    go_on.set()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [True, False, False, True, False]
    assert [one for one in found if not isinstance(one, BaseException)] == [FACTORS] * 3
    assert faults.calls["get_object"] == 1


async def test_a_load_nobody_waits_for_ends(cache: EmissionFactorCache, lake: Bucket) -> None:
    """When all readers are cancelled no task is left, and the next reader loads anew."""
    await cache.put("ipcc", FACTORS, version="1")
    faults = FaultyClient.install(lake)
    reached = asyncio.Event()

    async def hang(_call: Any, _arguments: dict[str, Any]) -> Any:
        reached.set()
        await asyncio.Event().wait()

    faults.always["get_object"] = hang
    readers = [asyncio.create_task(cache.get("ipcc", "1")) for _ in range(3)]
    await reached.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    faults.always.clear()
    assert await cache.get("ipcc", "1") == FACTORS


async def test_a_failed_load_is_everybodys_and_not_remembered(
    cache: EmissionFactorCache, lake: Bucket
) -> None:
    """An unreachable store is an error, never a miss."""
    await cache.put("ipcc", FACTORS, version="1")
    faults = FaultyClient.install(lake)
    faults.always["get_object"] = answer(no_reply())
    found = await asyncio.gather(*(cache.get("ipcc", "1") for _ in range(4)), return_exceptions=True)
    assert all(isinstance(one, S3ConnectionError) for one in found)
    faults.always.clear()
    assert await cache.get("ipcc", "1") == FACTORS


async def test_a_miss_is_filled_once(cache: EmissionFactorCache, clock: TurnedClock) -> None:
    """However many miss at the same time; again after the factors expired, also through another cache."""
    calls = 0

    async def fetch() -> dict[str, object]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return {"call": calls}

    for expected in (1, 2):
        found = await asyncio.gather(*(cache.get_or_load("epa", fetch) for _ in range(100)))
        assert found == [{"call": expected}] * 100
        clock.turn(25 * HOUR)
    assert calls == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"DE": {"kg_co2e_per_k', b"[1]", b"null", b"\xff\xfe", b"\x80\x04}", b"[" * 100_000],
    ids=lambda data: repr(data[:12]),
)
async def test_a_damaged_table_is_a_miss_and_logged(
    cache: EmissionFactorCache, seed: Seeder, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """Cut off, no JSON, no object: `None`, one warning that names the key, and the next put mends it."""
    await cache.put("ipcc", FACTORS, version="1")
    seed.put("cache/emission-factors/ipcc/1/factors.json", data)
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        assert await cache.get("ipcc") is None
    [record] = [record for record in caplog.records if "factors_damaged" in record.message]
    assert "ipcc/1/factors.json" in record.message
    await cache.put("ipcc", FACTORS, version="1")
    assert await cache.get("ipcc") == FACTORS


@pytest.mark.parametrize("name", ["cached-at", "expires-at", "content-hash"])
async def test_damaged_metadata_is_a_miss_and_logged(
    cache: EmissionFactorCache, seed: Seeder, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Times nobody can read, and a hash of other bytes."""
    seed.put("cache/emission-factors/ipcc/1/factors.json", b"{}", Metadata={name: "0123456789"})
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        assert await cache.get("ipcc", "1") is None
    assert "factors_damaged" in caplog.text


async def test_what_older_code_wrote_stays_readable(lake: Bucket, seed: Seeder) -> None:
    """Naive times are UTC, no hash, no checksum; expired where its `expires-at` has passed."""
    cache = EmissionFactorCache(lake)
    now = datetime.now(UTC).replace(tzinfo=None)
    for source, age in (("ecoinvent", HOUR), ("ipcc", 25 * HOUR)):
        cached = now - age
        metadata = {"source": source, "version": "20260203103000", "cached-at": cached.isoformat()}
        metadata["expires-at"] = (cached + 24 * HOUR).isoformat()
        seed.put(
            f"cache/emission-factors/{source}/20260203103000/factors.json",
            json.dumps(FACTORS).encode(),
            checksum=None,
            ContentType="application/json",
            Metadata=metadata,
            CacheControl="max-age=86400",
        )
    assert await cache.get("ecoinvent") == FACTORS
    assert await cache.get("ipcc") is None


async def test_a_writers_clock_that_is_ahead_keeps_nothing_alive(
    lake: Bucket, seed: Seeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored with a life of one hour by a clock a day ahead: dead an hour after the store took it."""
    ahead = datetime.now(UTC) + timedelta(days=1)
    writer = EmissionFactorCache(lake, HOUR, clock=lambda: ahead)
    await writer.put("ipcc", FACTORS, version="1")
    now = datetime.now(UTC)
    reader = EmissionFactorCache(lake, clock=lambda: now)
    assert await reader.get("ipcc", "1") == FACTORS
    now += 1.1 * HOUR
    assert await reader.get("ipcc", "1") is None


async def test_a_wrong_clock_is_told_once(lake: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """A cache that reads what it wrote learns how far its clock is from the store's, and goes by that."""
    wrong = datetime.now(UTC) - timedelta(days=3)
    cache = EmissionFactorCache(lake, clock=lambda: wrong)
    await cache.put("ipcc", FACTORS, version="1")
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        assert await cache.get("ipcc", "1") == FACTORS
        assert await cache.get("ipcc", "1") == FACTORS
    assert caplog.text.count("clock_differs") == 1


async def test_mistakes_are_told(cache: EmissionFactorCache, lake: Bucket) -> None:
    """Sources that lead elsewhere, the version `latest`, factors that are no mapping, no life at all."""
    with pytest.raises(S3InvalidRequestError):
        await cache.put("../models", FACTORS)
    with pytest.raises(S3InvalidRequestError):
        await cache.get("ipcc", "../1")
    with pytest.raises(ValueError, match="latest"):
        await cache.put("ipcc", FACTORS, version="latest")
    wrong: Any = [1]
    with pytest.raises(TypeError, match="mapping"):
        await cache.put("ipcc", wrong)
    with pytest.raises(ValueError, match="positive"):
        EmissionFactorCache(lake, timedelta(0))
    with pytest.raises(S3InvalidRequestError, match="no time zone"):
        await EmissionFactorCache(lake, clock=datetime.now).put("ipcc", FACTORS)


async def test_the_tables_of_codecarbon(cache: EmissionFactorCache) -> None:
    """Real tables of five sources, unchanged after a round trip; decimals are text."""
    loaded = await asyncio.to_thread(tables.load_factors, tables.data_folder())
    for source, table in loaded.items():
        await cache.put(source, table, version=tables.tables_version())
    assert await cache.sources() == sorted(loaded)
    for source, table in loaded.items():
        assert await cache.get(source) == table
    await cache.put("exact", {"DE": Decimal("0.380")})
    assert await cache.get("exact") == {"DE": "0.380"}
