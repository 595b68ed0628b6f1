"""What the project set out to reach, and whether a run reached it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks import results as figures
from benchmarks.candidates import BASELINE, BY_NAME, ENABLED, MIB, OURS, PART_SIZE, RUST, STREAM_PARTS
from benchmarks.results import Figure, Results
from benchmarks.workloads import OPENING

STREAM_GROWTH: Final = (STREAM_PARTS + 1) * PART_SIZE + 32 * MIB
BATCH_GROWTH: Final = 32 * MIB
FILE_MEMORY: Final = 150 * MIB
STALL: Final = 0.010
OPENING_STALL: Final = 0.050


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal: what was wanted, what came out; `met` is `None` where it was not measured."""

    subject: str
    wanted: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class _Ratio:
    """*candidate* is to be at least *least* times better than *peer*."""

    workload: str
    peer: str
    figure: Figure
    least: float
    candidate: str = OURS
    aim: str = ""

    def verdict(self, results: Results) -> Verdict:
        if self.figure is figures.throughput:
            ratio, what = results.ratio(self.candidate, self.peer, self.workload, self.figure), "throughput"
        else:
            ratio = results.ratio(self.peer, self.candidate, self.workload, self.figure)
            what = "less CPU" if self.figure is figures.cpu else "less time"
        label = label_of(results, self.workload)
        subject = label if self.candidate == OURS else f"{label}, {BY_NAME[self.candidate].label}"
        wanted = f"≥ {self.least:g} x {what} than {BY_NAME[self.peer].label}{self.aim}"
        if self.figure is figures.throughput:
            wanted = f"≥ {self.least:g} x the throughput of {BY_NAME[self.peer].label}"
        measured = "not measured" if ratio is None else f"{ratio:.2f} x"
        return Verdict(subject, wanted, measured, None if ratio is None else ratio >= self.least)


@dataclass(frozen=True, slots=True)
class _Limit:
    """*figure* of the SDK is to stay below *most*."""

    workload: str
    figure: Figure
    most: float
    name: str
    watched: bool = False

    def verdict(self, results: Results) -> Verdict:
        value = results.worst(OURS, self.workload, self.figure, "stall" if self.watched else "cpu")
        unit, scale = ("ms", 1e3) if self.watched else ("MiB", 1 / MIB)
        measured = "not measured" if value is None else f"{value * scale:.1f} {unit}"
        if self.watched and value is not None:
            own = results.worst(OURS, self.workload, figures.stall_cpu, "stall") or 0.0
            measured += f" (own CPU {own * scale:.1f} {unit})"
        return Verdict(
            label_of(results, self.workload),
            f"{self.name} ≤ {self.most * scale:.0f} {unit}",
            measured,
            None if value is None else value <= self.most,
        )


def label_of(results: Results, workload: str) -> str:
    """What a workload is called."""
    if workload == OPENING:
        return "open + first PUT"
    return next((work.label for work in results.workloads if work.name == workload), workload)


_HALF: Final = ", aim at 2"
_GOALS: Final[tuple[_Ratio | _Limit, ...]] = (
    _Ratio("get-1k", BASELINE, figures.cpu, 12),
    _Ratio("get-1k", RUST, figures.cpu, 1, aim=_HALF),
    _Ratio("head-1k", BASELINE, figures.cpu, 12),
    _Ratio("head-1k", RUST, figures.cpu, 1, aim=_HALF),
    _Ratio("put-1k", BASELINE, figures.cpu, 7),
    _Ratio("put-1k", RUST, figures.cpu, 1),
    _Ratio("get-1m", BASELINE, figures.cpu, 3),
    _Ratio("get-1m", RUST, figures.cpu, 1),
    _Ratio("put-1m", BASELINE, figures.cpu, 2.8),
    _Ratio("put-1m", RUST, figures.cpu, 1),
    _Ratio("list", BASELINE, figures.cpu, 20),
    _Ratio("list", RUST, figures.cpu, 1),
    _Ratio("upload-file", BASELINE, figures.cpu, 2.4),
    _Ratio("upload-file", BASELINE, figures.throughput, 1),
    _Ratio("upload-file", RUST, figures.cpu, 1),
    _Limit("upload-file", figures.rss, FILE_MEMORY, "memory in all"),
    _Ratio("download-file", BASELINE, figures.cpu, 1.7),
    _Ratio("download-file", BASELINE, figures.throughput, 1.5),
    _Ratio("download-file", RUST, figures.cpu, 1),
    _Ratio("download-file", RUST, figures.throughput, 3),
    _Limit("stream", figures.growth, STREAM_GROWTH, "memory grows"),
    _Limit("batch", figures.growth, BATCH_GROWTH, "memory grows after a tenth of the items"),
    _Ratio(OPENING, BASELINE, figures.wall, 1),
    _Limit(OPENING, figures.stall, OPENING_STALL, "event loop stalls", watched=True),
    *(
        _Limit(name, figures.stall, STALL, "event loop stalls", watched=True)
        for name in (
            "get-1k",
            "head-1k",
            "put-1k",
            "get-1m",
            "put-1m",
            "list",
            "upload-file",
            "download-file",
        )
    ),
    _Ratio("get-1k", BASELINE, figures.cpu, 12, candidate=ENABLED),
    _Ratio("head-1k", BASELINE, figures.cpu, 12, candidate=ENABLED),
    _Ratio("put-1k", BASELINE, figures.cpu, 7, candidate=ENABLED),
)


def verdicts(results: Results) -> list[Verdict]:
    """Every goal, in the order of the table."""
    return [goal.verdict(results) for goal in _GOALS]


@dataclass(frozen=True, slots=True)
class Loss:
    """A figure in which a peer is better than the SDK."""

    workload: str
    figure: str
    peer: str
    ratio: float
    """How many times better the peer is."""


_Compared = tuple[tuple[str, Figure, bool], ...]
_COST: Final[_Compared] = (("CPU", figures.cpu, False), ("throughput", figures.throughput, True))
_CALLS: Final[_Compared] = (*_COST, ("p99 latency", figures.p99, False))
_TRANSFERS: Final[_Compared] = (*_COST, ("memory", figures.rss, False))
_OPENING: Final[_Compared] = (("time", figures.wall, False),)
_NOISE: Final = 1.05
"""Differences below 5 % are called equal."""


def losses(results: Results) -> list[Loss]:
    """Everything a peer does better than `Bucket` (asyncio, fast path on), largest first."""
    found = []
    compared: dict[str, _Compared] = {OPENING: _OPENING}
    for work in results.workloads:
        if work.axis is None:
            compared[work.name] = _TRANSFERS if work.fresh else _CALLS
    for name, titles in compared.items():
        for title, figure, more_is_better in titles:
            for entry in BY_NAME.values():
                if entry.own or not results.samples(entry.name, name):
                    continue
                over, under = (entry.name, OURS) if more_is_better else (OURS, entry.name)
                ratio = results.ratio(over, under, name, figure)
                if ratio is not None and ratio > _NOISE:
                    found.append(Loss(label_of(results, name), title, entry.label, ratio))
    return sorted(found, key=lambda loss: -loss.ratio)
