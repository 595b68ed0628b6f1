"""Row of the fault matrix about servers that die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    S3Error,
    S3NotFoundError,
    StorageSession,
    StorageSettings,
    _retry,
)
from greenlang_async_storage.testing import Fault, FaultProxy, MinioServer, MotoServer
from tests.support import servers
from tests.support.child_jobs import content
from tests.support.faults import MIB, PART

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

CALLERS = 50
BUCKET = "lake-of-restarts"
DATA = content(24, 4 * PART - 1)


@pytest.fixture(autouse=True)
def retries_once_a_second(monkeypatch: pytest.MonkeyPatch, retries_at_once: None) -> None:
    """Ten tries then span more than a restart takes."""
    monkeypatch.setattr(_retry.RetryPolicy, "pause", lambda *_: 1.0)


@asynccontextmanager
async def minio(tmp_path: Path) -> AsyncIterator[MinioServer]:
    """A MinIO of the test's own."""
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    binary = Path(str(servers.MINIO_BINARY))
    server = await asyncio.to_thread(MinioServer.start, directory=tmp_path / "minio", binary=binary)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def settings_of(server: MinioServer | MotoServer, **more: Any) -> StorageSettings:
    """Settings whose retries outlast a restart."""
    arguments: dict[str, Any] = {**server.settings_kwargs(), "data_lake_bucket": BUCKET}
    waits = {"max_attempts": 10, "call_timeout": 60, "retry_mode": "standard"}
    return StorageSettings(**{**arguments, **waits, **more})


@pytest.mark.slow("starts a MinIO of its own, kills it and starts it again")
@pytest.mark.parametrize("fast_path", [True, False])
async def test_f24_killed_and_restarted(tmp_path: Path, fast_path: bool) -> None:
    """Calls in flight are tried again, nothing acknowledged is lost, new connections find the way back."""
    async with (
        minio(tmp_path) as server,
        StorageSession(settings_of(server, fast_path=fast_path)) as session,
    ):
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


@pytest.mark.slow("starts a MinIO of its own, kills it and starts it again")
async def test_f24_killed_under_load(tmp_path: Path) -> None:
    """Writes acknowledged up to the kill are there afterwards; the others ended typed, and not half."""
    async with minio(tmp_path) as server:
        settings = settings_of(server, retry_mode="none", call_timeout=10)
        async with StorageSession(settings) as session:
            await session.ensure_buckets()
            lake = session.data_lake
            acknowledged: dict[str, bytes] = {}
            refused: dict[str, bytes] = {}
            enough = asyncio.Event()

            async def write(caller: int) -> None:
                for turn in range(10_000):
                    key, data = f"{caller}/{turn}", content(caller * 10_000 + turn, 20_000)
                    try:
                        await lake.upload_bytes(key, data)
                    except S3Error:
                        refused[key] = data
                        return
                    acknowledged[key] = data
                    if len(acknowledged) >= 4 * CALLERS:
                        enough.set()

            callers = asyncio.gather(*(write(caller) for caller in range(CALLERS)))
            await enough.wait()
            await asyncio.to_thread(server.kill)
            await callers
            await asyncio.to_thread(server.restart)
            for key, data in acknowledged.items():
                assert await lake.download_bytes(key) == data
            for key, data in refused.items():
                assert not await lake.exists(key) or await lake.download_bytes(key) == data
            assert len(refused) == CALLERS
            assert session.statistics().in_flight == 0


@pytest.mark.slow("starts a MinIO of its own, kills it and starts it again")
@pytest.mark.parametrize("phase", ["unforwarded", "withheld"])
async def test_f24_killed_in_mid_multipart(tmp_path: Path, phase: Any) -> None:
    """The upload goes on with the same id, and only the part on its way is sent again."""
    async with minio(tmp_path) as server, FaultProxy(server) as proxy:

        async def kill_and_restart() -> None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)

        settings = settings_of(server, endpoint_url=proxy.url, part_size=PART, attempt_timeout=60)
        async with StorageSession(settings) as session:
            await session.ensure_buckets()
            proxy.faults.hooks["restart"] = kill_and_restart
            proxy.faults.plan(Fault("UploadPart", 3, phase, "hook", hook="restart"))
            (tmp_path / "source").write_bytes(DATA)
            await session.data_lake.upload_file("key", tmp_path / "source", concurrency=1)
            assert await session.data_lake.download_bytes("key", max_size=5 * PART) == DATA
        assert proxy.faults.count("CreateMultipartUpload") == 1
        assert proxy.faults.count("AbortMultipartUpload") == 0
        assert 4 <= proxy.faults.count("UploadPart") <= 5


@pytest.mark.slow("starts a MinIO of its own, kills it and starts it again")
async def test_f24_killed_in_mid_download(tmp_path: Path) -> None:
    """The same version is read on from where it broke."""
    async with minio(tmp_path) as server, StorageSession(settings_of(server)) as session:
        await session.ensure_buckets()
        lake = session.data_lake
        await lake.upload_bytes("key", DATA)
        received = []
        async with lake.open_download("key") as body:
            async for piece in body:
                received.append(bytes(piece))
                if len(received) == 1:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.restart)
        assert b"".join(received) == DATA
        await lake.download_file("key", tmp_path / "file", part_size=MIB)
        assert await asyncio.to_thread((tmp_path / "file").read_bytes) == DATA


@pytest.mark.slow("starts a moto of its own and starts it again")
async def test_f24_state_that_is_lost(tmp_path: Path) -> None:
    """A store that comes back empty is told as what it is: the bucket does not exist."""
    server = await asyncio.to_thread(MotoServer.start, directory=tmp_path / "moto")
    try:
        async with StorageSession(settings_of(server)) as session:
            await session.ensure_buckets()
            await session.data_lake.upload_bytes("key", b"data")
            await asyncio.to_thread(server.restart)
            with pytest.raises(S3NotFoundError) as caught:
                await session.data_lake.upload_bytes("key", b"data")
            assert caught.value.code == "NoSuchBucket"
            assert "ensure_buckets" in str(caught.value)
    finally:
        await asyncio.to_thread(server.stop)
