"""
All cases of the table through one door: in slots of one loop, and in several processes.

`python -m tests.faults._table_worker served single 0 2` runs every second case, and prints a summary as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias, get_args

from greenlang_async_storage.testing import MinioServer
from tests.faults._scenarios import SCENARIOS
from tests.faults._table import Case, cases_of, pairs_of
from tests.faults._table_judge import Verdict
from tests.faults._table_minio import minio_world
from tests.faults._table_run import Clean, Runner
from tests.faults._table_watch import watched
from tests.faults._table_world import World, memory_world, small_parts
from tests.support.faults import PART, Door

Where: TypeAlias = Literal["direct", "served", "minio", "minio-plain"]
"""In memory through either path, or on MinIO."""
What: TypeAlias = Literal["single", "pairs"]
PAIRED: Final = ("upload_stream, in parts", "download_file, in ranges")
MINIO_SLOTS: Final = 3
SLOTS: Final = 12
"""Cases at a time in one process: most of those with silence in them only wait."""
TRIES: Final = 5
RENEWED_AFTER: Final = 150
"""Cases after which a slot gets a new session: requests that never end stay with the proxy."""


Open = Callable[[], AbstractAsyncContextManager[World]]


@dataclass
class Plan:
    """Every case there is, and what the clean runs were they come from."""

    open: Open
    """A new world."""
    wire: bool
    cases: list[Case]
    clean: dict[str, Clean]

    def part(self, number: int, of: int) -> Plan:
        """Every *of*-th case, from *number*."""
        return Plan(self.open, self.wire, self.cases[number::of], self.clean)


def in_memory(door: Door) -> Open:
    """Worlds behind *door*."""
    return partial(memory_world, door)


async def plan(open_world: Open, folder: Path, names: Iterable[str] = SCENARIOS, *, wire: bool) -> Plan:
    """Every case there is in such a world, from what clean runs send."""
    made = Plan(open_world, wire, [], {})
    with watched() as watch:
        async with open_world() as world:
            runner = Runner(world, folder, watch, made.clean)
            for name in names:
                clean, scenario = await runner.clean(name), SCENARIOS[name]
                made.cases += cases_of(
                    name,
                    clean.requests,
                    wire=wire,
                    rival=scenario.rival is not None,
                    checked=scenario.checked,
                )
    return made


async def run_plan(
    plan: Plan,
    folder: Path,
    seen: Callable[[Verdict], None],
    *,
    slots: int = SLOTS,
    tries: int = TRIES,
) -> None:
    """
    Run the cases, *slots* at a time; *seen* gets each verdict.

    A case with problems, or late, during which the machine held the loop up is no verdict: it is run again,
    alone. What holds the loop up itself does so every time, and has its verdict at the last of *tries*.
    """
    again: list[Case] = []

    def take(verdict: Verdict) -> None:
        if (verdict.problems or verdict.late) and verdict.held_up and tries > 1:
            again.append(verdict.case)
        else:
            seen(verdict)

    with watched() as watch:
        # Opening a session holds the loop for longer than an attempt may take: nothing runs meanwhile.
        for start in range(0, len(plan.cases), slots * RENEWED_AFTER):
            left = iter(plan.cases[start : start + slots * RENEWED_AFTER])
            async with AsyncExitStack() as stack:
                runners = [
                    Runner(
                        await stack.enter_async_context(plan.open()),
                        Path(stack.enter_context(TemporaryDirectory(dir=folder))),
                        watch,
                        plan.clean,
                    )
                    for _ in range(slots)
                ]
                await asyncio.gather(*(_work(runner, left, take) for runner in runners))
        gc.collect()
        if watch.uncaught:
            raise AssertionError(f"exceptions nobody could catch: {watch.uncaught}")
    if again:
        rest = Plan(plan.open, plan.wire, again, plan.clean)
        await run_plan(rest, folder, seen, slots=1, tries=tries - 1)


async def _work(runner: Runner, left: Iterator[Case], seen: Callable[[Verdict], None]) -> None:
    for case in left:
        seen(await runner.run(case))


@dataclass
class Tally:
    """What many verdicts come to."""

    cases: int = 0
    succeeded: int = 0
    refused: int = 0
    repeated: int = 0
    timed: int = 0
    late: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Case to what was wrong with it."""

    def add(self, verdict: Verdict) -> None:
        """Count *verdict*."""
        self.cases += 1
        self.succeeded += verdict.ended == "success"
        self.refused += verdict.refused
        self.repeated += verdict.repeated
        self.timed += verdict.deadline is not None
        self.late += verdict.late
        if verdict.problems:
            self.problems[str(verdict.case)] = verdict.problems

    def merge(self, other: Tally) -> None:
        """Count what another process has counted."""
        for name in ("cases", "succeeded", "refused", "repeated", "timed", "late"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems |= other.problems


async def _all_cases(open_world: Open, folder: Path, *, wire: bool) -> Plan:
    return await plan(open_world, folder, wire=wire)


async def _pairs(open_world: Open, folder: Path, *, wire: bool) -> Plan:
    """Every two faults of the upload of a stream and of the download of a file."""
    made = await plan(open_world, folder, PAIRED, wire=wire)
    made.cases = [case for name in PAIRED for case in pairs_of(name, made.clean[name].requests, wire=wire)]
    return made


async def run_part(where: Where, what: What, number: int, of: int, folder: Path) -> Tally:
    """Every *of*-th case, from *number*."""
    tally = Tally()
    recorded = folder / "clean"
    recorded.mkdir()
    planned = {"single": _all_cases, "pairs": _pairs}[what]
    if where in ("direct", "served"):
        with small_parts():
            found = await planned(in_memory(where), recorded, wire=where == "served")
            await run_plan(found.part(number, of), folder, tally.add)
        return tally
    server = await asyncio.to_thread(MinioServer.start)
    try:
        with small_parts(PART):
            opened = partial(minio_world, server, fast_path=where == "minio")
            found = await planned(opened, recorded, wire=True)
            await run_plan(found.part(number, of), folder, tally.add, slots=MINIO_SLOTS)
    finally:
        await asyncio.to_thread(server.stop)
    return tally


async def run_in_processes(where: Where, workers: int, what: What = "single", step: int = 1) -> Tally:
    """The whole table, or every *step*-th case of it, in *workers* processes."""
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults._table_worker", where, what),
            *(str(number), str(workers * step)),
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        for number in range(workers)
    ]
    tally = Tally()
    try:
        for output, _ in await asyncio.gather(*(one.communicate() for one in started)):
            tally.merge(Tally(**json.loads(output)))
    finally:
        for one in started:
            if one.returncode is None:
                one.kill()
                await one.wait()
    return tally


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("where", choices=get_args(Where))
    parser.add_argument("what", choices=get_args(What))
    parser.add_argument("number", type=int)
    parser.add_argument("of", type=int)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        tally = asyncio.run(run_part(given.where, given.what, given.number, given.of, Path(folder)))
    sys.stdout.write(json.dumps(asdict(tally)))


if __name__ == "__main__":
    main()
