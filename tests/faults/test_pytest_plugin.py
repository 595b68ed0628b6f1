"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

from importlib import metadata

import pytest

from greenlang_async_storage.testing._plugin import VARIABLE

pytest_plugins = ["pytester"]

MODULE = "greenlang_async_storage.testing.plugin"
INSTALLED = any(found.value == MODULE for found in metadata.entry_points(group="pytest11"))
# A plugin is refused when it comes under two names.
PLUGIN = (*(() if INSTALLED else ("-p", MODULE)), "-p", "no:cacheprovider", "-p", "no:anyio")
CONFIG = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
TESTS = """
import pytest
from greenlang_async_storage.testing import Fault

pytestmark = pytest.mark.asyncio
seen = []

async def test_session(storage_session, storage_server):
    lake = storage_session.data_lake
    await lake.upload_bytes("key", b"data")
    assert await lake.download_bytes("key") == b"data"
    assert storage_session.settings.endpoint_url == storage_server.endpoint_url
    seen.append(lake.name)

async def test_session_is_new(storage_session):
    assert storage_session.data_lake.name not in seen
    assert [found async for found in storage_session.data_lake.list_objects()] == []
    assert (await storage_session.check()).ok

async def test_faults(storage_session, faults, storage_server):
    assert storage_session.settings.endpoint_url != storage_server.endpoint_url
    faults.plan(Fault("PutObject", 1, "withheld", "reset"))
    await storage_session.reports.upload_bytes("key", b"data")
    assert faults.count("PutObject") == 2
    assert await storage_session.reports.download_bytes("key") == b"data"
    assert [request.operation for request in faults.requests][-1] == "GetObject"

async def test_what_was_left(storage_session):
    await storage_session.temp.upload_bytes("left", b"data")
    await storage_session.temp.create_multipart("open")

async def test_buckets_are_removed(storage_session):
    reply = await storage_session.client.list_buckets()
    assert len([entry for entry in reply["Buckets"] if entry["Name"].startswith("temp-")]) == 1
"""


def test_fixtures(pytester: pytest.Pytester) -> None:
    """A server, a session with buckets of its own, faults between them, and nothing left behind."""
    pytester.makeini(CONFIG)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=5)


def test_minio_when_asked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--storage-server=minio` asks for MinIO; one that is not there is an error, never a skip."""
    pytester.makeini(CONFIG)
    pytester.makepyfile("def test_name(storage_server):\n    assert storage_server.name == 'minio'\n")
    monkeypatch.setenv("GREENLANG_STORAGE_MINIO", str(pytester.path / "none"))
    monkeypatch.setenv("PATH", "")
    result = pytester.runpytest_subprocess(*PLUGIN, "--storage-server=minio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*MinIO*"])


def test_an_unknown_server_is_refused(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and what it may be."""
    pytester.makeini(CONFIG)
    pytester.makepyfile("def test_name(storage_server): ...\n")
    monkeypatch.setenv(VARIABLE, "azure")
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.stdout.fnmatch_lines([f"*{VARIABLE}='azure' is none of moto, minio*"])
