"""G1: random schedules of one to four faults against the SDK's own logic, in virtual time (T0)."""

from __future__ import annotations

import asyncio

from tests.faults._played import Spread, spread
from tests.faults._simulated import play
from tests.faults.figures._figure import Figure, Scale

PATHS = (True,)
"""The client is a fake one: which path a real one would take makes no difference."""
ALONE = True
"""It uses both cores."""
MINUTES = 1.2
FULL_MINUTES = 31.0
SECONDS = 180.0
FULL_SECONDS = 1800.0


async def measure(scale: Scale) -> list[Figure]:
    """Lives of two scenes each, over two processes."""
    count, seconds = (1_000_000, FULL_SECONDS) if scale.full else (100_000, SECONDS)
    how = Spread(scale.seed, count, 2_500, seconds)
    found, took = await asyncio.to_thread(spread, play, how, scale.progress)
    broken = len(found.failures)
    return [
        Figure(
            "G1",
            "random schedules at T0 that broke a promise",
            f"0 of {count:,} in at most {seconds:.0f} s",
            f"{broken} of {found.schedules:,} in {took:.0f} s",
            holds=not broken and found.schedules == count and took <= seconds,
            seeds=f"{scale.seed} to {scale.seed + found.schedules - 1}",
            notes=(
                f"{found.requests:,} requests, {found.faults:,} of them met a fault",
                *(f"failed: {text}" for text in found.failures[:5]),
            ),
        )
    ]
