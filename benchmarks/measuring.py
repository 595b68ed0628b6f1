"""The instruments: CPU, memory, stalls of the event loop, and the closed loop that keeps calls in flight."""

from __future__ import annotations

import asyncio
import itertools
import resource
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

TICK: Final = 0.001
"""Seconds between two looks at the event loop."""
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"
"""Linux, proc(5): writing 5 to clear_refs sets the peak of the resident set to its present size."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one candidate at one workload; times in seconds, sizes in bytes."""

    operations: int
    units: float
    """What the cost is divided by: operations, keys or MiB."""
    wall: float
    cpu: float
    """User and system time of the whole process, its threads included."""
    p50: float | None = None
    p99: float | None = None
    rss_start: int = 0
    rss_peak: int = 0
    stall: float | None = None
    """The longest time the event loop did not come round."""
    stall_cpu: float | None = None
    """The most CPU its thread used between two ticks: a stall that is not the machine's fault."""

    @property
    def growth(self) -> int:
        """How far memory rose above where it was at the start."""
        return max(0, self.rss_peak - self.rss_start)


class Cpu:
    """CPU seconds (user and system) of this process since it was made."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def spent(self) -> float:
        """Seconds."""
        return self._now() - self._start


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def resident() -> int:
    """Bytes of memory this process holds now; 0 where the system does not say."""
    try:
        return _status("VmRSS:")
    except OSError:
        return 0


def reset_peak() -> None:
    """Start a new peak; without Linux's proc file system the peak stays that of the whole process."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return


def peak() -> int:
    """The most memory since `reset_peak`, in bytes."""
    try:
        return _status("VmHWM:")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class LoopMonitor:
    """
    The longest stall of the loop while the block runs: a callback that wants to come every millisecond.

    `stall` is how late the latest one came; `stall_cpu` how much CPU the loop's thread used between two. It
    costs CPU itself (see `monitor_cost`), so figures of CPU come from runs without it.
    """

    def __init__(self) -> None:
        self.stall = 0.0
        self.stall_cpu = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._wall, self._cpu = time.perf_counter(), time.thread_time()
        self._handle = self._loop.call_later(TICK, self._tick)
        return self

    def _look(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        self.stall = max(self.stall, wall - self._wall - TICK)
        self.stall_cpu = max(self.stall_cpu, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu

    def _tick(self) -> None:
        self._look()
        self._handle = self._loop.call_later(TICK, self._tick)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._look()


async def monitor_cost(seconds: float = 0.5) -> float:
    """The share of one core that `LoopMonitor` takes on an idle loop."""
    await asyncio.sleep(0)
    cpu = Cpu()
    with LoopMonitor():
        await asyncio.sleep(seconds)
    return cpu.spent() / seconds


async def closed_loop(
    operation: Callable[[int], Awaitable[object]], *, in_flight: int, seconds: float
) -> array[float]:
    """
    The time of every call: *in_flight* workers call without pause until *seconds* are over, once at least.

    *operation* gets the number of the call.
    """
    numbers = itertools.count()
    times = array("d")
    clock = time.perf_counter
    end = clock() + seconds

    async def worker() -> None:
        while True:
            started = clock()
            await operation(next(numbers))
            now = clock()
            times.append(now - started)
            if now >= end:
                return

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return times


def percentile(times: array[float], share: float) -> float:
    """The time that *share* of the calls did not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
