"""G14: random histories of calls and faults against a plain dict: in memory both paths, and on MinIO."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults._bucket_model import divergence
from tests.faults._model_worlds import Bench, Place
from tests.faults.figures._figure import Figure, Scale

PATHS = (True,)
"""The histories are shared out: some go through botocore's pipeline, the others through the fast path."""
ALONE = True
"""It uses both cores."""
MINUTES = 3.5
FULL_MINUTES = 75.0

WORKERS: Final = 2
PIECES: Final = 4
"""Processes of each kind one after the other: they end at about the same time."""
MEMORY_RUNS, MINIO_RUNS, STEPS = 2_000, 200, 50
PLAIN_SHARE: Final = 4
"""One in so many in memory by botocore's pipeline, which takes half as long again; on MinIO one in two."""
FULL_RUNS, FULL_STEPS = 20_000, 100


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the histories, played by one process."""

    place: Place
    fast_path: bool
    runs: int
    steps: int
    seed: int
    folder: str


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it."""

    part: Part
    runs: int
    steps: int
    divergence: str


def play(part: Part) -> Played:
    """In a process of its own."""
    folder = Path(part.folder)
    folder.mkdir()
    try:
        with Bench(part.place, folder, fast_path=part.fast_path) as bench:
            found = divergence(bench, runs=part.runs, steps=part.steps, seed=part.seed)
            return Played(part, bench.runs, bench.steps, found)
    except Exception as error:  # noqa: BLE001  # told in the table
        return Played(part, 0, 0, f"{type(error).__name__}: {error}")


def parts(scale: Scale) -> list[Part]:
    """All there is to play, the slowest first."""
    steps = FULL_STEPS if scale.full else STEPS
    memory, minio = (FULL_RUNS, FULL_RUNS) if scale.full else (MEMORY_RUNS, MINIO_RUNS)
    kinds: Sequence[tuple[Place, bool, int]] = [
        ("minio", True, minio // 2),
        ("minio", False, minio // 2),
        ("memory", False, memory // PLAIN_SHARE),
        ("served", True, memory - memory // PLAIN_SHARE),
    ]
    made: list[Part] = []
    for place, fast_path, runs in kinds:
        pieces = 1 if place == "minio" else PIECES
        for _ in range(pieces):
            seed = scale.seed + len(made)
            folder = str(scale.folder / f"part-{len(made)}")
            made.append(Part(place, fast_path, runs // pieces, steps, seed, folder))
    return made


def _play_all(todo: Sequence[Part], progress: Callable[[str], None]) -> list[Played]:
    def tell(done: Future[Played]) -> None:
        if done.exception() is None:
            found = done.result()
            said = found.divergence[:200] or "no divergence"
            progress(f"{found.part.place}, seed {found.part.seed}: {found.runs} runs, {said}")

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        waiting = [pool.submit(play, part) for part in todo]
        for one in waiting:
            one.add_done_callback(tell)
        return [one.result() for one in waiting]


async def measure(scale: Scale) -> list[Figure]:
    """All histories over two processes."""
    begun = time.monotonic()
    found = await asyncio.to_thread(_play_all, parts(scale), scale.progress)
    seconds = time.monotonic() - begun
    told = []
    for what, places in (("in memory (T1)", ("memory", "served")), ("on MinIO (T3)", ("minio",))):
        mine = [one for one in found if one.part.place in places]
        wanted = sum(one.part.runs for one in mine)
        runs, steps = sum(one.runs for one in mine), sum(one.steps for one in mine)
        broken = [one for one in mine if one.divergence]
        plain = sum(one.runs for one in mine if not one.part.fast_path)
        told.append(
            Figure(
                "G14",
                f"histories of {mine[0].part.steps} steps {what} that diverged from a dict",
                f"0 of {wanted:,}",
                f"{len(broken)} of {runs:,}, {steps:,} steps",
                holds=not broken and runs >= wanted,
                seeds=f"{min(one.part.seed for one in mine)} to {max(one.part.seed for one in mine)}",
                notes=(
                    f"{plain:,} by botocore's pipeline, the others by the fast path; {seconds:.0f} s in all",
                    *(f"seed {one.part.seed}, {one.part.place}: {one.divergence[:300]}" for one in broken),
                ),
            )
        )
    return told
