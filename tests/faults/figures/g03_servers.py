"""G3: random schedules through the fault proxy, before moto (T2) and before MinIO (T3)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from greenlang_async_storage.testing import MinioServer, MotoServer, StorageServer
from tests.faults._played import Spread, spread
from tests.faults._server_lives import Place, play_server
from tests.faults._simulated import PART
from tests.faults.figures._figure import Figure, Scale

PATHS = (True, False)
ALONE = True
"""It uses both cores, and the servers beside them."""
MINUTES = 2.6
FULL_MINUTES = 80.0
MOST_SECONDS = 240.0
WORKERS: Final = {"moto": 1, "minio": 3}
"""At the same time, and more than cores: each waits for its server and for timers half of the time."""
FULL_SECONDS = 3600.0


async def measure(scale: Scale) -> list[Figure]:
    """Lives of two scenes each; half of the seeds by each path."""
    moto, minio = (20_000, 40_000) if scale.full else (1_000, 2_000)
    return list(await asyncio.gather(_before("moto", moto, scale), _before("minio", minio, scale)))


async def _before(name: str, wanted: int, scale: Scale) -> Figure:
    count = wanted // 2
    first = scale.seed + (0 if scale.fast_path else count)
    seconds = FULL_SECONDS if scale.full else MOST_SECONDS
    server = await asyncio.to_thread(_start, name)
    try:
        place = await asyncio.to_thread(Place.of, server, "lives", fast_path=scale.fast_path)
        how = Spread(first, count, 25, seconds, WORKERS[name])
        say = partial(_say, scale, name)
        found, took = await asyncio.to_thread(spread, partial(play_server, place), how, say)
    finally:
        await asyncio.to_thread(server.stop)
    broken = len(found.failures)
    path = "fast" if scale.fast_path else "plain"
    return Figure(
        "G3",
        f"random schedules through the proxy before {name} that broke a promise",
        f"0 of {wanted:,}, half by each path",
        f"{broken} of {found.schedules:,} in {took:.0f} s",
        holds=not broken and found.schedules == count,
        seeds=f"{first} to {first + found.schedules - 1} by the {path} path",
        notes=(
            f"{found.requests:,} requests by the {path} path, {found.faults:,} of them met a fault",
            *(f"failed: {text}" for text in found.failures[:5]),
        ),
    )


def _say(scale: Scale, name: str, line: str) -> None:
    scale.progress(f"{name}: {line}")


def _start(name: str) -> StorageServer:
    if name == "moto":
        return MotoServer.start(environment={"S3_UPLOAD_PART_MIN_SIZE": str(PART)})
    return MinioServer.start()
