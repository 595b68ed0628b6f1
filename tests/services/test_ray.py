"""Distributed batches on a real Ray and MinIO: an actor may die, no object may."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import os
import pickle
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import (
    Outcome,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    StorageSession,
    StorageSettings,
    UploadItem,
)
from greenlang_async_storage.testing import MinioServer
from tests.support import servers

try:
    import ray
except ModuleNotFoundError:
    MISSING = "Ray was not found: run `make services`."
else:
    MISSING = ""

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(300),
    pytest.mark.allow_blocking("Ray's driver blocks where it starts processes"),
    pytest.mark.allow_open_sockets("Ray's driver keeps its connections to the cluster"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
    ),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two CPUs on this machine."""
    if MISSING:
        servers.unavailable(MISSING)
    # Workers import this package from where the tests do.
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture
def settings(minio_server: MinioServer) -> Iterator[StorageSettings]:
    """MinIO with a bucket of the test's own."""
    observer = servers.observer_client(minio_server)
    name = f"ray-{uuid.uuid4().hex[:12]}"
    observer.create_bucket(Bucket=name)
    yield StorageSettings(**minio_server.settings_kwargs(), data_lake_bucket=name, encryption="none")
    servers.empty_and_remove(observer, name)
    observer.close()


@pytest_asyncio.fixture
async def session(settings: StorageSettings, cluster: None) -> AsyncIterator[StorageSession]:
    """Looks at what the actors did."""
    async with StorageSession(settings) as opened:
        yield opened


def content(number: int) -> bytes:
    """1 KiB that no other object has."""
    return hashlib.sha256(str(number).encode()).digest() * 32


def items(count: int, folder: Path | None = None) -> Iterator[UploadItem]:
    """The input; every hundredth item is a file."""
    for number in range(count):
        source: bytes | Path = content(number)
        if folder is not None and number % 100 == 0:
            source = folder / f"{number}.bin"
            source.write_bytes(content(number))
        yield UploadItem(f"in/{number % 16:02d}/{number:06d}", source, metadata={"number": str(number)})


def actor_processes() -> list[int]:
    """Process ids of the storage actors below this process."""
    parents: dict[int, int] = {}
    actors: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if command.startswith(b"ray::StorageWorker"):
            actors.append(int(entry.name))

    def ours(process: int) -> bool:
        while process not in (0, 1, os.getpid()):
            process = parents.get(process, 0)
        return process == os.getpid()

    return [process for process in actors if ours(process)]


async def test_twenty_thousand_objects_outlive_a_killed_actor(
    session: StorageSession, settings: StorageSettings, tmp_path: Path
) -> None:
    """Two actors upload, one is killed half-way: an outcome per item, and every object is there and right."""
    from greenlang_async_storage.ray import upload_distributed, verify_distributed

    count, lake = 20_000, session.data_lake
    seen: list[int] = []
    killed: list[int] = []

    def kill_one_half_way(outcome: Outcome[Any]) -> None:
        seen.append(outcome.index)
        if len(seen) >= count // 2 and not killed:
            killed.append(actor_processes()[0])
            os.kill(killed[0], signal.SIGKILL)

    progress: list[int] = []
    report = await upload_distributed(
        items(count, tmp_path),
        bucket=lake.name,
        settings=settings,
        actors=2,
        on_outcome=kill_one_half_way,
        on_progress=lambda told: progress.append(told.items_done),
    )
    report.raise_for_errors()
    assert killed
    assert (report.succeeded, report.bytes, report.processes) == (count, count * 1024, 3)
    assert sorted(seen) == list(range(count))
    assert progress[-1] == count
    assert progress == sorted(progress)
    async for info in lake.list_objects("in/"):
        assert info.size == 1024
    verified = await verify_distributed(lake.name, "in/", settings=settings, actors=2)
    verified.raise_for_errors()
    assert verified.succeeded == count
    async with asyncio.TaskGroup() as readers:
        for lane in range(16):
            readers.create_task(read_back(session, range(lane, count, 16)))


async def read_back(session: StorageSession, numbers: range) -> None:
    """Each object has its own content, whoever wrote it."""
    for number in numbers:
        data = await session.data_lake.download_bytes(f"in/{number % 16:02d}/{number:06d}")
        assert data == content(number)


async def test_a_prefix_is_copied_inside_the_store(
    session: StorageSession, settings: StorageSettings
) -> None:
    """Every object arrives under its new key with its metadata; overlapping prefixes are refused."""
    from greenlang_async_storage.ray import copy_prefix_distributed, upload_distributed

    name = session.data_lake.name
    await upload_distributed(items(500), bucket=name, settings=settings, actors=2, manifest_size=50)
    report = await copy_prefix_distributed(name, "in/", name, "copy/of/", settings=settings, actors=2)
    report.raise_for_errors()
    assert report.succeeded == 500
    copied = [info.key async for info in session.data_lake.list_objects("copy/of/")]
    assert copied == sorted(f"copy/of/{n % 16:02d}/{n:06d}" for n in range(500))
    head = await session.data_lake.head("copy/of/03/000003")
    assert head.metadata["number"] == "3"
    with pytest.raises(S3InvalidRequestError, match="overlap"):
        await copy_prefix_distributed(name, "in/", name, "in/deeper/", settings=settings)


async def test_failures_are_outcomes_with_their_place(
    session: StorageSession, settings: StorageSettings, tmp_path: Path
) -> None:
    """One missing file fails alone; a source that cannot travel is refused before anything is sent."""
    from greenlang_async_storage.ray import upload_distributed

    mixed = [UploadItem("a", b"1"), UploadItem("b", tmp_path / "missing"), UploadItem("c", b"3")]
    report = await upload_distributed(mixed, bucket=session.data_lake.name, settings=settings, actors=1)
    assert report.succeeded == 2
    [failed] = report.failed
    assert (failed.index, failed.key) == (1, "b")
    with pytest.raises(S3LocalFileError, match="missing"):
        report.raise_for_errors()
    with pytest.raises(S3InvalidRequestError, match="does not travel"):
        await upload_distributed(
            [UploadItem("d", iter([b"1"]))], bucket=session.data_lake.name, settings=settings, actors=1
        )
    assert not await session.data_lake.exists("d")


async def test_a_changed_object_is_found(session: StorageSession, settings: StorageSettings) -> None:
    """What verify reads is checked against the stored checksum, and a missing bucket is said at once."""
    from greenlang_async_storage.ray import verify_distributed

    await session.data_lake.upload_bytes("fine", b"x")
    await session.client.put_object(Bucket=session.data_lake.name, Key="foreign", Body=b"y")
    found: dict[str, bool | None] = {}

    def note(outcome: Outcome[Any]) -> None:
        found[outcome.key] = outcome.result.verified if outcome.result else None

    await verify_distributed(session.data_lake.name, settings=settings, actors=1, on_outcome=note)
    assert found["fine"] is True
    assert set(found) == {"fine", "foreign"}
    with pytest.raises(S3NotFoundError):
        await verify_distributed("no-such-bucket-anywhere", settings=settings, actors=1)


async def test_cancelling_ends_the_actors(session: StorageSession, settings: StorageSettings) -> None:
    """A cancelled batch leaves no actor and no open multipart upload behind."""
    from greenlang_async_storage.ray import upload_distributed

    begun = asyncio.Event()
    batch = asyncio.create_task(
        upload_distributed(
            items(20_000),
            bucket=session.data_lake.name,
            settings=settings,
            actors=2,
            on_outcome=lambda _: begun.set(),
        )
    )
    await begun.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    async with asyncio.timeout(60):
        while actor_processes():  # noqa: ASYNC110  # Ray ends them
            await asyncio.sleep(0.05)
    page = await session.client.list_multipart_uploads(Bucket=session.data_lake.name)
    assert not page.get("Uploads")


async def test_rows_of_a_dataset_become_verified_bytes(
    session: StorageSession, settings: StorageSettings
) -> None:
    """The reader works where Ray pickles it to, and alone."""
    from greenlang_async_storage.ray import ObjectReader

    await session.data_lake.upload_bytes("row", b"data")
    reader = ObjectReader(pickle.loads(pickle.dumps(settings)), session.data_lake.name, max_size=4)  # noqa: S301
    try:
        row = await asyncio.to_thread(reader, {"key": "row"})
        assert (row["key"], row["size"], row["data"]) == ("row", 4, b"data")
        await session.data_lake.upload_bytes("row", b"larger")
        with pytest.raises(S3InvalidRequestError, match="max_size=4"):
            await asyncio.to_thread(reader, {"key": "row"})
    finally:
        await asyncio.to_thread(reader.close)


async def test_the_pages_code_runs(
    session: StorageSession,
    settings: StorageSettings,
    minio_server: MinioServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example of docs/scale.md, on buckets of this test, with more actors than there is room for."""
    from greenlang_async_storage import ray as distributed

    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    code = page.split("```py\n")[1].split("```")[0]
    names = {"lake": session.data_lake.name, "archive": f"{session.data_lake.name}-archive"}
    for name, bucket in names.items():
        code = code.replace(f'"{name}"', f'"{bucket}"')
    for job in ("upload_distributed", "copy_prefix_distributed", "verify_distributed"):
        # Ray's processes began before this test: they know the store from the settings alone.
        monkeypatch.setattr(distributed, job, partial(getattr(distributed, job), settings=settings))
    await session.client.create_bucket(Bucket=names["archive"])
    key = "bronze/cbam/2026/a.json"
    namespace: dict[str, Any] = {"items": [UploadItem(key, b"{}")]}
    running = eval(compile(code, "scale.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)  # noqa: S307
    await running
    assert await session.bucket(names["archive"]).download_bytes(key) == b"{}"
    observer = servers.observer_client(minio_server)
    servers.empty_and_remove(observer, names["archive"])
    observer.close()
