"""G13: a batch of many items, some of which fail: a result for each, in order, and memory that stays flat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from greenlang_async_storage import BatchReport, StorageSession, UploadItem, UploadResult
from tests.faults.figures._figure import Figure, Scale
from tests.faults.figures._served_store import BUCKET, ServedStore, served_store
from tests.support.faults import MIB, PART

PATHS: Final = (True, False)
MINUTES: Final = 0.9

POOL: Final = 16
SHARE: Final = 0.05
SEED: Final = 13
DENIED: Final = "07"
"""Keys that end so are refused for good: one in a hundred."""
LARGE_EVERY: Final = 250
LARGE: Final = 2 * PART + 1
"""Bytes of every 250th item: three parts."""
ROOM: Final = 32 * MIB
_STATUS: Final = Path("/proc/self/status")


async def measure(scale: Scale) -> list[Figure]:
    """Outcomes of one batch through a store that breaks one request in twenty, and the memory it took."""
    count = 200_000 if scale.full else 10_000
    async with served_store() as store:
        settings = store.settings(fast_path=scale.fast_path, max_pool_connections=POOL, part_size=PART)
        async with StorageSession(settings) as session:
            lake = session.bucket(BUCKET)
            await lake.upload_many(_items(LARGE_EVERY, "warm-"), concurrency=POOL)
            await store.counts()
            await store.aim(SHARE, seed=SEED, denied=[DENIED])
            before = _reset_peak()
            report = await lake.upload_many(_items(count), concurrency=POOL)
            grown = _peak() - before
            counts, broken = await store.counts()
            await store.aim(0.0)
            left = session.statistics()
        wrong = await _wrong(report, count, store)
    sent = sum(counts.values())
    scale.progress(f"G13 {count:,} items, {len(report.failed):,} failed, peak +{grown / MIB:.0f} MiB")
    limit = POOL * PART + ROOM
    return [
        Figure(
            "G13",
            f"batch of {count:,}, {SHARE:.0%} faults, pool {POOL}: keys without one right result in place",
            "0",
            f"{len(wrong):,} ({len(report.succeeded):,} stored, {len(report.failed):,} refused)",
            not wrong and (left.in_flight, left.cleanups_pending) == (0, 0) and broken > SHARE * sent / 2,
            str(SEED),
            tuple(f"G13: {line}" for line in (f"{broken:,} of {sent:,} requests broken", *wrong[:5])),
        ),
        Figure(
            "G13",
            "the same: growth of the process at its peak",
            f"<= {limit / MIB:.0f} MiB (pool x part + 32)",
            f"{grown / MIB:.1f} MiB",
            grown <= limit,
            str(SEED),
        ),
    ]


def _size(index: int) -> int:
    return LARGE if index % LARGE_EVERY == 0 else 1024 + index % 4096


def _items(count: int, prefix: str = "") -> Iterator[UploadItem]:
    """The items, made when they are asked for; large ones as streams, so that their bytes are nobody's."""
    for index in range(count):
        key, size = f"{prefix}{index:07}", _size(index)
        yield UploadItem(key, _stream(size) if size == LARGE else bytes(size))


async def _stream(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, MIB):
        yield bytes(min(MIB, size - start))


async def _wrong(report: BatchReport[UploadResult], count: int, store: ServedStore) -> list[str]:
    """What is not as it must be, a line each: number, order, keys, and what the store has of them."""
    stored = await store.stored()
    outcomes = sorted((*report.succeeded, *report.failed), key=lambda outcome: outcome.index)
    found = [f"{len(outcomes):,} results for {count:,} items"] if len(outcomes) != count else []
    for place, outcome in enumerate(outcomes):
        key = f"{place:07}"
        if (outcome.index, outcome.key) != (place, key):
            found.append(f"result {outcome.index} of {outcome.key} in the place of {key}")
        elif outcome.ok and stored.get(key) != _size(place):
            found.append(f"{key} was reported stored and is not")
        elif outcome.error is not None and not (key.endswith(DENIED) or outcome.error.retryable):
            found.append(f"{key} failed: {outcome.error}")
        elif key.endswith(DENIED) and outcome.ok:
            found.append(f"{key} was refused and reported stored")
    for listed in (report.succeeded, report.failed):
        places = [outcome.index for outcome in listed]
        found += ["results out of order"] if places != sorted(places) else []
    return found


def _reset_peak() -> int:
    """Bytes of this process now, from where the peak counts anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_STATUS} does not tell {name}: this figure needs Linux")
