"""The results of a run: what was measured, and the figures drawn from it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.measuring import Sample
from benchmarks.workloads import Workload

Pass = Literal["cpu", "stall"]
Figure = Callable[[Sample], float | None]


def cpu(sample: Sample) -> float:
    """CPU seconds per unit."""
    return sample.cpu / sample.units


def throughput(sample: Sample) -> float:
    """Units per second."""
    return sample.units / sample.wall


def wall(sample: Sample) -> float:
    """Seconds in all."""
    return sample.wall


def p50(sample: Sample) -> float | None:
    """The median of the calls, in seconds."""
    return sample.p50


def p99(sample: Sample) -> float | None:
    """What 99 % of the calls did not exceed, in seconds."""
    return sample.p99


def rss(sample: Sample) -> float:
    """The most memory held, in bytes."""
    return sample.rss_peak


def growth(sample: Sample) -> float:
    """How far memory rose, in bytes."""
    return sample.growth


def stall(sample: Sample) -> float | None:
    """The longest stall of the event loop, in seconds."""
    return sample.stall


def stall_cpu(sample: Sample) -> float | None:
    """The most CPU of the loop's thread between two ticks, in seconds."""
    return sample.stall_cpu


@dataclass(frozen=True, slots=True)
class Record:
    """One sample and where it belongs."""

    candidate: str
    workload: str
    round: int
    measured: Pass
    sample: Sample


@dataclass(slots=True)
class Results:
    """A run: its circumstances, its samples, what failed."""

    plan: str
    date: str
    rounds: int
    machine: dict[str, str | int]
    versions: dict[str, str]
    workloads: list[Workload]
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    monitor_cost: float | None = None
    """The share of a core the loop monitor takes."""

    def samples(self, candidate: str, workload: str, measured: Pass = "cpu") -> dict[int, Sample]:
        """The samples of one cell by round."""
        return {
            record.round: record.sample
            for record in self.records
            if (record.candidate, record.workload, record.measured) == (candidate, workload, measured)
        }

    def figure(self, candidate: str, workload: str, figure: Figure, measured: Pass = "cpu") -> float | None:
        """The median of *figure* over the rounds; `None` where nothing was measured."""
        values = [figure(sample) for sample in self.samples(candidate, workload, measured).values()]
        return median(value for value in values if value is not None)

    def worst(self, candidate: str, workload: str, figure: Figure, measured: Pass = "cpu") -> float | None:
        """The largest *figure* of any round."""
        values = [figure(sample) for sample in self.samples(candidate, workload, measured).values()]
        return max((value for value in values if value is not None), default=None)

    def ratio(self, over: str, under: str, workload: str, figure: Figure) -> float | None:
        """How many times *over*'s figure is *under*'s: taken round by round, then the median."""
        upper, lower = self.samples(over, workload), self.samples(under, workload)
        ratios = []
        for number in upper.keys() & lower.keys():
            top, bottom = figure(upper[number]), figure(lower[number])
            if top is not None and bottom:
                ratios.append(top / bottom)
        return median(ratios)

    def has(self, candidate: str) -> bool:
        """Whether anything was measured for *candidate*."""
        return any(record.candidate == candidate for record in self.records)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """From JSON."""
        values: dict[str, Any] = json.loads(path.read_text())
        values["workloads"] = [
            Workload(**{**work, "candidates": tuple(work["candidates"])}) for work in values["workloads"]
        ]
        values["records"] = [
            Record(**{**record, "sample": Sample(**record["sample"])}) for record in values["records"]
        ]
        return cls(**values)


def median(values: Iterable[float]) -> float | None:
    """The median; `None` of nothing."""
    known = list(values)
    return statistics.median(known) if known else None
