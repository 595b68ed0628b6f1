"""Listings on moto and MinIO: pages, order, prefixes, versions, and leaving early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3InvalidRequestError,
    S3NotFoundError,
    S3SessionClosedError,
    StorageSession,
    StorageSettings,
    _listing,
    fastpath,
)
from greenlang_async_storage._info import listed

pytestmark = pytest.mark.asyncio

MANY = 1003


def fill(observer: Any, bucket: str, keys: list[str]) -> None:
    """Empty objects under *keys*."""
    for key in keys:
        observer.put_object(Bucket=bucket, Key=key, Body=b"")


def counted(monkeypatch: pytest.MonkeyPatch, session: StorageSession, method: str) -> list[dict[str, Any]]:
    """The arguments of every request of *method* from now on."""
    client: Any = session.client
    original = getattr(client, method)
    calls: list[dict[str, Any]] = []

    async def recorded(**kwargs: Any) -> Any:
        calls.append(kwargs)
        return await original(**kwargs)

    monkeypatch.setattr(client, method, recorded)
    return calls


async def keys(listing: AsyncIterator[ObjectInfo]) -> list[str]:
    """What a listing gives, as keys."""
    return [info.key async for info in listing]


async def test_entry_says_what_s3_lists(lake: Bucket) -> None:
    """Size, ETag without quotes, UTC time and storage class are those of head; the rest is left empty."""
    await lake.upload_bytes("a/b.csv", b"12345", metadata={"m": "1"})
    head = await lake.head("a/b.csv")
    [info] = [info async for info in lake.list_objects()]
    assert (info.key, info.size, info.etag) == ("a/b.csv", 5, head.etag)
    assert info.last_modified is not None
    assert info.last_modified.replace(microsecond=0) == head.last_modified
    assert str(info.last_modified.tzinfo) == "UTC"
    assert info.storage_class == "STANDARD"
    assert (info.content_type, info.metadata, info.checksum, info.verified) == (None, {}, None, False)


async def test_more_than_a_thousand_keys(lake: Bucket, observer: Any) -> None:
    """Listings longer than S3's largest page give every key, and every prefix, once and in order."""
    folders = [f"{number:05d}/" for number in range(MANY)]
    await asyncio.to_thread(fill, observer, lake.name, [f"k/{folder}x" for folder in folders])
    assert await keys(lake.list_objects("k/")) == [f"k/{folder}x" for folder in folders]
    assert [prefix async for prefix in lake.list_prefixes("k/")] == [f"k/{folder}" for folder in folders]


async def test_the_fast_path_lists_in_columns(
    settings: StorageSettings, bucket_name: str, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What servers send needs no dictionary per object; the calls count as compiled."""
    await asyncio.to_thread(fill, observer, bucket_name, ["a", "b/é +%", "c"])
    pages: list[object] = []

    def watched(contents: Any, cut: int) -> Iterator[ObjectInfo]:
        pages.append(contents)
        return listed(contents, cut)

    monkeypatch.setattr(_listing, "listed", watched)
    before = fastpath.statistics()
    async with StorageSession(settings.model_copy(update={"fast_path": True})) as fast:
        assert await keys(fast.data_lake.list_objects()) == ["a", "b/é +%", "c"]
    after = fastpath.statistics()
    assert after.operations["ListObjectsV2"] - before.operations.get("ListObjectsV2", 0) == 1
    assert after.handed_over == before.handed_over
    [contents] = pages
    assert not isinstance(contents, Sequence)


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 1000])
async def test_pages_of_any_size(
    page_size: int, lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the page size, the keys are the same; each page is one request of that size."""
    expected = [f"k{number}" for number in range(7)]
    fill(observer, lake.name, expected)
    calls = counted(monkeypatch, session, "list_objects_v2")
    assert await keys(lake.list_objects(page_size=page_size)) == expected
    # MinIO finds out that pages of one key have come to their end by one more.
    assert len(calls) - -(-7 // page_size) in {0, page_size == 1}
    assert {call["MaxKeys"] for call in calls} == {page_size}


@pytest.mark.parametrize("page_size", [0, -1, 1001])
async def test_impossible_pages_are_refused_at_once(page_size: int, lake: Bucket) -> None:
    """A page size S3 does not have is refused by the call, not by the first iteration."""
    with pytest.raises(S3InvalidRequestError, match="1 to 1000"):
        lake.list_objects(page_size=page_size)


async def test_nothing_to_list(lake: Bucket) -> None:
    """An empty bucket, and a prefix without keys, give nothing."""
    assert await keys(lake.list_objects()) == []
    await lake.upload_bytes("b", b"")
    assert await keys(lake.list_objects("a")) == []


async def test_start_after(lake: Bucket, observer: Any) -> None:
    """Listing goes on behind a key, given or not, across pages and within a prefix."""
    fill(observer, lake.name, ["a", "p/1", "p/2", "p/3", "p/4", "q"])
    assert await keys(lake.list_objects("p/", start_after="p/1", page_size=2)) == ["p/2", "p/3", "p/4"]
    assert await keys(lake.list_objects("p/", start_after="p/22")) == ["p/3", "p/4"]
    assert await keys(lake.list_objects(start_after="q")) == []


async def test_odd_keys_are_decoded_once(lake: Bucket, observer: Any) -> None:
    """Keys that look percent-encoded, or that XML cannot carry plainly, are listed as they are."""
    odd = sorted(["a%2Fb", "a+b", "a b", "a&<>\"'", "ü/日本/🙂", "%", "a%252Fb"])
    fill(observer, lake.name, odd)
    assert await keys(lake.list_objects(page_size=2)) == odd
    for key in odd:
        assert key in await keys(lake.list_objects(key))
        assert key not in await keys(lake.list_objects(start_after=key))


async def test_prefixes(lake: Bucket, observer: Any) -> None:
    """Each "folder" of a level is given once; keys of the level itself are not."""
    fill(observer, lake.name, ["top", "a/1", "a/2", "b/c/1", "b/1", "ü 1%/x"])
    assert [prefix async for prefix in lake.list_prefixes()] == ["a/", "b/", "ü 1%/"]
    assert [prefix async for prefix in lake.list_prefixes("b/")] == ["b/c/"]
    assert [prefix async for prefix in lake.list_prefixes("a/")] == []
    assert [prefix async for prefix in lake.list_prefixes(delimiter="c")] == ["b/c"]
    with pytest.raises(S3InvalidRequestError, match="delimiter"):
        lake.list_prefixes(delimiter="")


async def test_versions(lake: Bucket, observer: Any) -> None:
    """Every version and delete marker is given by key, the latest first, with its own id."""
    observer.put_bucket_versioning(Bucket=lake.name, VersioningConfiguration={"Status": "Enabled"})
    first = await lake.upload_bytes("a/x", b"1")
    second = await lake.upload_bytes("a/x", b"22")
    await lake.delete("a/x")
    other = await lake.upload_bytes("a/é", b"333")
    await lake.upload_bytes("b", b"")
    found = [version async for version in lake.list_versions("a/")]
    assert next((v.key, v.is_delete_marker, v.is_latest, v.size) for v in found) == ("a/x", True, True, 0)
    assert {v.version_id: v.size for v in found if v.key == "a/x" and not v.is_delete_marker} == {
        first.version_id: 1,
        second.version_id: 2,
    }
    last = found[-1]
    assert (last.key, last.version_id, last.is_latest) == ("a/é", other.version_id, True)
    assert last.etag == other.etag
    assert str(last.last_modified.tzinfo) == "UTC"


async def test_versions_without_versioning(lake: Bucket) -> None:
    """In a bucket that never had versions each object is one, called `null`."""
    await lake.upload_bytes("a", b"1")
    [version] = [version async for version in lake.list_versions()]
    assert (version.key, version.version_id, version.is_latest) == ("a", "null", True)


async def test_missing_bucket(session: StorageSession) -> None:
    """Listing a bucket that is not there is `S3NotFoundError` at the first item."""
    nowhere = session.bucket("no-such-bucket-anywhere")
    for listing in (nowhere.list_objects(), nowhere.list_prefixes(), nowhere.list_versions()):
        with pytest.raises(S3NotFoundError) as caught:
            await anext(cast("AsyncIterator[object]", listing))
        assert (caught.value.code, caught.value.bucket) == ("NoSuchBucket", nowhere.name)


async def test_leaving_early_leaves_nothing(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing left after one item has asked for one page and holds no slot."""
    fill(observer, lake.name, [f"k{number}" for number in range(6)])
    calls = counted(monkeypatch, session, "list_objects_v2")
    async for info in lake.list_objects(page_size=2):
        assert info.key == "k0"
        break
    assert len(calls) == 1
    assert session.statistics().in_flight == 0
    async with aclosing(cast("Any", lake.list_objects(page_size=2))) as listing:
        assert (await anext(listing)).key == "k0"
    assert len(calls) == 2


async def test_cancelled_between_pages(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while a page is awaited, a listing gives its slot back."""
    fill(observer, lake.name, ["a", "b", "c"])
    client: Any = session.client
    original = client.list_objects_v2
    waiting = asyncio.Event()

    async def stuck(**kwargs: Any) -> Any:
        if "ContinuationToken" not in kwargs:
            return await original(**kwargs)
        waiting.set()
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(client, "list_objects_v2", stuck)
    task = asyncio.ensure_future(keys(lake.list_objects(page_size=1)))
    await waiting.wait()
    assert session.statistics().in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.statistics().in_flight == 0


async def test_twice_at_once(lake: Bucket, observer: Any) -> None:
    """Two listings of the same keys do not disturb each other."""
    expected = [f"k{number}" for number in range(5)]
    fill(observer, lake.name, expected)
    first, second = await asyncio.gather(
        keys(lake.list_objects(page_size=2)), keys(lake.list_objects(page_size=3))
    )
    assert first == second == expected


async def test_failed_page_is_asked_again(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page whose request breaks is asked for again: no key is missed, none comes twice."""
    expected = [f"k{number}" for number in range(5)]
    fill(observer, lake.name, expected)
    client: Any = session.client
    original = client.list_objects_v2
    requests: list[str | None] = []

    async def flaky(**kwargs: Any) -> Any:
        token = kwargs.get("ContinuationToken")
        requests.append(token)
        if token is not None and requests.count(token) == 1:
            raise ConnectionResetError
        return await original(**kwargs)

    monkeypatch.setattr(client, "list_objects_v2", flaky)
    assert await keys(lake.list_objects(page_size=2)) == expected
    assert len(requests) == 5


async def test_keys_changing_meanwhile(lake: Bucket, observer: Any) -> None:
    """Deleting and writing while listing never repeats a key, nor hides one that was there all the time."""
    fill(observer, lake.name, [f"k{number}" for number in range(8)])
    seen = []
    async for info in lake.list_objects(page_size=2):
        seen.append(info.key)
        if len(seen) == 3:
            await lake.delete("k0")
            await lake.delete("k5")
            await lake.upload_bytes("k1a", b"")
    assert len(set(seen)) == len(seen)
    assert {"k1", "k2", "k3", "k4", "k6", "k7"} <= set(seen)


async def test_scoped_listings(lake: Bucket, observer: Any) -> None:
    """A scoped view lists its own keys, relative to its prefix, and never a neighbour's."""
    fill(observer, lake.name, ["t1/a/x", "t1/b", "t10/c", "t1.txt"])
    view = lake.scoped("t1")
    assert await keys(view.list_objects()) == ["a/x", "b"]
    assert await keys(view.list_objects("a/")) == ["a/x"]
    assert await keys(view.list_objects(start_after="a/x")) == ["b"]
    assert [prefix async for prefix in view.list_prefixes()] == ["a/"]
    assert [version.key async for version in view.list_versions()] == ["a/x", "b"]


async def test_closed_session(settings: StorageSettings, observer: Any) -> None:
    """A listing goes no further once its session is closed."""
    async with StorageSession(settings) as session:
        fill(observer, session.data_lake.name, ["a", "b", "c"])
        listing = session.data_lake.list_objects(page_size=1)
        assert (await anext(listing)).key == "a"
    with pytest.raises(S3SessionClosedError):
        await anext(listing)


async def test_session_closed_while_a_page_is_awaited(
    settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closing session ends a page that does not come, with the reason."""
    waiting = asyncio.Event()

    async def never(**_kwargs: object) -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    async with StorageSession(settings) as session:
        monkeypatch.setattr(session.client, "list_objects_v2", never)
        task = asyncio.ensure_future(keys(session.data_lake.list_objects()))
        await waiting.wait()
        await session.aclose(drain=0)
        with pytest.raises(S3SessionClosedError, match="while the call ran"):
            await task
