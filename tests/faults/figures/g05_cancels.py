"""G5: a cancel at every await of every public coroutine leaves nothing, and takes no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults._cancel_lab import WEATHER, Behaviour, Scene, scene, small_parts
from tests.faults._cancel_ring import RING, prepare
from tests.faults._cancel_run import cancelled, children_cancelled
from tests.faults._cancel_served import clients_leave, served
from tests.faults._cancel_works import CHILDREN, EVERY, SESSION
from tests.faults.figures._figure import Figure, Scale
from tests.support.cancel import Tally, cancel_twice_everywhere
from tests.support.faults import Door

PATHS = (True, False)
MINUTES = 2.5
FULL_MINUTES = 40.0

POINTS: Final = 20_000
FULL_POINTS: Final = 200_000
"""Half of them by each path; the first round of each comes to every await."""
SECONDS: Final = 230.0
FULL_SECONDS: Final = 2_400.0
CLEANUP: Final = 5.0
PLACES: Final = 60
ROUNDS: Final[tuple[tuple[Behaviour, dict[str, Any]], ...]] = (
    ("aws", {"transfer_concurrency": 3}),
    ("minio", {"transfer_concurrency": 1, "max_pool_connections": 3}),
    ("moto", {"transfer_concurrency": 8, "max_pool_connections": 5}),
    ("aws", {"transfer_concurrency": 2, "max_pool_connections": 2}),
)
"""Stores, and sessions of other widths: with other widths calls suspend at other places."""


@dataclass
class Run:
    """One measurement: what was counted, and what was found to be left."""

    scale: Scale
    wanted: int
    ends: float
    tally: Tally = field(default_factory=Tally)
    leaks: list[str] = field(default_factory=list)
    rounds: int = 0

    @property
    def door(self) -> Door:
        """In memory with botocore's pipeline, or through sockets with the fast path."""
        return "served" if self.scale.fast_path else "direct"

    def over(self) -> bool:
        """Whether enough was counted, or the time is up."""
        return self.tally.points.total() >= self.wanted or time.monotonic() > self.ends

    async def guarded(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """*work*, whose failure is a leak found."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
            notes = "; ".join(getattr(error, "__notes__", []))
            self.leaks.append(f"{what}: {type(error).__name__}: {str(error)[:300]} ({notes})")
        counted = self.tally.points.total()
        self.scale.progress(f"{what}: {counted:,} points, {len(self.leaks)} leaks")


async def _core(run: Run, at: Scene) -> None:
    for weather in WEATHER:
        at.weather = weather
        await cancelled(at, EVERY, list(EVERY), run.tally)
        await children_cancelled(at, EVERY, CHILDREN, run.tally)
        if run.over():
            return


async def _ring(run: Run, at: Scene) -> None:
    # It stands on the same calls: once in bad weather is enough.
    for weather in ("fair", "reply lost", "ends lost")[: 1 if run.rounds else 3]:
        at.weather = weather
        await cancelled(at, RING, list(RING), run.tally)


async def _round(run: Run, folder: Path) -> None:
    behaviour, settings = ROUNDS[run.rounds % len(ROUNDS)]

    async def core() -> None:
        async with scene(run.door, folder / "core", behaviour=behaviour, **settings) as at:
            await _core(run, at)

    async def ring() -> None:
        async with scene(run.door, folder / "ring", behaviour=behaviour, prepare=prepare, **settings) as at:
            await _ring(run, at)

    async def sessions() -> None:
        async with scene(run.door, folder / "sessions", behaviour=behaviour, **settings) as at:
            for work in SESSION.values():
                await cancel_twice_everywhere(at.begin(work), at.check, tally=run.tally)

    await run.guarded(f"buckets, round {run.rounds + 1}", core)
    if not run.rounds or not run.over():
        await run.guarded(f"artifacts, directories, tables, round {run.rounds + 1}", ring)
    if not run.rounds:
        await run.guarded("sessions", sessions)
    run.rounds += 1


def _clients(run: Run) -> None:
    with served(fast_path=run.scale.fast_path) as at:
        clients_leave(at, run.tally, places=PLACES * (5 if run.scale.full else 1))


async def measure(scale: Scale) -> list[Figure]:
    """Rounds until enough cancels have arrived; every one is followed by the whole check."""
    points, seconds = (FULL_POINTS, FULL_SECONDS) if scale.full else (POINTS, SECONDS)
    wanted = points // 2
    run = Run(scale, wanted, time.monotonic() + seconds)
    with small_parts():
        await run.guarded("clients that leave", lambda: asyncio.to_thread(_clients, run))
        while not run.over() and len(run.leaks) < 10:
            await _round(run, scale.folder / f"round-{run.rounds}")
    counted = run.tally.points.total()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(run.tally.points.items()))
    notes = (f"{kinds}; {run.rounds} rounds", *(f"left: {text}" for text in run.leaks[:5]))
    return [
        Figure(
            "G5",
            "cancels at an await, each followed by the whole check",
            f">= {points:,}, half by each path",
            f"{counted:,}",
            holds=counted >= wanted,
            notes=notes,
        ),
        Figure(
            "G5",
            "leaks: tasks, slots, uploads, sockets, temporary files, half results, replies out of step",
            "0",
            str(len(run.leaks)),
            holds=not run.leaks,
        ),
        Figure(
            "G5",
            "seconds from the cancel to the end of the call, the slowest",
            f"<= {CLEANUP:g}",
            f"{run.tally.slowest:.2f}",
            holds=run.tally.slowest <= CLEANUP,
        ),
    ]
