"""
Where the time of a GET of 1 KiB through `Bucket` goes, on the fast path.

    python -m benchmarks.profile [--publish]

cProfile makes calls look dearer than they are, so its figures are used as shares only: they are scaled to the
CPU per call that was measured without it. Built-in functions count for the module that calls them.
Sending is in the event loop's share: asyncio's transport does it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import publish, report, runner
from benchmarks.candidates import BY_NAME, OURS, Target
from benchmarks.environment import ROOT
from benchmarks.measuring import Cpu, closed_loop
from benchmarks.seeding import seed
from benchmarks.workloads import KIB, TINY, object_key
from greenlang_async_storage.testing import MinioServer, ServerStartError

IN_FLIGHT: Final = 32
_PACKAGE: Final = "greenlang_async_storage/"
_GROUPS: Final = (
    ("fastpath/transport/", "transport: HTTP/1.1, pool, sockets"),
    ("fastpath/_signer", "signature"),
    ("fastpath/_serializer", "request from the model"),
    ("fastpath/_endpoint", "request from the model"),
    ("fastpath/_agent", "request from the model"),
    ("fastpath/_parser", "reply to botocore's dict"),
    ("fastpath/_times", "reply to botocore's dict"),
    ("fastpath/_reply", "reply to botocore's dict"),
    ("fastpath/_checksums", "checksum of the body"),
    ("fastpath/", "compiled call: checks and glue"),
    ("_checksums/", "checksum of the body"),
    ("_retry", "gate, deadline, retry, error map"),
    ("_connection", "gate, deadline, retry, error map"),
    ("_requests", "gate, deadline, retry, error map"),
    ("_deadline", "gate, deadline, retry, error map"),
    ("_lifecycle", "gate, deadline, retry, error map"),
    ("_bucket/", "Bucket: key check, results"),
    ("_names", "Bucket: key check, results"),
    ("_info", "Bucket: key check, results"),
    ("", "download: body, verification"),
)
_OTHERS: Final = (
    ("/asyncio/", "event loop and tasks"),
    ("/selectors.py", "event loop and tasks"),
    ("/hmac.py", "signature"),
    ("/anyio/", "anyio"),
    ("/structlog/", "logging"),
    ("/logging/", "logging"),
    ("/botocore/", "botocore and aiobotocore"),
    ("/aiobotocore/", "botocore and aiobotocore"),
    ("/benchmarks/", "the benchmark itself"),
)
_REST: Final = "everything else"
_Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Profile:
    """Microseconds of CPU per call: in all, by group, and of the dearest functions."""

    total: float
    groups: dict[str, float]
    functions: list[tuple[str, float]]

    def markdown(self) -> str:
        """Two tables."""
        groups = sorted(self.groups.items(), key=lambda item: -item[1])
        whole = [("**all**", f"{self.total:.0f}", "100 %")]
        rows = [*whole, *((name, f"{value:.0f}", f"{value / self.total:.0%}") for name, value in groups)]
        functions = [(f"`{name}`", f"{value:.1f}") for name, value in self.functions]
        return "\n\n".join(
            (
                report.table(("GET 1 KiB, 32 in flight", "µs of CPU", "share"), rows),
                report.table(("function, built-ins it calls included", "µs of CPU"), functions),
            )
        )


def group_of(filename: str) -> str:
    """The part of the work a file belongs to."""
    path = filename.replace("\\", "/")
    _, found, below = path.rpartition(_PACKAGE)
    if found:
        return next(name for start, name in _GROUPS if below.startswith(start))
    return next((name for part, name in _OTHERS if part in path), _REST)


def own_times(stats: pstats.Stats) -> dict[_Key, float]:
    """Seconds spent in each Python function itself and in the built-in functions it called."""
    table: dict[_Key, tuple[int, int, float, float, dict[_Key, tuple[int, int, float, float]]]]
    table = stats.stats  # type: ignore[attr-defined]  # typeshed leaves out what the class is about
    times: dict[_Key, float] = defaultdict(float)
    for key, (_, _, own, _, callers) in table.items():
        if key[0] != "~" or not callers:
            times[key] += own
            continue
        for caller, (_, _, part, _) in callers.items():
            times[caller] += part
    return times


def summarise(times: dict[_Key, float], cpu_per_call: float, *, shown: int = 20) -> Profile:
    """*times* as shares of *cpu_per_call*, in microseconds."""
    scale = cpu_per_call * 1e6 / sum(times.values())
    groups: dict[str, float] = defaultdict(float)
    for key, value in times.items():
        groups[group_of(key[0])] += value * scale
    dearest = sorted(times.items(), key=lambda item: -item[1])[:shown]
    return Profile(cpu_per_call * 1e6, dict(groups), [(_name(key), value * scale) for key, value in dearest])


def _name(key: _Key) -> str:
    filename, _, function = key
    if filename == "~":
        return function.strip("<>")
    path = filename.replace("\\", "/")
    _, found, below = path.rpartition(_PACKAGE)
    return f"{below if found else '/'.join(path.split('/')[-2:])}:{function}"


async def profile(target: Target, *, seconds: float) -> Profile:
    """Measure without the profiler, then look with it."""
    candidate = BY_NAME[OURS].make()
    candidate.load()
    await candidate.open(target)
    try:

        async def get(number: int) -> None:
            await candidate.get(object_key(KIB, number))

        await closed_loop(get, in_flight=IN_FLIGHT, seconds=min(1.0, seconds))
        cpu = Cpu()
        times = await closed_loop(get, in_flight=IN_FLIGHT, seconds=seconds)
        per_call = cpu.spent() / len(times)
        stats = await _profiled(get, seconds)
    finally:
        await candidate.close()
    return summarise(own_times(stats), per_call)


async def _profiled(get: Callable[[int], Awaitable[object]], seconds: float) -> pstats.Stats:
    # By CPU time: waiting for the network, or for a busy machine, is no cost of ours.
    profiler = cProfile.Profile(time.thread_time)
    profiler.enable()
    await closed_loop(get, in_flight=IN_FLIGHT, seconds=seconds)
    profiler.disable()
    return pstats.Stats(profiler)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="per pass; default: %(default)s")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args(arguments)
    try:
        with MinioServer.start(kms=False) as server, tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            target = runner.target_on(server)
            asyncio.run(seed(target, TINY, Path(scratch), lambda _: None))
            text = asyncio.run(profile(target, seconds=options.seconds)).markdown()
    except ServerStartError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    if options.publish:
        path = ROOT / "docs" / "performance.md"
        path.write_text(publish.fill(path.read_text(), {"profile": text}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
