"""G7: after tens of thousands of requests on MinIO the process holds what it held before them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from benchmarks import soak
from benchmarks.soak_samples import RSS_DRIFT, Sample, Soak
from greenlang_async_storage.testing import MinioServer
from tests.faults.figures import Figure, Scale

PATHS = (True, False)
ALONE = True  # MinIO and the load need both cores
MINUTES = 3.5
FULL_MINUTES = 60.0

REQUESTS: Final = {True: 60_000, False: 12_000}
"""By path: botocore's own pipeline takes several times as long for each."""
REQUESTS_FULL: Final = 1_000_000
WARM_UP: Final = 50_000
"""Requests until memory is looked at, where there are that many."""
SHORT_WARM_UP: Final = 0.2
TOLD_EVERY: Final = 10


async def measure(scale: Scale) -> list[Figure]:
    """The load of `benchmarks.soak` for 60,000 requests (12,000 without the fast path, nightly 1,000,000)."""
    wanted = REQUESTS_FULL if scale.full else REQUESTS[scale.fast_path]
    server = await asyncio.to_thread(MinioServer.start, directory=scale.folder / "minio", kms=False)
    try:
        found = await _soaked(server, scale, wanted)
    finally:
        await asyncio.to_thread(server.stop)
    return _figures(found, wanted, scale)


async def _soaked(server: MinioServer, scale: Scale, wanted: int) -> Soak:
    folder = Path(scale.folder / "files")
    folder.mkdir()
    turns = 0

    def watch(sample: Sample) -> None:
        nonlocal turns
        turns += 1
        if turns % TOLD_EVERY == 0:
            scale.progress(f"{sample.requests:,} of {wanted:,} requests, {sample.footprint.rss:.1f} MiB")

    settings = soak.settings_on(server, fast_path=scale.fast_path)
    warm_up = WARM_UP / wanted if wanted > WARM_UP else SHORT_WARM_UP
    plan = soak.Plan(requests=wanted, seed=scale.seed, warm_up=warm_up, collect=True)
    return await soak.soak(settings, folder, plan, watch)


def _figures(found: Soak, wanted: int, scale: Scale) -> list[Figure]:
    last = found.samples[-1]
    seed = f"{scale.seed}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.done.items()))
    problems = tuple(line for line in found.problems(soak.POOL) if not line.startswith("memory"))
    ends = [f"{held.fds}/{held.tasks}/{held.connections}" for held in (found.before, found.after)]
    return [
        Figure(
            "G7",
            "requests of a soak on MinIO",
            f"{wanted:,}",
            f"{last.requests:,} in {last.at:.0f} s",
            last.requests >= wanted,
            seed,
            (kinds,),
        ),
        Figure(
            "G7",
            "memory held, from the warm-up to the end",
            f"<= {RSS_DRIFT:g} MiB more",
            f"{found.drift:+.1f} MiB",
            found.drift <= RSS_DRIFT,
            seed,
            (f"the first {found.warm_up:.0f} s are the warm-up; {last.footprint.rss:.0f} MiB at the end",),
        ),
        Figure(
            "G7",
            "descriptors/tasks/sockets after closing",
            f"{ends[0]}, as before",
            ends[1],
            not problems,
            seed,
            problems,
        ),
    ]
