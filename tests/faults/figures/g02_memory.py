"""G2: random schedules against a real session on an S3 in memory (T1)."""

from __future__ import annotations

import asyncio

from tests.faults._memory_lives import play_direct, play_served
from tests.faults._played import Spread, spread
from tests.faults.figures._figure import Figure, Scale

PATHS = (True, False)
"""With the fast path through a proxy and sockets; without it behind the HTTP session, in virtual time."""
ALONE = True
"""It uses both cores."""
MINUTES = 1.2
FULL_MINUTES = 70.0
SECONDS = 90.0
FULL_SECONDS = 2000.0


async def measure(scale: Scale) -> list[Figure]:
    """Lives of two scenes each, over two processes; half of the seeds by each path."""
    wanted, seconds = (200_000, FULL_SECONDS) if scale.full else (10_000, SECONDS)
    count, seconds = wanted // 2, seconds / 2
    first = scale.seed + (0 if scale.fast_path else count)
    play = play_served if scale.fast_path else play_direct
    found, took = await asyncio.to_thread(spread, play, Spread(first, count, 250, seconds), scale.progress)
    broken = len(found.failures)
    door = "sockets" if scale.fast_path else "HTTP session"
    return [
        Figure(
            "G2",
            "random schedules at T1 that broke a promise",
            f"0 of {wanted:,}, half by each path, in at most {2 * seconds:.0f} s",
            f"{broken} of {found.schedules:,} in {took:.0f} s",
            holds=not broken and found.schedules == count and took <= seconds,
            seeds=f"{first} to {first + found.schedules - 1} through the {door}",
            notes=(
                f"through the {door}: {found.requests:,} requests, {found.faults:,} of them met a fault",
                *(f"failed: {text}" for text in found.failures[:5]),
            ),
        )
    ]
