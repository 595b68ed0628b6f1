"""G12: one request in ten fails, and the application hardly notices."""

from __future__ import annotations

import asyncio
from typing import Final

from greenlang_async_storage import Bucket, S3Error, StorageSession
from tests.faults.figures._figure import Figure, Scale
from tests.faults.figures._served_store import BUCKET, ServedStore, served_store

PATHS: Final = (True, False)
ALONE: Final = True
"""The store has the other core."""
MINUTES: Final = 0.7

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
        async with StorageSession(settings) as session:
            lake = session.bucket(BUCKET)
            await _run(lake, KEYS * 5)
            failed, broken, sent, turns = 0, 0, 0, []
            for number in range(rounds):
                clean, _ = await _run(lake, calls)
                await store.counts()
                await store.aim(SHARE, seed=SEED + number)
                faulty, lost = await _run(lake, calls)
                counts, damaged = await store.counts()
                await store.aim(0.0)
                failed, broken, sent = failed + lost, broken + damaged, sent + sum(counts.values())
                turns.append((clean, faulty))
                scale.progress(
                    f"G12 {calls / clean:,.0f} calls/s clean, {calls / faulty:,.0f} with faults, {lost} lost"
                )
            await _assert_whole(store)
    made = calls * rounds
    good = 1 - failed / made
    kept = sum(clean for clean, _ in turns) / sum(faulty for _, faulty in turns)
    shown = ", ".join(f"{clean / faulty:.0%}" for clean, faulty in turns)
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
            f"the same: calls a second, of those without faults ({CALLERS} callers, {rounds} turns each)",
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
    return (2_500, 5) if scale.fast_path else (600, 5)


async def _run(lake: Bucket, calls: int) -> tuple[float, int]:
    """Seconds for so many *calls* (put, get, head in turn, `CALLERS` at a time), and how many failed."""
    numbers = iter(range(calls))
    failed = 0

    async def caller() -> None:
        nonlocal failed
        for number in numbers:
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

    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return asyncio.get_running_loop().time() - began, failed


async def _assert_whole(store: ServedStore) -> None:
    sizes = await store.stored()
    assert set(sizes.values()) == {len(DATA)}, "an object of the wrong size is stored"
