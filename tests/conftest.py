"""
Fixtures of every test: a clean environment, servers that start when first asked for, detectors.

`server` runs a test on moto and on MinIO; `lake` is a `Bucket` in an open session on it. `moto_server` and
`minio_server` name one of them. A test that kills or restarts a server starts its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from greenlang_async_storage import Bucket, StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer, MotoServer, StorageServer
from tests.support import blocking, environment, leaks, servers, tls

PLAIN = "GREENLANG_TEST_PLAIN" in os.environ
"""`make test-plain`: the same tests on botocore's own pipeline."""

# A busy machine is not a bug; the same examples on every machine.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An opt-out without a reason stops the run."""
    for item in items:
        for name in ("allow_blocking", "allow_open_sockets", "slow"):
            marker = item.get_closest_marker(name)
            if marker is not None and not (marker.args and str(marker.args[0]).strip()):
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{name} needs a reason.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI a test that was skipped because MinIO is missing has failed."""
    report = yield
    if servers.ON_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if servers.hides_a_missing_server(reason):
            report.outcome = "failed"
            report.longrepr = f"CI=true, and yet: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Children can be interrupted, though one test process of several, or in the background, cannot."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder without configuration."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `tempfile` works during the tests; looked at after each of them."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """No variable of the machine reaches a test."""
    environment.isolate(monkeypatch, empty_home)


@pytest.fixture(autouse=True)
def nothing_left_open(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    temporary_folder: Path,
) -> Iterator[None]:
    """A test that leaves a socket or a temporary file behind fails."""
    monkeypatch.setenv("TMPDIR", str(temporary_folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary_folder))
    before = leaks.open_sockets()
    yield
    if request.node.get_closest_marker("allow_open_sockets") is None:
        sockets = leaks.new_sockets(before)
        assert not sockets, f"sockets left open: {sorted(sockets)}"
    files = leaks.cleared(temporary_folder)
    assert not files, f"left in the temporary folder: {files}"


@pytest_asyncio.fixture
async def no_task_left() -> AsyncIterator[None]:
    """A test whose tasks outlive it fails; asked for by `nothing_left_running`."""
    before = asyncio.all_tasks()
    yield
    left = await leaks.tasks_left(before)
    assert not left, f"tasks left running: {left}"


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest, nothing_left_open: None) -> None:
    """Watch the tasks of asynchronous tests; the others get no event loop."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("no_task_left")


@pytest.fixture(scope="session")
def blocking_calls() -> blocking.BlockingCalls:
    """The detector, made once."""
    return blocking.BlockingCalls()


@pytest.fixture(autouse=True)
def never_blocks(request: pytest.FixtureRequest, nothing_left_running: None) -> Iterator[None]:
    """An asynchronous test in which the package blocks the loop fails."""
    watched = request.node.get_closest_marker("asyncio") is not None
    if not watched or request.node.get_closest_marker("allow_blocking") is not None:
        yield
        return
    detector: blocking.BlockingCalls = request.getfixturevalue("blocking_calls")
    with detector.refused() as found:
        yield
    assert not found, f"blocked the event loop: {found}"


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """moto, one for the run; not for tests that stop or reset it."""
    with MotoServer.start(directory=tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """MinIO with KMS, one for the run; not for tests that stop it. Not built: skipped, on CI a failure."""
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    binary = Path(str(servers.MINIO_BINARY))
    with MinioServer.start(directory=tmp_path_factory.mktemp("minio"), binary=binary) as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tls.CertificateAuthority:
    """The one that clients of TLS tests are told to trust."""
    return tls.CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=["moto", "minio"])
def server(request: pytest.FixtureRequest) -> StorageServer:
    """The same test on each server."""
    found: StorageServer = request.getfixturevalue(f"{request.param}_server")
    assert found.running, f"a test before this one ended {found}"
    return found


@pytest.fixture
def observer(server: StorageServer) -> Iterator[Any]:
    """A plain, blocking botocore client on the same server."""
    client = servers.observer_client(server)
    yield client
    client.close()


@pytest.fixture
def bucket_name(observer: Any) -> Iterator[str]:
    """An empty bucket of the test's own, removed afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    observer.create_bucket(Bucket=name)
    yield name
    servers.empty_and_remove(observer, name)


@pytest.fixture
def settings(server: StorageServer, bucket_name: str) -> StorageSettings:
    """Settings for `server`, with `bucket_name` as the data lake."""
    return StorageSettings(
        **server.settings_kwargs(),
        data_lake_bucket=bucket_name,
        fast_path=not PLAIN,
        cleanup_timeout=30,  # a disk that other tests keep busy is no lost upload
    )


@pytest_asyncio.fixture
async def session(settings: StorageSettings) -> AsyncIterator[StorageSession]:
    """An open session on `server`."""
    async with StorageSession(settings) as opened:
        yield opened


@pytest_asyncio.fixture
async def lake(session: StorageSession) -> Bucket:
    """The test's own bucket in an open session."""
    return session.data_lake
