"""G11: a store that is gone for a while is not hammered, and is used again as soon as it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from greenlang_async_storage import Bucket, S3Error, StorageSession
from tests.faults.figures._figure import Figure, Scale
from tests.faults.figures._served_store import BUCKET, ServedStore, served_store

PATHS: Final = (True, False)
MINUTES: Final = 1.2

CALLS: Final = 1_000
MOST_ATTEMPTS: Final = 1_600
LOAD: Final = 100
"""Calls a second that the application asks for, before, during and after: far below what the store can do."""
BACK_WITHIN: Final = 5
GOODPUT: Final = 0.95
CALL_SECONDS: Final = 5.0
BURST_SECONDS: Final = 8.0
"""`timeout=` of the calls made in a steady stream, and of those made at once."""
SEED: Final = 11
OUTAGES: Final = {"every connection is reset": "resets", "every request is answered 503": "busy"}
DATA: Final = b"x" * 1024


async def measure(scale: Scale) -> list[Figure]:
    """Wire attempts of an outage, and what gets through after it, for both kinds of outage."""
    figures = []
    for what, kind in OUTAGES.items():
        async with served_store() as store:
            async with _session(store, scale) as lake:
                figures.append(await _burst(store, lake, kind, what))
            async with _session(store, scale) as lake:
                figures.append(await _steady(store, lake, kind, what, scale))
    return figures


@asynccontextmanager
async def _session(store: ServedStore, scale: Scale) -> AsyncIterator[Bucket]:
    async with StorageSession(store.settings(fast_path=scale.fast_path)) as session:
        lake = session.bucket(BUCKET)
        # A pool of open connections, as a service has when its store goes away.
        await asyncio.gather(*(lake.upload_bytes(f"before-{index}", DATA) for index in range(100)))
        yield lake


async def _burst(store: ServedStore, lake: Bucket, kind: str, what: str) -> Figure:
    await store.counts()
    await store.aim(1.0, seed=SEED, kind=kind)
    done = await asyncio.gather(*(_call(lake, index, BURST_SECONDS) for index in range(CALLS)))
    counts, _ = await store.counts()
    await store.aim(0.0)
    attempts = sum(counts.values())
    return Figure(
        "G11",
        f"outage ({what}), {CALLS:,} calls at once: requests on the wire",
        f"<= {MOST_ATTEMPTS:,}",
        f"{attempts:,}",
        attempts <= MOST_ATTEMPTS and not any(done),
        notes=(f"G11: {done.count(False):,} of {CALLS:,} calls failed, as they must.",),
    )


async def _steady(store: ServedStore, lake: Bucket, kind: str, what: str, scale: Scale) -> Figure:
    await asyncio.gather(*await _begin(lake, LOAD))
    await store.counts()
    await store.aim(1.0, seed=SEED, kind=kind)
    failing = await _begin(lake, CALLS // 2)
    counts, _ = await store.counts()
    await store.aim(0.0)
    calls = await _begin(lake, (BACK_WITHIN + 1) * LOAD)
    await asyncio.gather(*failing)
    done = await asyncio.gather(*calls)
    seconds = [sum(done[at : at + LOAD]) / LOAD for at in range(0, len(done), LOAD)]
    shown = ", ".join(f"{second:.0%}" for second in seconds)
    scale.progress(f"G11 {what}: {sum(counts.values())} requests in the outage, then by second {shown}")
    return Figure(
        "G11",
        f"the same, {LOAD} calls a second: of those begun {BACK_WITHIN} s after the return, done",
        f">= {GOODPUT:.0%}",
        f"{seconds[BACK_WITHIN]:.0%} (by second after the return: {shown})",
        seconds[BACK_WITHIN] >= GOODPUT and sum(counts.values()) <= MOST_ATTEMPTS,
    )


async def _begin(lake: Bucket, count: int) -> list[asyncio.Task[bool]]:
    """*count* calls, `LOAD` a second, whatever becomes of those before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    calls = []
    for index in range(count):
        await asyncio.sleep(max(0.0, began + index / LOAD - loop.time()))
        calls.append(asyncio.create_task(_call(lake, index)))
    return calls


async def _call(lake: Bucket, index: int, seconds: float = CALL_SECONDS) -> bool:
    try:
        await lake.upload_bytes(f"key-{index}", DATA, timeout=seconds)
    except S3Error:
        return False
    return True
