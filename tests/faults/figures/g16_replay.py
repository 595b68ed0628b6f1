"""G16: a seed is a run: played again, its requests, their order, the replies and the results are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from tests.faults import _memory_lives, _simulated
from tests.faults._life import Plan
from tests.faults._scenes import cancelled, deadline, race
from tests.faults._worlds import ALL_SCENES, Door, memory_plan
from tests.faults.figures._figure import Figure, Scale

PATHS = (True, False)
MINUTES = 0.4
COUNT = 100
IN_REAL_TIME = frozenset({race, deadline, cancelled})
"""Over sockets these depend on the system's clock and on how it cuts the stream, so not on the seed alone."""


async def measure(scale: Scale) -> list[Figure]:
    """Each seed twice, the second time in reverse order and behind doors opened anew."""
    seeds = range(scale.seed, scale.seed + COUNT)
    simulated = await asyncio.to_thread(_twice, [_simulated.plan_for(seed) for seed in seeds], _at_t0)
    scale.progress(f"T0: {simulated} of {COUNT}")
    served = scale.fast_path
    scenes = tuple(scene for scene in ALL_SCENES if not served or scene not in IN_REAL_TIME)
    lives = [memory_plan(seed, waits=not served, scenes=scenes) for seed in seeds]
    memory = await asyncio.to_thread(_twice, lives, partial(_at_t1, served=served))
    scale.progress(f"T1: {memory} of {COUNT}")
    return [
        Figure(
            "G16",
            f"seeds with identical traces when played again, {door}",
            f"{COUNT} of {COUNT}",
            f"{same} of {COUNT}",
            holds=same == COUNT,
            seeds=f"{scale.seed} to {scale.seed + COUNT - 1}",
            notes=("over sockets without races, deadlines and cancels",) if served and door == "T1" else (),
        )
        for door, same in (("T0", simulated), ("T1", memory))
    ]


Play = Callable[[list[Plan]], dict[int, list[str]]]


def _twice(lives: list[Plan], play: Play) -> int:
    """How many of *lives* have the same trace in two runs."""
    first, second = play(lives), play(lives[::-1])
    return sum(life.seed in first and first[life.seed] == second.get(life.seed) for life in lives)


def _at_t0(lives: list[Plan]) -> dict[int, list[str]]:
    return {life.seed: _simulated.run_one(life) for life in lives}


def _at_t1(lives: list[Plan], *, served: bool) -> dict[int, list[str]]:
    traces: dict[int, list[str]] = {}

    def keep(life: Plan, _door: Door, trace: list[str]) -> None:
        traces[life.seed] = trace

    _memory_lives.play_all(lives, served=served, watch=keep, one_by_one=True)
    return traces
