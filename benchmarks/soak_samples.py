"""What a process holds while it soaks, and whether it stays the same."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
PAGE: Final = resource.getpagesize()
RSS_DRIFT: Final = 5.0
"""MiB between the beginning, after the warm-up, and the end."""
WINDOW: Final = 0.2
"""The beginning and the end are this share of the samples each."""
CLOSING: Final = 8
"""Connections of cancelled calls that are closed in the next turn of the loop."""
AT_REST: Final = ("in_flight", "pool_waiting", "cleanups_pending")
"""What `statistics()` shows as 0 when nothing is going on."""
_FDS: Final = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process holds at one moment."""

    rss: float
    """Resident set, MiB."""
    fds: int
    tasks: int
    connections: int
    """Open sockets."""

    @property
    def files(self) -> int:
        """Descriptors that are no sockets."""
        return self.fds - self.connections

    @classmethod
    def now(cls) -> Footprint:
        """Of this process; call it inside its event loop."""
        names = [_target(name) for name in os.listdir(_FDS)]  # noqa: PTH208  # once a second, without objects
        rss = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE / MIB
        sockets = sum(name.startswith("socket:") for name in names)
        # The listing's own descriptor is closed by now.
        return cls(rss, sum(bool(name) for name in names), len(asyncio.all_tasks()), sockets)


def _target(name: str) -> str:
    try:
        return str((_FDS / name).readlink())
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of a soak."""

    at: float
    """Seconds since its start."""
    requests: int
    """So far."""
    footprint: Footprint

    def row(self) -> dict[str, float]:
        """As one flat line of JSON."""
        held = asdict(self.footprint)
        return {"at": round(self.at, 2), "requests": self.requests, **held, "rss": round(held["rss"], 2)}


def _lower_quartile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 4]


@dataclass
class Soak:
    """A whole run: what was held before, during and after it, and what was done."""

    before: Footprint
    """With nothing open."""
    at_rest: tuple[Footprint, Footprint]
    """Open and idle: after a short load, and after all of it."""
    after: Footprint
    """Closed again."""
    warm_up: float
    """Seconds that do not count."""
    samples: list[Sample]
    done: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, int] = field(default_factory=dict)
    open_uploads: int = 0

    @property
    def counted(self) -> list[Sample]:
        """Those after the warm-up."""
        return [sample for sample in self.samples if sample.at >= self.warm_up]

    @property
    def drift(self) -> float:
        """
        MiB the resident set grew by, from the beginning to the end of what counts.

        Lower quartiles of each are compared: what grows lifts them too, and a part in flight does not.
        """
        values = [sample.footprint.rss for sample in self.counted]
        share = max(1, round(len(values) * WINDOW))
        return _lower_quartile(values[-share:]) - _lower_quartile(values[:share])

    def problems(self, pool: int) -> list[str]:
        """What was not flat, a line each; *pool* is the number of connections the session may have."""
        found = []
        if self.drift > RSS_DRIFT:
            found.append(f"memory grew by {self.drift:.1f} MiB, {RSS_DRIFT:g} are allowed")
        most = max(sample.footprint.connections for sample in self.samples) - self.before.connections
        if most > pool + CLOSING:
            found.append(f"{most} connections, the pool may have {pool}")
        first, last = self.at_rest
        if last.tasks != first.tasks:
            found.append(f"{last.tasks} tasks at rest instead of {first.tasks}")
        if last.files != first.files:
            found.append(f"{last.files} open files at rest instead of {first.files}")
        for what in ("fds", "tasks", "connections"):
            left, had = getattr(self.after, what), getattr(self.before, what)
            if left != had:
                found.append(f"{left} {what} after closing instead of {had}")
        if self.open_uploads:
            found.append(f"{self.open_uploads} multipart uploads left open")
        held = {name: self.statistics[name] for name in AT_REST if self.statistics[name]}
        return [*found, *(f"{name} is {value} at rest" for name, value in held.items())]
