"""G8: a MinIO killed and started again under load loses nothing acknowledged, and is used again at once."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from greenlang_async_storage import Bucket, S3Error, StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer
from tests.faults.figures import Figure, Scale

PATHS = (True, False)
ALONE = True  # times are measured
MINUTES = 1.5
FULL_MINUTES = 15.0

RESTARTS: Final = 10
RESTARTS_FULL: Final = 100
CALLERS: Final = 200
"""Over the default pool: with a connection for each, plain aiohttp takes all their retries up in one turn."""
SIZE: Final = 4096
BETWEEN: Final = 2 * CALLERS
"""Writes acknowledged between one restart and the next kill."""
PAUSE: Final = 0.1
"""Seconds a caller waits after an error, as programs do."""
POLL: Final = 0.005
GOOD_WITHIN: Final = 1.0
READ_BACK: Final = 500


@dataclass
class Load:
    """What 200 callers wrote, and when each of them last succeeded."""

    lake: Bucket
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    """MD5 by key."""
    unknown: dict[str, bytes] = field(default_factory=dict)
    """Of writes that ended in an error."""
    errors: Counter[str] = field(default_factory=Counter)
    last: dict[int, float] = field(default_factory=dict)
    stop: bool = False

    async def caller(self, number: int) -> None:
        """Write one object after the other."""
        turn = 0
        while not self.stop:
            key, data = f"{number:03}/{turn:06}", f"{number}:{turn};".encode() * SIZE
            data, turn = data[:SIZE], turn + 1
            digest = hashlib.md5(data, usedforsecurity=False).digest()
            try:
                await self.lake.upload_bytes(key, data)
            except S3Error as error:
                self.unknown[key] = digest
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(PAUSE)
            else:
                self.acknowledged[key] = digest
                self.last[number] = time.monotonic()

    def served_since(self, moment: float) -> int:
        """Callers with an acknowledged write since then."""
        return sum(last > moment for last in self.last.values())


@dataclass
class Recoveries:
    """Seconds from the opening of the port, for each restart."""

    down: list[float] = field(default_factory=list)
    """From the kill to the opening."""
    first: list[float] = field(default_factory=list)
    half: list[float] = field(default_factory=list)
    everyone: list[float] = field(default_factory=list)


async def measure(scale: Scale) -> list[Figure]:
    """Ten kills (nightly 100) under 200 callers that write, then everything acknowledged is looked for."""
    restarts = RESTARTS_FULL if scale.full else RESTARTS
    server = await asyncio.to_thread(MinioServer.start, directory=scale.folder / "minio", kms=False)
    try:
        settings = StorageSettings(
            **server.settings_kwargs(),
            data_lake_bucket="restarts",
            encryption="none",
            fast_path=scale.fast_path,
        )
        async with StorageSession(settings) as session:
            await session.ensure_buckets()
            load, recoveries = Load(session.data_lake), Recoveries()
            callers = asyncio.gather(*(load.caller(number) for number in range(CALLERS)))
            for turn in range(1, restarts + 1):
                await _restart(server, load, recoveries)
                scale.progress(f"restart {turn} of {restarts}: half back after {recoveries.half[-1]:.2f} s")
            load.stop = True
            await callers
        lost = await _lost(settings, load)
    finally:
        await asyncio.to_thread(server.stop)
    return _figures(restarts, load, lost, recoveries)


async def _restart(server: MinioServer, load: Load, recoveries: Recoveries) -> None:
    goal = len(load.acknowledged) + BETWEEN
    await _until(lambda: len(load.acknowledged) >= goal)
    await asyncio.to_thread(server.kill)
    killed = time.monotonic()
    starting = asyncio.ensure_future(asyncio.to_thread(server.restart))
    await _until(lambda: _listens(server.port))
    opened = time.monotonic()
    recoveries.down.append(opened - killed)
    for found, callers in (
        (recoveries.first, 1),
        (recoveries.half, CALLERS // 2),
        (recoveries.everyone, CALLERS),
    ):
        await _until(lambda callers=callers: load.served_since(opened) >= callers)  # type: ignore[misc]
        found.append(time.monotonic() - opened)
    await starting


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # another process decides
        await asyncio.sleep(POLL)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _lost(settings: StorageSettings, load: Load) -> list[str]:
    """Keys whose write was acknowledged and that are not there as written, and others that are there half."""
    async with StorageSession(settings) as session:
        lake = session.data_lake
        found = {entry.key: entry.etag async for entry in lake.list_objects()}
        wrong = [key for key, digest in load.acknowledged.items() if found.get(key) != digest.hex()]
        wrong += [key for key, digest in load.unknown.items() if found.get(key, digest.hex()) != digest.hex()]
        step = max(1, len(load.acknowledged) // READ_BACK)
        for key in list(load.acknowledged)[::step]:
            data = await lake.download_bytes(key)
            if hashlib.md5(data, usedforsecurity=False).digest() != load.acknowledged[key]:
                wrong.append(key)
        return wrong


def _figures(restarts: int, load: Load, lost: list[str], recoveries: Recoveries) -> list[Figure]:
    writes = f"{len(load.acknowledged):,} acknowledged writes, {len(load.unknown):,} failed"
    errors = ", ".join(f"{count} {name}" for name, count in load.errors.most_common())
    notes = (
        f"{writes} ({errors})",
        f"the port was closed for {min(recoveries.down):.2f} to {max(recoveries.down):.2f} s",
        f"first write within {max(recoveries.first):.2f} s, of all within {max(recoveries.everyone):.2f} s",
        "over the default pool of connections",
    )
    slowest = max(recoveries.half)
    return [
        Figure(
            "G8",
            f"acknowledged writes lost in {restarts} kills of MinIO under {CALLERS} callers",
            "0",
            f"{len(lost)}",
            not lost,
            notes=(*notes[:1], *lost[:10]),
        ),
        Figure(
            "G8",
            "from the opening of the port until half of the callers wrote again",
            f"<= {GOOD_WITHIN:g} s",
            f"{slowest:.2f} s at most",
            slowest <= GOOD_WITHIN,
            notes=notes[1:],
        ),
    ]
