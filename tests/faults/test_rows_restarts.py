"""Row of the fault matrix about servers that die and come back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import S3NotFoundError, StorageSession, StorageSettings, _retry
from greenlang_async_storage.testing import MinioServer, MotoServer
from tests.support import servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

CALLERS = 50


@pytest.fixture(autouse=True)
def retries_once_a_second(monkeypatch: pytest.MonkeyPatch, retries_at_once: None) -> None:
    """Ten tries then span more than a restart takes."""
    monkeypatch.setattr(_retry.RetryPolicy, "pause", lambda *_: 1.0)


@pytest.mark.slow("starts a MinIO of its own, kills it and starts it again")
async def test_f24_killed_and_restarted(tmp_path: Path) -> None:
    """Calls in flight are tried again, nothing acknowledged is lost, new connections find the way back."""
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    binary = Path(str(servers.MINIO_BINARY))
    server = await asyncio.to_thread(MinioServer.start, directory=tmp_path / "minio", binary=binary)
    arguments: dict[str, Any] = {**server.settings_kwargs(), "data_lake_bucket": "lake-of-restarts"}
    try:
        settings = StorageSettings(**arguments, max_attempts=10, call_timeout=60, retry_mode="standard")
        async with StorageSession(settings) as session:
            await session.ensure_buckets()
            lake = session.data_lake
            contents = {f"key-{index}": f"{index}".encode() * 1000 for index in range(CALLERS)}

            async def keep(key: str, data: bytes) -> None:
                await lake.upload_bytes(key, data)

            before = [keep(f"before/{key}", data) for key, data in contents.items()]
            await asyncio.gather(*before)
            server.kill()
            during = asyncio.gather(*(keep(f"during/{key}", data) for key, data in contents.items()))
            await asyncio.to_thread(server.restart)
            await during
            for when in ("before", "during"):
                for key, data in contents.items():
                    assert await lake.download_bytes(f"{when}/{key}") == data
            assert session.statistics().in_flight == 0
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.slow("starts a moto of its own and starts it again")
async def test_f24_state_that_is_lost(tmp_path: Path) -> None:
    """A store that comes back empty is told as what it is: the bucket does not exist."""
    server = await asyncio.to_thread(MotoServer.start, directory=tmp_path / "moto")
    arguments: dict[str, Any] = {**server.settings_kwargs(), "data_lake_bucket": "lake"}
    try:
        async with StorageSession(StorageSettings(**arguments)) as session:
            await session.ensure_buckets()
            await session.data_lake.upload_bytes("key", b"data")
            await asyncio.to_thread(server.restart)
            with pytest.raises(S3NotFoundError) as caught:
                await session.data_lake.upload_bytes("key", b"data")
            assert caught.value.code == "NoSuchBucket"
            assert "ensure_buckets" in str(caught.value)
    finally:
        await asyncio.to_thread(server.stop)
