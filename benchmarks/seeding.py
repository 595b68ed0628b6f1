"""What the server holds before anybody is measured: the same objects for all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.candidates import MIB, Target
from benchmarks.workloads import Plan, list_prefix, object_key, objects_of
from greenlang_async_storage import StorageSession, StorageSettings, UploadItem

Say = Callable[[str], None]
_WIDTH = 32


async def seed(target: Target, plan: Plan, folder: Path, say: Say) -> None:
    """Create the bucket, the objects to read, the keys to list and, in *folder*, the file to move."""
    settings = StorageSettings(
        endpoint_url=target.endpoint_url,
        region=target.region,
        access_key_id=target.access_key,
        secret_access_key=target.secret_key,
        encryption="none",
        data_lake_bucket=target.bucket,
    )
    async with StorageSession(settings) as session:
        await session.ensure_buckets()
        lake = session.data_lake
        for size in plan.object_sizes:
            data = os.urandom(size)
            for number in range(objects_of(size)):
                await lake.upload_bytes(object_key(size, number), data)
        if plan.file_size:
            source = folder / "source.bin"
            _write(source, plan.file_size)
            await lake.upload_file("file.bin", source)
        if plan.keys:
            say(f"{plan.keys[-1]:,} keys to list")
            async with lake.stream_uploads(_keys(plan.keys), concurrency=_WIDTH) as outcomes:
                async for outcome in outcomes:
                    if outcome.error is not None:
                        raise outcome.error


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


async def _keys(counts: tuple[int, ...]) -> AsyncIterator[UploadItem]:
    """Empty objects, so that the prefix of each count holds that many keys, smaller listings included."""
    below = 0
    for count in counts:
        prefix = list_prefix(count, counts)
        for number in range(below, count):
            yield UploadItem(f"{prefix}t/silver/cbam/calculations/{number:07d}.json", b"")
        below = count
