"""Rows about artifacts: F36, a cache under a stampede, and F37, a model that is never half there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import pytest
import pytest_asyncio

from greenlang_async_storage import Bucket, S3Error, S3NotFoundError
from greenlang_async_storage.artifacts import EmissionFactorCache, ModelStore
from greenlang_async_storage.testing import Fault, MemoryS3
from greenlang_async_storage.testing._faults._plan import BrokenConnectionError
from greenlang_async_storage.testing._faults._schedule import Phase
from tests.support.cancel import CancelAt
from tests.support.faults import BUCKET, PART, Door, Lab, laboratory

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]
logs = pytest.mark.allow_blocking("a warning is logged, which pytest's own handler writes to a file")

HOUR = timedelta(hours=1)
CALLERS = 500
TABLE: dict[str, object] = {"DE": {"kg_co2e_per_kwh": 0.38}}
KEY = "cache/emission-factors/epa/1/factors.json"


class World:
    """The time of the store, and a reader's clock that may be set."""

    def __init__(self) -> None:
        self.now = self.reader = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
        self._start = self.now

    def __call__(self) -> datetime:
        return self.now

    def wait(self, time: timedelta) -> None:
        """All clocks run."""
        self.now += time
        self.reader += time

    def monotonic(self) -> float:
        """The clock nobody can set."""
        return (self.now - self._start).total_seconds()


class Source:
    """Where factors come from: counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked = asyncio.Event()

    async def __call__(self) -> dict[str, object]:
        self.calls += 1
        self.asked.set()
        await asyncio.sleep(0)
        return {**TABLE, "call": self.calls}


@pytest.fixture
def world() -> World:
    """The time of a test."""
    return World()


@pytest_asyncio.fixture(params=["direct", "served"])
async def lab(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Lab]:
    """A store that dates by the same clock."""
    async with laboratory(cast("Door", request.param), store=MemoryS3(clock=world)) as made:
        yield made


async def test_f36_expiry_under_500_callers(lab: Lab, world: World) -> None:
    """At every expiry the source is asked once and one table is stored, however many callers came."""
    source, cache = Source(), EmissionFactorCache(lab.lake, HOUR, clock=world)
    for life in range(1, 4):
        found = await asyncio.gather(*(cache.get_or_load("epa", source, version="1") for _ in range(CALLERS)))
        assert found == [{**TABLE, "call": life}] * CALLERS
        assert source.calls == life
        assert lab.count("PutObject") == life
        world.wait(HOUR)
        assert await cache.get("epa", "1") is None, "stale beyond its time to live"


async def test_f36_a_source_that_fails_under_500_callers(lab: Lab, world: World) -> None:
    """Asked once; its failure is everybody's, nothing stale takes its place, the next caller asks again."""
    source, cache = Source(), EmissionFactorCache(lab.lake, HOUR, clock=world)
    await cache.get_or_load("epa", source, version="1")
    world.wait(HOUR)
    asked = 0

    async def fails() -> dict[str, object]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise LookupError("the source is down")

    calls = (cache.get_or_load("epa", fails, version="1") for _ in range(CALLERS))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in found} == {LookupError}
    assert asked == 1
    assert await cache.get_or_load("epa", source, version="1") == {**TABLE, "call": 2}


async def test_f36_callers_cancelled_in_a_stampede(lab: Lab, world: World) -> None:
    """Every second of 500 callers goes away while the one refill runs: the others get it all the same."""
    source, cache = Source(), EmissionFactorCache(lab.lake, HOUR, clock=world)
    tasks = [asyncio.create_task(cache.get_or_load("epa", source, version="1")) for _ in range(CALLERS)]
    await source.asked.wait()
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks[::2])
    assert [task.result() for task in tasks[1::2]] == [{**TABLE, "call": 1}] * (CALLERS // 2)
    assert source.calls == 1


@logs
@pytest.mark.parametrize("at", [0, 10, -1])
async def test_f36_a_corrupt_entry_is_dropped(
    lab: Lab, world: World, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One wrong byte at rest: a miss that is logged, refilled once for 500 callers, and never handed out."""
    source, cache = Source(), EmissionFactorCache(lab.lake, HOUR, clock=world)
    await cache.get_or_load("epa", source, version="1")
    data, metadata = lab.check.content(KEY), lab.check.metadata(KEY)
    assert data is not None
    assert metadata is not None
    damaged = bytearray(data)
    # Another letter, still JSON in most places: what tells is the hash, not the parser.
    damaged[at] = damaged[at] ^ 1
    lab.store.put(BUCKET, KEY, bytes(damaged), **{f"x-amz-meta-{n}": v for n, v in metadata.items()})
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        assert await cache.get("epa", "1") is None
    assert "factors_damaged" in caplog.text
    found = await asyncio.gather(*(cache.get_or_load("epa", source, version="1") for _ in range(CALLERS)))
    assert found == [{**TABLE, "call": 2}] * CALLERS
    stored = lab.check.content(KEY)
    assert stored is not None
    assert json.loads(stored) == {**TABLE, "call": 2}


@pytest.mark.parametrize("read_before", [True, False], ids=["read-before", "never-read"])
async def test_f36_a_clock_set_back_keeps_nothing_alive(
    lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch, read_before: bool
) -> None:
    """The reader's clock goes back a day: what it wrote itself still dies after its hour, and is refilled."""
    source = Source()
    cache = EmissionFactorCache(lab.lake, HOUR, clock=lambda: world.reader)
    monkeypatch.setattr(cache._time, "_monotonic", world.monotonic)
    await cache.put("epa", TABLE, version="1")
    if read_before:
        assert await cache.get("epa", "1") == TABLE
    world.reader -= timedelta(days=1)
    world.wait(HOUR / 2)
    assert (await cache.get("epa", "1") == TABLE) or not read_before
    world.wait(HOUR / 2)
    assert await cache.get("epa", "1") is None
    found = await asyncio.gather(*(cache.get_or_load("epa", source, version="1") for _ in range(CALLERS)))
    assert source.calls == 1
    assert found == [{**TABLE, "call": 1}] * CALLERS


# F37: a version of a model is its data, its metrics and the manifest that makes it visible.

OLD, NEW = b"old weights", b"new weights"
Cut = Literal["lost", "unsent", "cancelled"]


async def saved(lake: Bucket, name: str, model: bytes = NEW) -> None:
    """Version 2 beside version 1, which was there before."""
    await ModelStore(lake).save(name, "2", model, {"of": "2"})


async def seen(lake: Bucket, name: str, model: bytes = NEW) -> bool:
    """Whether version 2 is visible: then with all it consists of, else in no way a reader has."""
    store = ModelStore(lake)
    versions = await store.versions(name)
    there = versions == ["1", "2"]
    assert versions in (["1"], ["1", "2"])
    assert await store.latest(name) == versions[-1]
    assert await store.load(name) == (model if there else OLD)
    assert await store.metrics(name) == {"of": versions[-1]}
    if not there:
        for look in (store.load, store.metrics, store.manifest):
            with pytest.raises(S3NotFoundError):
                await look(name, "2")
        with pytest.raises(S3NotFoundError):
            await store.load(name, "2", allow_legacy=True)
    return there


async def before(lab: Lab, name: str) -> int:
    """Version 1, whole; how many requests its save took."""
    sent = len(lab.faults.requests)
    await ModelStore(lab.lake).save(name, "1", OLD, {"of": "1"})
    return len(lab.faults.requests) - sent


def cut_off(lab: Lab, nth: int, how: Cut, task: asyncio.Task[None]) -> None:
    """From the *nth* request on nothing goes through any more, or at the *nth* its caller is cancelled."""
    begun = len(lab.faults.requests)

    def strike() -> None:
        number = len(lab.faults.requests) - begun
        if how == "cancelled" and number == nth:
            task.cancel()
        elif how != "cancelled" and number >= nth:
            raise BrokenConnectionError(broken)

    lab.faults.hooks["strike"] = strike
    phase: Phase = "withheld" if how == "lost" else "unforwarded"
    broken = Fault("*", 0, phase, "reset")
    lab.plan(Fault("*", 0, phase, "hook", hook="strike"))


@logs
@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("how", ["lost", "unsent", "cancelled"])
async def test_f37_a_pair_is_never_half_visible(door: Door, how: Cut) -> None:
    """
    Cut off at each request of a save, its reply lost, unsent or its caller cancelled: version 2 is whole or
    in no way there, and the same save called again finishes it.
    """
    async with laboratory(door, retry_mode="none") as lab:
        total = await before(lab, "first")
        assert total >= 3
        outcomes = []
        for nth in range(1, total + 1):
            name = f"cut-at-{nth}"
            await before(lab, name)
            task = asyncio.create_task(saved(lab.lake, name))
            cut_off(lab, nth, how, task)
            await asyncio.wait([task])
            lab.plan()
            assert task.cancelled() if how == "cancelled" else isinstance(task.exception(), S3Error)
            outcomes.append(await seen(lab.lake, name))
            if not outcomes[-1]:
                await saved(lab.lake, name)
            assert await seen(lab.lake, name)
        assert not any(outcomes[:-1]), "visible before its last request"


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_f37_readers_beside_a_save_see_whole_versions(door: Door) -> None:
    """A reader looks after every single write of a save: nothing is seen until all of it is there."""
    async with laboratory(door) as lab:
        await before(lab, "m")
        looks: list[bool] = []

        async def look() -> None:
            looks.append(await seen(lab.lake, "m"))

        lab.faults.hooks["look"] = look
        lab.plan(Fault("PutObject", 0, "withheld", "hook", hook="look"))
        await saved(lab.lake, "m")
        assert looks == [False, False, True]


async def test_f37_cancelled_at_every_await() -> None:
    """A save in parts, cancelled at each of its suspensions: whole, or in no way there."""
    large = NEW * (PART // len(NEW) + 1)
    async with laboratory() as lab:
        there = False
        for point in range(1, 1_000):
            name = f"cancelled-at-{point}"
            await before(lab, name)
            attempt = CancelAt(saved(lab.lake, name, large), point)
            await asyncio.wait([asyncio.ensure_future(_run(attempt))])
            there = await seen(lab.lake, name, large)
            lab.assert_at_rest()
            if attempt.seen < point:
                break
        assert there
        assert point > 10


async def _run(attempt: CancelAt[Any]) -> None:
    await attempt
