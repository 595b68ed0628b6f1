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
MINUTES = 2.2
FULL_MINUTES = 70.0
SECONDS = 90.0
FULL_SECONDS = 2000.0


async def measure(scale: Scale) -> list[Figure]:
    """Lives of two scenes each, over two processes."""
    count, seconds = (200_000, FULL_SECONDS) if scale.full else (10_000, SECONDS)
    play = play_served if scale.fast_path else play_direct
    found, took = await asyncio.to_thread(
        spread, play, Spread(scale.seed, count, 500, seconds), scale.progress
    )
    broken = len(found.failures)
    door = "sockets" if scale.fast_path else "HTTP session"
    return [
        Figure(
            "G2",
            "random schedules at T1 that broke a promise",
            f"0 of {count:,} in at most {seconds:.0f} s",
            f"{broken} of {found.schedules:,} in {took:.0f} s",
            holds=not broken and found.schedules == count and took <= seconds,
            seeds=f"{scale.seed} to {scale.seed + found.schedules - 1}",
            notes=(
                f"through the {door}: {found.requests:,} requests, {found.faults:,} of them met a fault",
                *(f"failed: {text}" for text in found.failures[:5]),
            ),
        )
    ]
