"""
A soak on a MinIO of its own: all the SDK does, for minutes, while memory and descriptors stay the same.

    python -m benchmarks.soak --minutes 10

Writes benchmarks/results/soak.json and, where .venv-bench is (`make bench` makes it), the plot
docs/images/soak.svg and .png. The exit code is 1 when something grew, was left open, or a read was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import environment, machine
from benchmarks.soak_load import KEYS, Load
from benchmarks.soak_samples import Footprint, Sample, Soak
from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer

RESULTS: Final = Path(__file__).parent / "results" / "soak.json"
PLOT: Final = environment.ROOT / "docs" / "images" / "soak"
POOL: Final = 32
CALLERS: Final = 48
"""More than connections, so that some always wait for one."""
WARM_UP: Final = 0.2
"""Share of the run that does not count: until caches, threads and connections are there."""
INTERVAL: Final = 1.0
LINES: Final = 20
"""Of a listing for people."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long: *seconds*, or until so many *requests* were sent, whichever comes first."""

    seconds: float = float("inf")
    requests: float = float("inf")
    callers: int = CALLERS
    keys: int = KEYS
    interval: float = INTERVAL
    seed: int = 0
    warm_up: float = WARM_UP
    """Share of it that does not count."""
    collect: bool = False
    """Look at memory once garbage is collected and the allocator keeps no spare room: at what is held."""

    def share(self, elapsed: float, requests: int) -> float:
        """How much of it is done; 1 at its end."""
        return max(elapsed / self.seconds, requests / self.requests)


def settings_on(server: MinioServer, *, fast_path: bool = True) -> StorageSettings:
    """What a session of a soak is made with."""
    return StorageSettings(
        **server.settings_kwargs(),
        data_lake_bucket="soak",
        encryption="none",
        fast_path=fast_path,
        max_pool_connections=POOL,
    )


async def soak(settings: StorageSettings, folder: Path, plan: Plan, watch: Callable[[Sample], None]) -> Soak:
    """
    The load of *plan* on one session, with a sample every second; *watch* sees each.

    Raises whatever a call raised that it should not have, and `WrongContentError` for wrong bytes.
    """
    before = await _settled()
    async with StorageSession(settings) as session:
        await session.ensure_buckets()
        load = Load(session.data_lake, folder, callers=plan.callers, keys=plan.keys, seed=plan.seed)
        await load.prepare()
        rested = await _settled()
        running = asyncio.ensure_future(load.run())
        samples, warm_up = await _sampled(session, load, running, plan, watch)
        await running
        idle = await _settled()
        statistics = asdict(session.statistics())
        left = await session.client.list_multipart_uploads(Bucket=session.data_lake.name)
        found = Soak(
            before=before,
            at_rest=(rested, idle),
            after=idle,
            warm_up=warm_up,
            samples=samples,
            done=dict(load.done),
            statistics=statistics,
            open_uploads=len(left.get("Uploads", [])),
        )
        del load, session, running
    found.after = await _settled()
    return found


async def _sampled(
    session: StorageSession,
    load: Load,
    running: asyncio.Future[None],
    plan: Plan,
    watch: Callable[[Sample], None],
) -> tuple[list[Sample], float]:
    """A sample per interval until the plan is done or the load failed; and when the warm-up was over."""
    samples: list[Sample] = []
    start, warm_up, share = time.monotonic(), float("inf"), 0.0
    begun = session.statistics().requests
    try:
        while share < 1 and not running.done():
            await asyncio.wait([running], timeout=plan.interval)
            requests, elapsed = session.statistics().requests - begun, time.monotonic() - start
            if plan.collect:
                _give_back()
            samples.append(Sample(elapsed, requests, Footprint.now()))
            watch(samples[-1])
            share = plan.share(elapsed, requests)
            if share >= plan.warm_up:
                warm_up = min(warm_up, elapsed)
    finally:
        load.stopping = True
    return samples, warm_up


def _give_back() -> None:
    """Collect garbage, and have glibc return freed memory; other systems' libraries have no such call."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def _settled() -> Footprint:
    """What is held once callbacks have run and garbage is gone."""
    for _ in range(3):
        await asyncio.sleep(0.05)
        gc.collect()
    return Footprint.now()


class Growth:
    """Which lines of code hold more after the warm-up: a snapshot then, and one when it is told."""

    def __init__(self, warm_up: float) -> None:
        self._warm_up = warm_up
        self._first: tracemalloc.Snapshot | None = None
        tracemalloc.start()

    def watch(self, sample: Sample) -> None:
        """Take the first snapshot when its time has come."""
        if self._first is None and sample.at >= self._warm_up:
            gc.collect()
            self._first = tracemalloc.take_snapshot()

    def told(self) -> str:
        """A line for each of those that grew most."""
        gc.collect()
        last = tracemalloc.take_snapshot()
        grown = last.compare_to(self._first or last, "lineno")
        return "\n".join(str(line) for line in grown[:LINES])


def told(found: Soak, problems: list[str]) -> dict[str, Any]:
    """The run as JSON."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine.describe(),
        "callers": CALLERS,
        "pool": POOL,
        "warm_up": round(found.warm_up, 1),
        "drift_mib": round(found.drift, 2),
        "problems": problems,
        "before": asdict(found.before),
        "at_rest": [asdict(held) for held in found.at_rest],
        "after": asdict(found.after),
        "done": dict(sorted(found.done.items())),
        "statistics": found.statistics,
        "samples": [sample.row() for sample in found.samples],
    }


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--plain", action="store_true", help="botocore's own pipeline, without the fast path")
    parser.add_argument("--trace", action="store_true", help="slowly: tell which lines hold what grew")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file of the figures")
    parser.add_argument("--plot", type=Path, default=PLOT, help="the plot, without .svg and .png")
    arguments = parser.parse_args()
    plan = Plan(seconds=arguments.minutes * 60)
    growth = Growth(plan.seconds * plan.warm_up) if arguments.trace else None
    every = max(1, round(plan.seconds / LINES))
    seen = 0

    def watch(sample: Sample) -> None:
        nonlocal seen
        seen += 1
        if growth is not None:
            growth.watch(sample)
        if seen % every == 0:
            held = sample.footprint
            print(
                f"{sample.at:6.0f} s  {sample.requests:9,} requests  {held.rss:6.1f} MiB  "
                f"{held.fds} descriptors  {held.connections} sockets  {held.tasks} tasks",
                flush=True,
            )

    with MinioServer.start(kms=False) as server, tempfile.TemporaryDirectory(prefix="soak-") as folder:
        settings = settings_on(server, fast_path=not arguments.plain)
        found = asyncio.run(soak(settings, Path(folder), plan, watch))
    if growth is not None:
        print(growth.told())
    problems = found.problems(POOL)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(told(found, problems), indent=1) + "\n")
    print(f"{found.samples[-1].requests:,} requests; memory {found.drift:+.2f} MiB after the warm-up")
    print("\n".join(problems) or "flat: nothing grew, nothing was left open, every read was right")
    if environment.PYTHON.exists():
        command = [str(environment.PYTHON), "-m", "benchmarks.soak_chart", str(arguments.output)]
        subprocess.run([*command, str(arguments.plot)], check=True, cwd=environment.ROOT)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
