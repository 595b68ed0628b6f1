"""
One candidate in a process of its own: opens, then measures what it is told to, one JSON line each way.

    python -m benchmarks.worker        # started by the runner; the first line says who and where
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from benchmarks.candidates import (
    BY_NAME,
    MIB,
    Batches,
    Candidate,
    Entry,
    Lists,
    MovesFiles,
    Streams,
    Target,
)
from benchmarks.measuring import (
    Cpu,
    LoopMonitor,
    Sample,
    closed_loop,
    monitor_cost,
    peak,
    percentile,
    reset_peak,
    resident,
)
from benchmarks.workloads import KIB, Workload, object_key, objects_of

WARM_SECONDS = 0.1
STREAM_PIECE = 1 * MIB
FIRST_KEY = "first"


class Worker:
    """An open candidate and what it is measured with."""

    def __init__(self, entry: Entry, candidate: Candidate, folder: Path, *, monitored: bool) -> None:
        self._entry = entry
        self._candidate = candidate
        self._folder = folder
        self._monitored = monitored

    async def run(self, work: Workload, prefix: str) -> Sample:
        """Measure *work*; what is listed lies under *prefix*."""
        if work.kind in ("put", "get", "head"):
            return await self._calls(work)
        if work.kind == "list":
            return await self._list(work, prefix)
        if work.kind == "batch":
            return await self._batch(work)
        return await self._transfer(work)

    async def _calls(self, work: Workload) -> Sample:
        operation = self._operation(work)
        width = min(work.in_flight, self._entry.max_in_flight or work.in_flight)
        await closed_loop(operation, in_flight=width, seconds=min(WARM_SECONDS, work.seconds))

        async def measured() -> tuple[int, float, float, float]:
            times = await closed_loop(operation, in_flight=width, seconds=work.seconds)
            return len(times), float(len(times)), percentile(times, 0.5), percentile(times, 0.99)

        return await self._measure(measured)

    def _operation(self, work: Workload) -> Callable[[int], Awaitable[object]]:
        candidate, size = self._candidate, work.size
        if work.kind == "put":
            data = os.urandom(size)
            count = objects_of(size)
            return lambda number: candidate.put(f"written/{size}/{number % count:03d}", data)
        call = candidate.get if work.kind == "get" else candidate.head

        async def read(number: int) -> None:
            found = await call(object_key(size, number))
            if found != size:
                raise ValueError(f"{work.name} gave {found} bytes instead of {size}")

        return read

    async def _list(self, work: Workload, prefix: str) -> Sample:
        lister = self._candidate
        assert isinstance(lister, Lists)

        async def measured() -> tuple[int, float, float, float]:
            started = time.perf_counter()
            found = await lister.list_keys(prefix)
            wall = time.perf_counter() - started
            if found != work.count:
                raise ValueError(f"listing {prefix} gave {found} keys instead of {work.count}")
            return 1, float(found), wall, wall

        return await self._measure(measured)

    async def _transfer(self, work: Workload) -> Sample:
        candidate = self._candidate
        local = self._folder / "downloaded.bin"
        if work.kind == "stream":
            assert isinstance(candidate, Streams)
            transfer = candidate.upload_stream("stream.bin", _pieces(work.size))
        else:
            assert isinstance(candidate, MovesFiles)
            if work.kind == "upload-file":
                transfer = candidate.upload_file("uploaded.bin", self._folder / "source.bin")
            else:
                transfer = candidate.download_file("file.bin", local)

        async def measured() -> tuple[int, float, float, float]:
            started = time.perf_counter()
            await transfer
            wall = time.perf_counter() - started
            return 1, work.size / MIB, wall, wall

        sample = await self._measure(measured)
        if work.kind == "download-file":
            found = local.stat().st_size
            local.unlink()
        elif work.kind == "upload-file":
            found = await candidate.head("uploaded.bin")
        else:
            found = await candidate.head("stream.bin")
        if found != work.size:
            raise ValueError(f"{work.name} moved {found} bytes instead of {work.size}")
        return sample

    async def _batch(self, work: Workload) -> Sample:
        candidate = self._candidate
        assert isinstance(candidate, Batches)
        settled = work.count // 10
        start = 0

        async def items() -> AsyncIterator[tuple[str, bytes]]:
            nonlocal start
            data = os.urandom(work.size)
            for number in range(work.count):
                if number == settled:
                    gc.collect()
                    start = resident()
                    reset_peak()
                yield f"batch/{number % 1000:03d}/{number}", data

        async def measured() -> tuple[int, float, None, None]:
            stored = await candidate.batch(items())
            if stored != work.count:
                raise ValueError(f"{stored} of {work.count} items were stored")
            return stored, float(stored), None, None

        sample = await self._measure(measured)
        return Sample(**{**asdict(sample), "rss_start": start})

    async def _measure(
        self, work: Callable[[], Awaitable[tuple[int, float, float | None, float | None]]]
    ) -> Sample:
        gc.collect()
        reset_peak()
        rss = resident()
        monitor = LoopMonitor() if self._monitored else None
        with monitor or nullcontext():
            cpu, started = Cpu(), time.perf_counter()
            operations, units, p50, p99 = await work()
            wall, spent = time.perf_counter() - started, cpu.spent()
        return Sample(
            operations=operations,
            units=units,
            wall=wall,
            cpu=spent,
            p50=p50,
            p99=p99,
            rss_start=rss,
            rss_peak=peak(),
            stall=monitor.stall if monitor else None,
            stall_cpu=monitor.stall_cpu if monitor else None,
        )


async def _pieces(size: int) -> AsyncIterator[bytes]:
    """*size* bytes in pieces of 1 MiB, each a new object, as a producer would make them."""
    block = os.urandom(STREAM_PIECE)
    for number in range(size // STREAM_PIECE):
        yield number.to_bytes(8, "big") + block[8:]


async def _opened(candidate: Candidate, target: Target, *, monitored: bool) -> tuple[float, float]:
    """Open and send the first request; the longest stall of the loop, and its CPU."""
    monitor = LoopMonitor()
    with monitor if monitored else nullcontext():
        await candidate.open(target)
        await candidate.put(FIRST_KEY, bytes(KIB))
    return monitor.stall, monitor.stall_cpu


async def _serve(
    entry: Entry, first: dict[str, Any], candidate: Candidate, answers: TextIO, begun: Begun
) -> None:
    target = Target(**first["target"])
    monitored = bool(first["monitored"])
    async with AsyncExitStack() as stack:
        stall, stall_cpu = await _opened(candidate, target, monitored=monitored)
        opening = Sample(
            operations=1,
            units=1,
            wall=time.perf_counter() - begun.wall,
            cpu=begun.cpu.spent(),
            rss_start=begun.rss,
            rss_peak=peak(),
            stall=stall if monitored else None,
            stall_cpu=stall_cpu if monitored else None,
        )
        stack.push_async_callback(candidate.close)
        extra = {"monitor_cost": await monitor_cost()} if monitored else {}
        _say(answers, sample=asdict(opening), **extra)
        worker = Worker(entry, candidate, Path(first["folder"]), monitored=monitored)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            try:
                sample = await worker.run(Workload(**command["workload"]), command["prefix"])
            except Exception as error:  # noqa: BLE001  # the runner notes it and goes on
                _say(answers, error=f"{type(error).__name__}: {error}")
            else:
                _say(answers, sample=asdict(sample))


class Begun:
    """Where the process stood before the library was imported."""

    def __init__(self) -> None:
        self.rss = resident()
        self.cpu = Cpu()
        self.wall = time.perf_counter()


def _say(answers: TextIO, **answer: object) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # A library that prints must not spoil the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    first = json.loads(sys.stdin.readline())
    entry = BY_NAME[first["candidate"]]
    candidate = entry.make()
    begun = Begun()
    candidate.load()
    factory = None
    if entry.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(entry, first, candidate, answers, begun))


if __name__ == "__main__":
    main()
