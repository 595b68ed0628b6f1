"""The fixtures of the pytest plugin."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from greenlang_async_storage import StorageSession, StorageSettings
    from greenlang_async_storage.testing import FaultPlan, StorageServer

SERVERS: Final = ("moto", "minio")
VARIABLE: Final = "GREENLANG_TEST_SERVER"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--storage-server`."""
    group = parser.getgroup("greenlang-async-storage")
    group.addoption(
        "--storage-server",
        choices=SERVERS,
        default=None,
        help=f"the server behind the fixture storage_server (default: {VARIABLE}, or moto)",
    )


@pytest.fixture(scope="session")
def storage_server(request: pytest.FixtureRequest) -> Iterator[StorageServer]:
    """
    A running S3 server, one for the test run: moto's, or MinIO with `--storage-server=minio`.

    `GREENLANG_TEST_SERVER` asks for it too. A server that is not installed is an error that says what to do.
    """
    from greenlang_async_storage.testing import MinioServer, MotoServer

    name = request.config.getoption("--storage-server") or os.environ.get(VARIABLE, "moto")
    if name not in SERVERS:
        raise pytest.UsageError(f"{VARIABLE}={name!r} is none of {', '.join(SERVERS)}")
    with (MinioServer if name == "minio" else MotoServer).start() as server:
        yield server


def _settings(server: StorageServer, endpoint_url: str) -> StorageSettings:
    """Settings for *server* behind *endpoint_url*, with five buckets of the test's own."""
    from greenlang_async_storage import StorageSettings

    run = uuid.uuid4().hex[:12]
    buckets = {
        f"{kind}_bucket": f"{kind.replace('_', '-')}-{run}"
        for kind in ("data_lake", "reports", "models", "temp", "cache")
    }
    arguments: dict[str, Any] = {**server.settings_kwargs(), **buckets, "endpoint_url": endpoint_url}
    return StorageSettings(**arguments)


@pytest.fixture
def faults() -> FaultPlan:
    """
    What goes wrong between `storage_session` and the server: `faults.plan(Fault(...))`.

    In a test that asks for it the session talks to the server through a `FaultProxy`; `faults.requests` has
    what it sent.
    """
    from greenlang_async_storage.testing import FaultPlan

    return FaultPlan()


async def _storage_session(
    request: pytest.FixtureRequest, storage_server: StorageServer
) -> AsyncIterator[StorageSession]:
    """
    An open `StorageSession` on `storage_server`, its five buckets new, empty, and removed afterwards.

    With the fixture `faults` in the same test, requests go through a proxy; the buckets are made and removed
    beside it.
    """
    from greenlang_async_storage import StorageSession
    from greenlang_async_storage.testing import FaultProxy

    async with AsyncExitStack() as stack:
        url = storage_server.endpoint_url
        if "faults" in request.fixturenames:
            plan: FaultPlan = request.getfixturevalue("faults")
            url = (await stack.enter_async_context(FaultProxy(storage_server, plan))).url
        settings = _settings(storage_server, url)
        beside = settings.model_copy(update={"endpoint_url": storage_server.endpoint_url})
        owner = await stack.enter_async_context(StorageSession(beside))
        await owner.ensure_buckets()
        try:
            async with StorageSession(settings) as session:
                yield session
        finally:
            for name in dict(settings.buckets).values():
                await _remove(owner, name)


async def _remove(owner: StorageSession, name: str) -> None:
    """Empty a bucket, versions and open uploads included, and remove it."""
    client = owner.client
    bucket = owner.bucket(name)
    async for version in bucket.list_versions():
        await client.delete_object(Bucket=name, Key=version.key, VersionId=version.version_id)
    listed = await client.list_multipart_uploads(Bucket=name)
    for upload in listed.get("Uploads", []):
        await client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    await client.delete_bucket(Bucket=name)


def _async_fixture(
    function: Callable[[pytest.FixtureRequest, StorageServer], AsyncIterator[StorageSession]], name: str
) -> object:
    """A fixture for pytest-asyncio where it is installed, else for whichever plugin runs async fixtures."""
    try:
        import pytest_asyncio
    except ImportError:
        return pytest.fixture(name=name)(function)
    return pytest_asyncio.fixture(name=name)(function)


storage_session = _async_fixture(_storage_session, "storage_session")
