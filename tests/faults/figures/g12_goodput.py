"""
G12: one request in ten fails, and the application hardly notices.

Turns without faults and turns with them alternate, and each turn with faults is compared with the two beside
it, because the speed of a machine drifts; the figure is the median of these shares. A turn's speed is taken
while all callers are at work, that is until its last call begins. What comes after that is the wait for a few
callers who sit between two tries: tenths of a second however many calls a turn has, so in a turn of half a
second it would be a third of the time and say how long the turn is, not what the client gets done.

Each kind of turn has a session of its own: a client that has just been throttled is careful for a second
more, which would slow the turn without faults that follows and so flatter the share.

Both kinds of turn go through the same proxy.
"""

from __future__ import annotations

import asyncio
import statistics
from itertools import pairwise
from typing import Final

from greenlang_async_storage import Bucket, S3Error, StorageSession
from tests.faults.figures._figure import Figure, Scale
from tests.faults.figures._served_store import BUCKET, ServedStore, served_store

PATHS: Final = (True, False)
ALONE: Final = True
"""The store has the other core."""
MINUTES: Final = 1.5

SHARE: Final = 0.1
CALLERS: Final = 256
"""More than the pool has connections: a call that waits to try again holds none, so others go on."""
ATTEMPTS: Final = 6
"""Three tries, the default, would lose one call in a thousand: 0.1 ** 3."""
KEYS: Final = 200
DATA: Final = bytes(range(256)) * 16
SEED: Final = 12


async def measure(scale: Scale) -> list[Figure]:
    """Calls that succeed, and calls a second, with a tenth of the requests broken and with none, in turns."""
    calls, rounds = _size(scale)
    wanted = 0.99999 if scale.full else 0.9999
    async with served_store() as store:
        settings = store.settings(fast_path=scale.fast_path, max_attempts=ATTEMPTS)
        async with StorageSession(settings) as spared, StorageSession(settings) as struck:
            whole, lake = spared.bucket(BUCKET), struck.bucket(BUCKET)
            await _run(lake, calls)
            failed, broken, sent, faulty = 0, 0, 0, []
            clean = [(await _run(whole, calls))[0]]
            for number in range(rounds):
                await store.counts()
                await store.aim(SHARE, seed=SEED + number)
                speed, lost = await _run(lake, calls)
                counts, damaged = await store.counts()
                await store.aim(0.0)
                failed, broken, sent = failed + lost, broken + damaged, sent + sum(counts.values())
                faulty.append(speed)
                clean.append((await _run(whole, calls))[0])
                scale.progress(
                    f"G12 {speed:,.0f} calls/s with faults, {clean[-1]:,.0f} without them, {lost} lost"
                )
            await _assert_whole(store)
    made = calls * rounds
    good = 1 - failed / made
    shares = [speed / statistics.mean(beside) for speed, beside in zip(faulty, pairwise(clean), strict=True)]
    kept = statistics.median(shares)
    shown = ", ".join(f"{share:.0%}" for share in shares)
    seeds = f"{SEED}-{SEED + rounds - 1}"
    faults = f"{broken:,} of {sent:,} requests broken"
    return [
        Figure(
            "G12",
            f"{SHARE:.0%} random 503s and resets, MAX_ATTEMPTS={ATTEMPTS}: calls that succeed",
            f">= {wanted:.5g}",
            f"{good:.6f} ({made - failed:,} of {made:,}; {faults})",
            good >= wanted and broken > 0.08 * sent,
            seeds,
        ),
        Figure(
            "G12",
            f"the same: calls a second, of those without ({CALLERS} callers, median of {rounds} turns)",
            ">= 70%",
            f"{kept:.0%} (by turn: {shown})",
            kept >= 0.7,
            seeds,
        ),
    ]


def _size(scale: Scale) -> tuple[int, int]:
    """Calls in a turn, and turns."""
    if scale.full:
        return (100_000, 10) if scale.fast_path else (20_000, 10)
    return (6_000, 5) if scale.fast_path else (1_000, 5)


async def _run(lake: Bucket, calls: int) -> tuple[float, int]:
    """Calls a second of so many *calls* (put, get, head, by `CALLERS` callers), and how many failed."""
    numbers = iter(range(calls))
    failed, speed = 0, 0.0
    clock = asyncio.get_running_loop().time

    async def caller() -> None:
        nonlocal failed, speed
        for number in numbers:
            if number == calls - 1:  # it begins, the other callers are in a call: all before these are done
                speed = (calls - CALLERS) / (clock() - began)
            key = f"key-{number // 3 % KEYS}"
            try:
                if number % 3 == 0 or number < KEYS * 3:
                    await lake.upload_bytes(key, DATA)
                elif number % 3 == 1:
                    if await lake.download_bytes(key) != DATA:
                        failed += 1
                else:
                    await lake.head(key)
            except S3Error:
                failed += 1

    began = clock()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return speed, failed


async def _assert_whole(store: ServedStore) -> None:
    sizes = await store.stored()
    assert set(sizes.values()) == {len(DATA)}, "an object of the wrong size is stored"
