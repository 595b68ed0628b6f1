"""The worker example on a real Redis and MinIO: nothing is lost when workers are killed or told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from examples.worker import activities
from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer
from tests.support import redis, servers

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(300),
    pytest.mark.allow_blocking("other processes are started and waited for"),
]

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 20
"""Tasks a worker of these tests has at a time."""


@pytest.fixture
def environment(minio_server: MinioServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the worker and client processes are told: MinIO, Redis and buckets of the test's own."""
    if redis.REDIS is None:
        servers.unavailable(redis.MISSING)
    name = uuid.uuid4().hex[:12]
    with redis.redis_server(tmp_path) as url:
        yield {
            **os.environ,
            **minio_server.env(),
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": url,
            "WORKER_IDLE_TIMEOUT_MS": "3000",
            "GREENLANG_DATA_LAKE_BUCKET": f"lake-{name}",
            "GREENLANG_REPORTS_BUCKET": f"reports-{name}",
        }


@pytest_asyncio.fixture
async def session(environment: dict[str, str], minio_server: MinioServer) -> AsyncIterator[StorageSession]:
    """Looks at what the workers do; every version of a report is kept."""
    settings = StorageSettings(
        **minio_server.settings_kwargs(),
        data_lake_bucket=environment["GREENLANG_DATA_LAKE_BUCKET"],
        reports_bucket=environment["GREENLANG_REPORTS_BUCKET"],
    )
    async with StorageSession(settings) as opened:
        await opened.ensure_buckets()
        await opened.client.put_bucket_versioning(
            Bucket=opened.reports.name, VersioningConfiguration={"Status": "Enabled"}
        )
        yield opened
    observer = servers.observer_client(minio_server)
    for name in (settings.data_lake_bucket, settings.reports_bucket):
        servers.empty_and_remove(observer, str(name))
    observer.close()


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A taskiq worker with one process, in a process group of its own."""
    command = [
        sys.executable, "-m", "taskiq", "worker", "examples.worker.broker:broker", "examples.worker.tasks",
        "--workers", "1", "--max-async-tasks", str(IN_FLIGHT),
        "--wait-tasks-timeout", "30", "--shutdown-timeout", "30",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def client(environment: dict[str, str], uploads: int) -> asyncio.subprocess.Process:
    """The process that lands uploads and waits for every verdict."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.worker", "--uploads", str(uploads), "--timeout", "200",
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def reports_reach(session: StorageSession, number: int) -> None:
    """Wait until there are so many reports."""
    # Another process writes them.
    while len([report async for report in session.reports.list_objects()]) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def finished(process: asyncio.subprocess.Process) -> str:
    """What the client printed; it got every verdict."""
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def verify(session: StorageSession, uploads: int) -> Counter[str]:
    """Every valid upload has its correct report, and nothing else is there; how often each was written."""
    expected = [
        activities.report(activities.parse(activities.example(n))) for n in range(uploads) if n % 100 != 99
    ]
    keys = [report.key async for report in session.reports.list_objects()]
    found = [await session.reports.download_bytes(key) for key in keys]
    assert sorted(found) == sorted(expected)
    for bucket in (session.reports, session.data_lake):
        page = await session.client.list_multipart_uploads(Bucket=bucket.name)
        assert not page.get("Uploads")
    return Counter([version.key async for version in session.reports.list_versions()])


async def test_a_killed_workers_tasks_are_done_by_the_other(
    environment: dict[str, str], session: StorageSession, tmp_path: Path
) -> None:
    """1,000 landed uploads, two workers, one killed half-way: each report correct, few written twice."""
    with worker(environment, tmp_path / "a.log") as first, worker(environment, tmp_path / "b.log"):
        landing = await client(environment, 1000)
        await reports_reach(session, 400)
        os.killpg(first.pid, signal.SIGKILL)
        told = await finished(landing)
    assert "accepted 990" in told
    assert "rejected 10" in told
    assert "line 2: amount and factor must be numbers" in told
    written = await verify(session, 1000)
    # Once by the worker that was killed before it could say so, once by the other.
    assert max(written.values()) <= 2
    assert sum(count - 1 for count in written.values()) <= IN_FLIGHT
    tags = await session.data_lake.get_tags("landing/tenant-9/upload-000099/activities.csv")
    assert tags == {"greenlang:validation": "rejected"}


async def test_a_worker_told_to_stop_finishes_what_it_began(
    environment: dict[str, str], session: StorageSession, tmp_path: Path
) -> None:
    """SIGTERM drains: the worker ends by itself, and another one does the rest, each report written once."""
    # Nobody is killed: only what the first one fetched and did not begin may change hands, on any machine.
    environment["WORKER_IDLE_TIMEOUT_MS"] = "15000"
    with worker(environment, tmp_path / "a.log") as first:
        landing = await client(environment, 300)
        await reports_reach(session, 50)
        first.terminate()
        await asyncio.to_thread(first.wait, 60)
        with worker(environment, tmp_path / "b.log"):
            await finished(landing)
    assert first.returncode == 0, (tmp_path / "a.log").read_text()
    assert set((await verify(session, 300)).values()) == {1}


async def test_without_redis_it_runs_in_one_process(
    environment: dict[str, str], session: StorageSession
) -> None:
    """The embedded default needs no broker."""
    del environment["REDIS_URL"]
    told = await finished(await client(environment, 120))
    assert "accepted 119" in told
    await verify(session, 120)
