"""Many lives: one after the other in a process, blocks of them over several processes, failures shrunk."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from typing import Final

from greenlang_async_storage.testing import Schedule, shrink
from tests.faults._life import Plan

WORKERS: Final = 2
MOST_SHRUNK: Final = 2
"""Failures of one block that are shrunk; the others are counted and named."""


@dataclass
class Played:
    """What lives have come to."""

    schedules: int = 0
    requests: int = 0
    faults: int = 0
    """Those that met a request."""
    failures: list[str] = field(default_factory=list)

    def add(self, other: Played) -> None:
        """Both together."""
        self.schedules += other.schedules
        self.requests += other.requests
        self.faults += other.faults
        self.failures += other.failures


def told(life: Plan, error: BaseException, smallest: Schedule | None = None) -> str:
    """One line that is enough to see it again."""
    why = f"{type(error).__name__}: {error}"
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"seed {life.seed}: {why} ({notes}) {(smallest or life.schedule).to_json()}"


def smallest(life: Plan, fails: Callable[[Plan], bool]) -> Schedule:
    """The least part of the schedule of *life* with which *fails* still says so."""

    async def again(schedule: Schedule) -> bool:
        return await asyncio.to_thread(fails, replace(life, schedule=schedule))

    return asyncio.run(shrink(life.schedule, again))


@dataclass(frozen=True, slots=True)
class Spread:
    """How *count* seeds from *first* on are dealt out: in blocks, to processes, for at most *seconds*."""

    first: int
    count: int
    block: int
    seconds: float
    workers: int = WORKERS


def spread(
    play: Callable[[int, int], Played], how: Spread, progress: Callable[[str], None]
) -> tuple[Played, float]:
    """
    What `play(start, stop)` gives for all seeds, over its processes, and the seconds it took.

    Blocks that would begin after the time is over are left out: `schedules` tells how many were played.
    Blocks the calling thread. *play* must be importable by name.
    """
    total = Played()
    blocks = _blocks(how)
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(how.workers, mp_context=context) as pool:
        # Processes are started and have imported everything before the clock runs.
        wait_for([pool.submit(play, 0, 0) for _ in range(2 * how.workers)])
        began = time.monotonic()
        running: set[Future[Played]] = set()
        more = True
        while more or running:
            while more and len(running) < how.workers:
                found = next(blocks, None)
                more = found is not None and time.monotonic() - began < how.seconds
                if found is not None and more:
                    running.add(pool.submit(play, *found))
            done, running = wait_for(running, return_when="FIRST_COMPLETED")
            for each in done:
                total.add(each.result())
            took = time.monotonic() - began
            progress(f"{total.schedules} of {how.count} in {took:.0f} s, {len(total.failures)} failed")
    return total, time.monotonic() - began


def _blocks(how: Spread) -> Iterator[tuple[int, int]]:
    stop = how.first + how.count
    return iter([(start, min(start + how.block, stop)) for start in range(how.first, stop, how.block)])
