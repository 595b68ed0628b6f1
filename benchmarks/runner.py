"""A run: one server, every candidate in its own process, rounds interleaved over all of them."""

from __future__ import annotations

import asyncio
import datetime
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import machine
from benchmarks.candidates import Entry, Target
from benchmarks.measuring import Sample
from benchmarks.process import WorkerFailedError, WorkerProcess
from benchmarks.progress import Progress
from benchmarks.results import Pass, Record, Results
from benchmarks.seeding import seed
from benchmarks.workloads import OPENING, Plan, Workload, list_prefix
from greenlang_async_storage.testing import MinioServer, StorageServer

BUCKET = "benchmark"
_OPEN_SECONDS = 1.5
_FILE_RATE = 150.0
"""MiB a second to expect of a file; only for the time that is left."""
_BATCH_RATE = 1000.0
_LIST_RATE = 20_000.0


def target_on(server: StorageServer, bucket: str = BUCKET) -> Target:
    """*server* as the candidates see it."""
    return Target(
        endpoint_url=server.endpoint_url,
        region=server.region,
        access_key=server.access_key,
        secret_key=server.secret_key,
        bucket=bucket,
    )


def run(plan: Plan, entries: Sequence[Entry], python: Path) -> Results:
    """The results of *plan* for *entries*, on a MinIO that lives as long as the run."""
    results = Results(
        plan=plan.name,
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        rounds=plan.rounds,
        machine=machine.describe(),
        versions=machine.versions(python),
        workloads=[*plan.workloads, *plan.once, *plan.scaling],
    )
    with MinioServer.start(kms=False) as server, tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        _Run(plan, entries, results, python=python, target=target_on(server), folder=Path(scratch)).all()
    return results


class _Run:
    """One run under way."""

    def __init__(
        self,
        plan: Plan,
        entries: Sequence[Entry],
        results: Results,
        *,
        python: Path,
        target: Target,
        folder: Path,
    ) -> None:
        self._plan = plan
        self._entries = entries
        self._python = python
        self._target = target
        self._folder = folder
        self._results = results
        self._progress = Progress(self._expected())

    def all(self) -> None:
        """Seed, the rounds, what is measured once, the scaling, and the pass that watches the event loop."""
        plan = self._plan
        self._progress.say("storing what will be read")
        asyncio.run(seed(self._target, plan, self._folder, self._progress.say))
        for number in range(plan.rounds):
            self._round(number, plan.workloads, "cpu", f"round {number + 1}/{plan.rounds}")
        self._round(0, plan.once, "cpu", "memory")
        for number in range(plan.scaling_rounds):
            self._round(number, plan.scaling, "cpu", f"scaling {number + 1}/{plan.scaling_rounds}")
        watched = [replace(work, seconds=min(work.seconds, plan.stall_seconds)) for work in plan.workloads]
        self._round(0, watched, "stall", "event loop")

    def _order(self, number: int) -> list[Entry]:
        """Each round begins with another candidate, so that no place in the row is always the same one's."""
        shift = number * max(1, len(self._entries) // 3) % len(self._entries)
        return [*self._entries[shift:], *self._entries[:shift]]

    def _round(self, number: int, workloads: Iterable[Workload], measured: Pass, title: str) -> None:
        together = [work for work in workloads if not work.fresh]
        alone = [work for work in workloads if work.fresh]
        order = self._order(number)
        # Everybody's processes stay for the round, and each workload is measured for all before the next.
        if together:
            with ExitStack() as stack:
                workers = []
                for entry in order:
                    worker = self._open(entry, measured, number, title)
                    if worker is not None:
                        workers.append(stack.enter_context(worker))
                for work in together:
                    for worker in workers:
                        if work.includes(worker.entry):
                            self._measure(worker, work, measured, number, title)
        for work in alone:
            for entry in order:
                if work.includes(entry):
                    self._alone(entry, work, measured, number, title)

    def _open(self, entry: Entry, measured: Pass, number: int, title: str) -> WorkerProcess | None:
        try:
            worker = self._start(entry, measured)
        except WorkerFailedError as error:
            self._failed(entry.name, OPENING, error)
            return None
        self._note(entry.name, OPENING, number, measured, worker.opening)
        if worker.monitor_cost is not None:
            self._results.monitor_cost = worker.monitor_cost
        took = f"{worker.opening.wall * 1000:.0f} ms, {worker.opening.cpu * 1000:.0f} ms of CPU"
        self._progress.step(_OPEN_SECONDS, f"{title} · open · {entry.label}: {took}")
        return worker

    def _start(self, entry: Entry, measured: Pass) -> WorkerProcess:
        return WorkerProcess(
            self._python, entry, self._target, self._folder, monitored=measured == "stall" and entry.loop
        )

    def _alone(self, entry: Entry, work: Workload, measured: Pass, number: int, title: str) -> None:
        # Nobody pays for the disk work of the one before.
        os.sync()
        try:
            with self._start(entry, measured) as worker:
                self._measure(worker, work, measured, number, title)
        except WorkerFailedError as error:
            self._failed(entry.name, work.name, error)

    def _measure(
        self, worker: WorkerProcess, work: Workload, measured: Pass, number: int, title: str
    ) -> None:
        entry = worker.entry
        prefix = list_prefix(work.count, self._plan.keys) if work.kind == "list" else ""
        try:
            sample = worker.measure(work, prefix)
        except WorkerFailedError as error:
            self._failed(entry.name, work.name, error)
            return
        line = f"{title} · {work.label} · {entry.label}"
        self._note(entry.name, work.name, number, measured, sample)
        cost = sample.cpu / sample.units * 1e6
        self._progress.step(
            _expected(work),
            f"{line}: {cost:,.0f} µs of CPU per {work.unit}, {sample.units / sample.wall:,.0f}/s",
        )

    def _note(self, candidate: str, workload: str, number: int, measured: Pass, sample: Sample) -> None:
        self._results.records.append(Record(candidate, workload, number, measured, sample))

    def _failed(self, candidate: str, workload: str, error: WorkerFailedError) -> None:
        line = f"{candidate}, {workload}: {error}"
        self._progress.say(f"FAILED: {line}")
        if line not in self._results.failures:
            self._results.failures.append(line)

    def _expected(self) -> float:
        plan = self._plan
        watched = [replace(work, seconds=plan.stall_seconds) for work in plan.workloads]
        return (
            plan.rounds * self._round_expected(plan.workloads)
            + self._round_expected(plan.once)
            + plan.scaling_rounds * self._round_expected(plan.scaling)
            + self._round_expected(watched)
        )

    def _round_expected(self, workloads: Sequence[Workload]) -> float:
        together = any(not work.fresh for work in workloads)
        steps = [_expected(work) for work in workloads for entry in self._entries if work.includes(entry)]
        return sum(steps) + together * _OPEN_SECONDS * len(self._entries)


def _expected(work: Workload) -> float:
    """About how many seconds *work* takes one candidate."""
    if work.kind == "list":
        return work.count / _LIST_RATE
    if work.kind == "batch":
        return work.count / _BATCH_RATE
    if work.fresh:
        return _OPEN_SECONDS + work.size / 1024**2 / _FILE_RATE
    return work.seconds + 0.3
