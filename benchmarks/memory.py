"""
The memory of a long stream and of a large batch on MinIO, with their limits.

    python -m benchmarks.memory

Prints what each of them added to the resident set; the exit code is 1 when a limit was exceeded. Both run in
processes of their own, with the interpreter that runs this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import runner
from benchmarks.candidates import BY_NAME, MIB, OURS, PART_SIZE, STREAM_PARTS, Target
from benchmarks.goals import BATCH_GROWTH, STREAM_GROWTH
from benchmarks.measuring import Sample
from benchmarks.process import WorkerFailedError, WorkerProcess
from benchmarks.seeding import seed
from benchmarks.workloads import KIB, TINY, Workload, batch, stream
from greenlang_async_storage.testing import MinioServer, ServerStartError

_NOTHING_TO_READ = replace(TINY, workloads=(), scaling=())


@dataclass(frozen=True, slots=True)
class Check:
    """A workload, what its memory may grow by, and why that much."""

    work: Workload
    limit: int
    formula: str

    def line(self, sample: Sample) -> str:
        """The figure beside its limit."""
        verdict = "ok" if sample.growth <= self.limit else "EXCEEDED"
        grown, limit = sample.growth / MIB, self.limit / MIB
        start, most = sample.rss_start / MIB, sample.rss_peak / MIB
        rate = sample.units / sample.wall
        return (
            f"{self.work.label}: memory grew by {grown:.1f} MiB, "
            f"limit {limit:.0f} MiB ({self.formula}): {verdict}; "
            f"from {start:.0f} to {most:.0f} MiB in {sample.wall:.1f} s, {rate:,.0f} per second"
        )


def checks(*, stream_mib: int, items: int, item_size: int) -> tuple[Check, Check]:
    """The stream and the batch, in these sizes."""
    return (
        Check(
            stream(stream_mib * MIB),
            STREAM_GROWTH,
            f"({STREAM_PARTS} + 1) parts of {PART_SIZE // MIB} MiB + 32 MiB",
        ),
        Check(batch(items, item_size), BATCH_GROWTH, f"flat from item {items // 10:,} on, 32 MiB of slack"),
    )


def run(wanted: Sequence[Check], *, candidate: str = OURS) -> bool:
    """Print a line for each of *wanted*; whether all stayed within their limits."""
    kept = True
    with MinioServer.start(kms=False) as server, tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        target, folder = runner.target_on(server), Path(scratch)
        asyncio.run(seed(target, _NOTHING_TO_READ, folder, print))
        for check in wanted:
            print(f"{check.work.label} ...", flush=True)
            sample = _measured(check.work, candidate, target, folder)
            print(check.line(sample), flush=True)
            kept = kept and sample.growth <= check.limit
    return kept


def _measured(work: Workload, candidate: str, target: Target, folder: Path) -> Sample:
    with WorkerProcess(Path(sys.executable), BY_NAME[candidate], target, folder) as worker:
        return worker.measure(work)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--stream-mib", type=int, default=2048, help="size of the stream; default: %(default)s"
    )
    parser.add_argument("--items", type=int, default=100_000, help="items of the batch; default: %(default)s")
    parser.add_argument("--item-size", type=int, default=KIB, help="bytes of an item; default: %(default)s")
    parser.add_argument("--fast-path", choices=("on", "off"), default="on")
    options = parser.parse_args(arguments)
    wanted = checks(stream_mib=options.stream_mib, items=options.items, item_size=options.item_size)
    try:
        kept = run(wanted, candidate=OURS if options.fast_path == "on" else "bucket-plain")
    except (ServerStartError, WorkerFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
