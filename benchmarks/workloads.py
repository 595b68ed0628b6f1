"""What everybody has to do: the workloads of the goals table, and the lines of the scaling plots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from benchmarks.candidates import (
    BASELINE,
    MIB,
    OURS,
    RUST,
    Batches,
    Entry,
    Lists,
    MovesFiles,
    Streams,
)

KIB: Final = 1024
Kind = Literal["put", "get", "head", "list", "upload-file", "download-file", "stream", "batch"]
Axis = Literal["concurrency", "size", "keys"]
_NEEDS: Final[dict[Kind, type]] = {
    "list": Lists,
    "upload-file": MovesFiles,
    "download-file": MovesFiles,
    "stream": Streams,
    "batch": Batches,
}
OPENING: Final = "open"
"""The name under which opening is reported: every process begins with it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to do, how often, and what its cost is divided by."""

    name: str
    label: str
    kind: Kind
    unit: str = "operation"
    size: int = 0
    """Bytes: of an object, a file or a stream."""
    count: int = 0
    """Keys to list, items of a batch."""
    in_flight: int = 1
    seconds: float = 0.0
    fresh: bool = False
    """In a process of its own, for the sake of its memory."""
    axis: Axis | None = None
    x: int = 0
    candidates: tuple[str, ...] = ()
    """Who takes part; empty: everybody who can."""

    def includes(self, entry: Entry) -> bool:
        """Whether *entry* takes part."""
        if self.candidates and entry.name not in self.candidates:
            return False
        needed = _NEEDS.get(self.kind)
        return needed is None or entry.can(needed)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    name: str
    rounds: int
    workloads: tuple[Workload, ...]
    """Measured in every round."""
    once: tuple[Workload, ...]
    """Measured once: what is about memory, which does not vary."""
    scaling: tuple[Workload, ...]
    scaling_rounds: int
    stall_seconds: float

    @property
    def file_size(self) -> int:
        """Bytes of the file that is moved."""
        return max((work.size for work in self.workloads if work.kind == "upload-file"), default=0)

    @property
    def keys(self) -> tuple[int, ...]:
        """How many keys are listed, ascending."""
        listings = (*self.workloads, *self.scaling)
        return tuple(sorted({work.count for work in listings if work.kind == "list"}))

    @property
    def object_sizes(self) -> dict[int, int]:
        """Sizes of the objects that are read, each with how many of them."""
        sizes: dict[int, int] = {}
        for work in (*self.workloads, *self.scaling):
            if work.kind in ("get", "head"):
                sizes[work.size] = objects_of(work.size)
        return sizes


def objects_of(size: int) -> int:
    """How many different objects of this size are in use: 64 MiB of them at most."""
    return max(1, min(64, 64 * MIB // max(size, 1)))


def object_key(size: int, number: int) -> str:
    """The key of an object that is read."""
    return f"objects/{size}/{number % objects_of(size):03d}"


def list_prefix(count: int, counts: tuple[int, ...]) -> str:
    """The prefix under which there are *count* keys: each listing lies inside the next larger one."""
    return "keys/" + "s/" * (len(counts) - 1 - counts.index(count))


def _small(seconds: float) -> tuple[Workload, ...]:
    return (
        Workload("put-1k", "PUT 1 KiB", "put", size=KIB, in_flight=32, seconds=seconds),
        Workload("get-1k", "GET 1 KiB", "get", size=KIB, in_flight=32, seconds=seconds),
        Workload("head-1k", "HEAD", "head", size=KIB, in_flight=32, seconds=seconds),
        Workload("put-1m", "PUT 1 MiB", "put", size=MIB, in_flight=16, seconds=seconds),
        Workload("get-1m", "GET 1 MiB", "get", size=MIB, in_flight=16, seconds=seconds),
    )


def _listing(count: int) -> Workload:
    return Workload("list", f"list {count:,} keys", "list", unit="key", count=count)


def _files(size: int) -> tuple[Workload, ...]:
    mib = size // MIB
    return (
        Workload("upload-file", f"file up, {mib} MiB", "upload-file", unit="MiB", size=size, fresh=True),
        Workload(
            "download-file", f"file down, {mib} MiB", "download-file", unit="MiB", size=size, fresh=True
        ),
    )


def stream(size: int) -> Workload:
    """A stream of *size* bytes from an asynchronous generator."""
    label = f"stream up, {size // MIB} MiB"
    return Workload("stream", label, "stream", unit="MiB", size=size, fresh=True)


def batch(count: int, size: int = KIB) -> Workload:
    """A batch of *count* objects of *size* bytes from an asynchronous generator."""
    label = f"batch of {count:,} x {size:,} bytes"
    work = Workload("batch", label, "batch", count=count, size=size, fresh=True)
    # The slow path would need many minutes to show the same memory.
    return replace(work, candidates=(OURS, "bucket-uvloop"))


SCALED: Final = (OURS, "bucket-uvloop", BASELINE, "miniopy", "aiohttp-s3", RUST)


def _scaling(seconds: float) -> tuple[Workload, ...]:
    lines = [
        Workload(
            f"get-1k@{width}",
            f"GET 1 KiB, {width} in flight",
            "get",
            size=KIB,
            in_flight=width,
            seconds=seconds,
            axis="concurrency",
            x=width,
        )
        for width in (1, 4, 16, 64, 256)
    ]
    for size in (KIB, 16 * KIB, 128 * KIB, MIB, 8 * MIB, 64 * MIB):
        width = max(1, min(16, 32 * MIB // size))
        shared = Workload("", "", "get", size=size, in_flight=width, seconds=seconds, axis="size", x=size)
        amount = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
        lines.append(replace(shared, name=f"get@{size}", label=f"GET {amount}"))
        lines.append(replace(shared, name=f"put@{size}", label=f"PUT {amount}", kind="put"))
    lines += [
        replace(_listing(count), name=f"list@{count}", axis="keys", x=count)
        for count in (1_000, 10_000, 50_000, 200_000)
    ]
    return tuple(replace(line, candidates=SCALED) for line in lines)


SHORT: Final = Plan(
    name="short",
    rounds=3,
    workloads=(*_small(0.4), _listing(10_000), *_files(128 * MIB)),
    once=(stream(256 * MIB), batch(10_000)),
    scaling=(),
    scaling_rounds=0,
    stall_seconds=0.3,
)
FULL: Final = Plan(
    name="full",
    rounds=5,
    workloads=(*_small(2.0), _listing(10_000), *_files(512 * MIB)),
    once=(stream(2048 * MIB), batch(100_000)),
    scaling=_scaling(1.0),
    scaling_rounds=2,
    stall_seconds=1.0,
)
SCALING: Final = Plan(
    name="scaling",
    rounds=2,
    workloads=(),
    once=(),
    scaling=FULL.scaling,
    scaling_rounds=2,
    stall_seconds=0.0,
)
TINY: Final = Plan(
    name="tiny",
    rounds=1,
    workloads=(*_small(0.02), _listing(20), *_files(20 * MIB)),
    once=(stream(24 * MIB), batch(100)),
    scaling=(),
    scaling_rounds=0,
    stall_seconds=0.02,
)
"""Proves that everything runs; its figures mean nothing."""
