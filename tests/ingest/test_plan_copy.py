"""Prefixes to prefixes: inside one store by the store itself, between stores streamed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import Bucket, S3InvalidRequestError, StorageSession, StorageSettings
from greenlang_async_storage.ingest import PlanCounts, plan_copy
from greenlang_async_storage.testing import MotoServer
from tests.ingest.support import actions, stored
from tests.support import servers
from tests.support.faulty import FaultyClient

pytestmark = pytest.mark.asyncio

FILES = {"a.txt": b"alpha", "b/c.txt": b"gamma", "b/d.txt": b"", "e/f/g.bin": b"x" * 100_000}


@pytest.fixture
def other_name(observer: Any) -> Iterator[str]:
    """Another bucket on the same server."""
    name = f"other-{uuid.uuid4().hex}"
    observer.create_bucket(Bucket=name)
    yield name
    servers.empty_and_remove(observer, name)


@pytest_asyncio.fixture
async def elsewhere(moto_server: MotoServer) -> AsyncIterator[Bucket]:
    """A bucket that another session reaches with other credentials."""
    client = servers.observer_client(moto_server)
    name = f"elsewhere-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    arguments: dict[str, Any] = {
        **moto_server.settings_kwargs(),
        "access_key_id": "another",
        "data_lake_bucket": name,
    }
    async with StorageSession(StorageSettings(**arguments)) as opened:
        yield opened.data_lake
    servers.empty_and_remove(client, name)
    client.close()


async def fill(lake: Bucket) -> None:
    """The files under `src/`, with metadata and tags."""
    for key, data in FILES.items():
        await lake.upload_bytes(f"src/{key}", data, metadata={"team": "lake"}, tags={"zone": "raw"})


@pytest.mark.parametrize("scoped", [False, True])
async def test_the_store_copies(
    session: StorageSession, lake: Bucket, other_name: str, observer: Any, scoped: bool
) -> None:
    """No byte passes through here; the second time nothing is sent."""
    await fill(lake)
    client = FaultyClient.install(lake)
    source, target = lake, session.bucket(other_name)
    source_prefix, target_prefix = "src", "copy/of"
    if scoped:
        source, target = lake.scoped("src"), target.scoped("src")
        source_prefix, target_prefix = "", "copy"
    async with await plan_copy(source, source_prefix, target, target_prefix) as plan:
        assert plan.counts == PlanCounts(new=4, bytes=100_010)
        assert (await actions(plan))["b/d.txt"] == ("copy", "new")
        summary = await plan.apply()
    assert (summary.done, summary.bytes, summary.failed) == (4, 100_010, 0)
    assert (client.calls["copy_object"], client.calls["get_object"]) == (4, 0)
    prefix = "src/copy/" if scoped else "copy/of/"
    assert stored(observer, other_name, prefix) == FILES
    info = await session.bucket(other_name).head(f"{prefix}a.txt")
    assert info.metadata["team"] == "lake"
    async with await plan_copy(source, source_prefix, target, target_prefix) as plan:
        assert plan.counts == PlanCounts(unchanged=4)
        assert (await plan.apply()).nothing_changed


async def test_between_stores(lake: Bucket, elsewhere: Bucket) -> None:
    """Streamed with metadata, content headers and tags; compared by checksums the second time."""
    await fill(lake)
    async with await plan_copy(lake, "src", elsewhere, "") as plan:
        summary = await plan.apply()
    assert (summary.done, summary.bytes, summary.failed) == (4, 100_010, 0)
    for key, data in FILES.items():
        assert await elsewhere.download_bytes(key) == data
    info = await elsewhere.head("a.txt")
    assert (info.metadata["team"], info.content_type) == ("lake", "text/plain")
    assert await elsewhere.get_tags("a.txt") == {"zone": "raw"}
    async with await plan_copy(lake, "src", elsewhere, "") as plan:
        assert plan.counts == PlanCounts(unchanged=4)


async def test_changes_and_deletes(lake: Bucket, observer: Any) -> None:
    """Within one bucket, by content; only the target loses what the source lacks."""
    for key, data in {"src/a": b"1", "src/b": b"2", "dst/a": b"9", "dst/b": b"2", "dst/c": b"3"}.items():
        await lake.upload_bytes(key, data)
    async with await plan_copy(lake, "src", lake, "dst", delete=True) as plan:
        assert await actions(plan) == {
            "a": ("copy", "CRC64NVME differs"),
            "c": ("delete", "not in the source"),
        }
        assert [action.path async for action in plan] == [None, None]
        summary = await plan.apply()
    assert (summary.done, summary.deleted) == (1, 1)
    expected = {"a": b"1", "b": b"2"}
    assert stored(observer, lake.name, "dst/") == stored(observer, lake.name, "src/") == expected


@pytest.mark.parametrize(("source", "target"), [("", "backup"), ("a", ""), ("a", "a/b"), ("a", "a")])
async def test_prefixes_within_each_other(lake: Bucket, source: str, target: str) -> None:
    """A copy that would find its own results is refused."""
    with pytest.raises(S3InvalidRequestError, match="lie within each other"):
        await plan_copy(lake, source, lake, target)
    async with await plan_copy(lake, "a", lake, "ab") as plan:
        assert plan.counts == PlanCounts()
