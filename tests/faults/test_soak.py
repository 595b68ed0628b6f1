"""The soak runs, says what it found, and notices what grows or stays open."""

from __future__ import annotations

import asyncio
import dataclasses
import tracemalloc
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak_load import WEIGHTS, Load, WrongContentError
from benchmarks.soak_samples import Footprint, Sample, Soak
from greenlang_async_storage import Bucket, StorageSettings
from greenlang_async_storage.testing import MinioServer

pytestmark = pytest.mark.timeout(300)

REQUESTS = 500
OFTEN, RARELY = 40, 20
"""Weights with which so few requests have every kind of call among them."""
REST = Footprint(rss=100.0, fds=10, tasks=1, connections=2)
BUSY = Footprint(rss=120.0, fds=30, tasks=20, connections=12)


def canned(**changes: object) -> Soak:
    """A flat run of a hundred seconds."""
    idle = dataclasses.replace(REST, fds=20, connections=10)
    found = Soak(
        before=REST,
        at_rest=(idle, idle),
        after=REST,
        warm_up=20.0,
        samples=[Sample(float(second), second * 600, BUSY) for second in range(1, 101)],
        statistics={"in_flight": 0, "pool_waiting": 0, "cleanups_pending": 0},
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def growing(mib_per_second: float) -> list[Sample]:
    """Samples of a process that grows."""
    return [
        Sample(float(second), second, dataclasses.replace(BUSY, rss=120 + second * mib_per_second))
        for second in range(1, 101)
    ]


def test_a_flat_run_has_no_problems() -> None:
    """Nor does growth before the end of the warm-up count, or what later is given back."""
    assert canned().problems(soak.POOL) == []
    early = [dataclasses.replace(sample, footprint=REST) for sample in canned().samples[:15]]
    assert canned(samples=early + canned().samples[15:]).problems(soak.POOL) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": growing(0.1)}, "memory grew by 6.5 MiB"),
        (
            {"at_rest": (REST, dataclasses.replace(REST, tasks=2))},
            "2 tasks at rest instead of 1",
        ),
        ({"at_rest": (REST, dataclasses.replace(REST, fds=11))}, "9 open files at rest instead of 8"),
        ({"after": dataclasses.replace(REST, fds=11)}, "11 fds after closing instead of 10"),
        ({"after": dataclasses.replace(REST, connections=3)}, "3 connections after closing instead of 2"),
        ({"open_uploads": 1}, "1 multipart uploads left open"),
        ({"statistics": {"in_flight": 1, "pool_waiting": 0, "cleanups_pending": 0}}, "in_flight is 1"),
        (
            {"samples": [Sample(99.0, 1, dataclasses.replace(BUSY, connections=99))]},
            "97 connections, the pool may have 32",
        ),
    ],
)
def test_what_is_not_flat_is_told(changes: dict[str, object], said: str) -> None:
    """Each kind of growth and of leftovers has its own line."""
    [problem] = canned(**changes).problems(soak.POOL)
    assert said in problem


def test_growth_is_told_by_line() -> None:
    """The line that holds more than after the warm-up comes first."""
    growth = soak.Growth(warm_up=1.0)
    try:
        growth.watch(canned().samples[0])
        held = [bytes(1000) for _ in range(2000)]
        first, *_ = growth.told().splitlines()
    finally:
        tracemalloc.stop()
    assert len(held) == 2000
    assert Path(__file__).name in first


@pytest.mark.asyncio
@pytest.mark.parametrize("server", ["minio"], indirect=True)
async def test_a_wrong_read_ends_the_load(lake: Bucket, tmp_path: Path) -> None:
    """Other bytes under a key are not a slow leak: the run fails at once."""
    load = Load(lake, tmp_path, callers=4, keys=20)
    load._noise = bytes(len(load._noise))
    await load.prepare()
    load._noise = b"\1" * len(load._noise)
    with pytest.raises(ExceptionGroup) as caught:
        await load.run()
    assert caught.group_contains(WrongContentError)


@pytest.mark.asyncio
@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.allow_blocking("the soak reads what the system knows of its own process")
async def test_a_short_soak(
    minio_server: MinioServer, tmp_path: Path, fast_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of call is made, nothing stays open, requests are counted; memory needs longer runs."""
    for kind in WEIGHTS:
        monkeypatch.setitem(WEIGHTS, kind, RARELY if kind in ("multipart", "file") else OFTEN)
    settings: StorageSettings = soak.settings_on(minio_server, fast_path=fast_path)
    watched: list[Sample] = []
    plan = soak.Plan(requests=REQUESTS, callers=16, keys=100, interval=0.2)
    found = await soak.soak(settings, tmp_path, plan, watched.append)
    assert found.samples == watched
    assert watched[-1].requests >= REQUESTS
    assert found.done.keys() == WEIGHTS.keys()
    assert [problem for problem in found.problems(soak.POOL) if "memory" not in problem] == []
    told = soak.told(found, [])
    assert len(told["samples"]) == len(watched)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_parts_in_flight_are_no_growth() -> None:
    """Two of three samples at the end catch a transfer under way; between transfers nothing more is held."""
    busy = dataclasses.replace(BUSY, rss=BUSY.rss + 30)
    found = canned()
    late = [
        dataclasses.replace(sample, footprint=busy) if sample.at > 80 and sample.at % 3 else sample
        for sample in found.samples
    ]
    assert canned(samples=late).drift == 0.0
