"""Listings against a store that misbehaves, from scripted replies; and what one entry becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest

from greenlang_async_storage import ObjectInfo, S3Error
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._listing import list_objects, list_prefixes, list_versions

WHEN = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


class Scripted:
    """Stands in for a connection: each request is answered by *reply*, given its number and arguments."""

    owner: dict[str, str]

    def __init__(self, reply: Callable[[int], dict[str, Any]]) -> None:
        self.owner = {}
        self.requests = 0
        self._reply = reply

    def within(self, *_args: object) -> AbstractContextManager[None]:
        """No deadline."""
        return nullcontext()

    async def call(self, operation: str, send: Callable[[Any], Awaitable[Any]], **_facts: object) -> Any:
        """The next scripted reply."""
        return await send(self)

    async def list_objects_v2(self, **_kwargs: object) -> dict[str, Any]:
        """One page."""
        self.requests += 1
        if self.requests > 10_000:
            raise AssertionError("an endless loop")
        return self._reply(self.requests - 1)

    list_object_versions = list_objects_v2


def page(number: int, token: str | None) -> dict[str, Any]:
    """One page with one key."""
    entry = {"Key": f"k{number:06d}", "Size": 1, "ETag": '"e"', "LastModified": WHEN, "VersionId": "v"}
    reply: dict[str, Any] = {
        "IsTruncated": True,
        "Contents": [entry],
        "Versions": [entry],
        "CommonPrefixes": [{"Prefix": "p/"}],
    }
    if token is not None:
        reply |= {"NextContinuationToken": token, "NextKeyMarker": token, "NextVersionIdMarker": "v"}
    return reply


LISTINGS: dict[str, Callable[[Connection], Any]] = {
    "objects": lambda conn: list_objects(conn, "bucket-1"),
    "prefixes": lambda conn: list_prefixes(conn, "bucket-1"),
    "versions": lambda conn: list_versions(conn, "bucket-1"),
}


def drained(store: Scripted, kind: str) -> S3Error:
    """The error that ends a listing of *store*."""

    async def run() -> None:
        async for _ in LISTINGS[kind](cast("Connection", store)):
            pass

    with pytest.raises(S3Error) as caught:
        asyncio.run(run())
    return caught.value


@pytest.mark.parametrize("kind", LISTINGS)
def test_repeated_token_ends_the_listing(kind: str) -> None:
    """A store that gives the same token again is caught by the second time, before a key comes twice."""
    store = Scripted(lambda number: page(number, "same"))
    error = drained(store, kind)
    assert store.requests == 2
    assert "'same'" in str(error)
    assert error.bucket == "bucket-1"
    assert error.operation in {"ListObjectsV2", "ListObjectVersions"}


@pytest.mark.parametrize("kind", LISTINGS)
@pytest.mark.parametrize(("lead", "cycle"), [(0, 2), (5, 3), (100, 7), (3, 1000)])
def test_any_circle_ends_the_listing(kind: str, lead: int, cycle: int) -> None:
    """Tokens that go round in a circle, of any length and after any start, are caught too."""
    store = Scripted(
        lambda number: page(number, str(number if number < lead else lead + (number - lead) % cycle))
    )
    drained(store, kind)
    assert store.requests <= 4 * (lead + cycle) + 4


@pytest.mark.parametrize("kind", LISTINGS)
def test_late_repetition_is_caught_at_once(kind: str) -> None:
    """A token given twice in a row is caught by the second time, however many pages went well before."""
    store = Scripted(lambda number: page(number, str(min(number, 100))))
    drained(store, kind)
    assert store.requests == 102


@pytest.mark.parametrize("kind", LISTINGS)
def test_truncated_without_a_token_ends_the_listing(kind: str) -> None:
    """A store that says there is more but not where is an error, not the end of the listing."""
    store = Scripted(lambda number: page(number, None))
    assert "not where" in str(drained(store, kind))
    assert store.requests == 1


def test_empty_pages_are_no_end() -> None:
    """A page without keys that is truncated is followed by the next."""

    def reply(number: int) -> dict[str, Any]:
        if number < 3:
            return {"IsTruncated": True, "NextContinuationToken": str(number)}
        return {**page(number, None), "IsTruncated": False}

    async def run() -> list[str]:
        store = cast("Connection", Scripted(reply))
        return [info.key async for info in list_objects(store, "bucket-1")]

    assert asyncio.run(run()) == ["k000003"]


def test_two_thousand_pages_with_fresh_tokens_pass() -> None:
    """Tokens that never repeat are never mistaken for a circle."""

    def reply(number: int) -> dict[str, Any]:
        return {**page(number, str(number)), "IsTruncated": number < 1_999}

    async def run() -> int:
        store = cast("Connection", Scripted(reply))
        return len([info async for info in list_objects(store, "bucket-1")])

    assert asyncio.run(run()) == 2_000


def test_entry_of_an_object_in_parts() -> None:
    """Times come in UTC, ETags without quotes, and an ETag of parts tells how many there were."""
    entry: Any = {
        "Key": "scope/a",
        "Size": 7,
        "ETag": '"0123456789abcdef0123456789abcdef-12"',
        "LastModified": WHEN.astimezone(timezone(timedelta(hours=2))),
        "StorageClass": "STANDARD_IA",
        "ChecksumAlgorithm": ["CRC64NVME"],
    }

    async def run() -> list[ObjectInfo]:
        reply = {"IsTruncated": False, "Contents": [entry]}
        store = cast("Connection", Scripted(lambda _: reply))
        return [info async for info in list_objects(store, "bucket-1", scope="scope/")]

    [info] = asyncio.run(run())
    assert info == ObjectInfo(
        key="a",
        size=7,
        etag="0123456789abcdef0123456789abcdef-12",
        last_modified=WHEN,
        storage_class="STANDARD_IA",
        parts=12,
    )
    assert info.last_modified is not None
    assert info.last_modified.tzinfo is UTC


def test_versions_and_markers_are_merged() -> None:
    """S3 lists versions and markers apart; they come by key, the latest first, then by age."""
    old, new = WHEN, WHEN + timedelta(seconds=9)

    def entry(key: str, version: str, when: datetime, *, latest: bool = False) -> dict[str, Any]:
        return {
            "Key": key,
            "VersionId": version,
            "LastModified": when,
            "IsLatest": latest,
            "ETag": '"e"',
            "Size": 1,
        }

    reply = {
        "IsTruncated": False,
        "Versions": [entry("a", "a1", old), entry("b", "b2", new, latest=True), entry("b", "b1", old)],
        "DeleteMarkers": [entry("a", "a2", new, latest=True), entry("b", "b1d", WHEN + timedelta(seconds=3))],
    }

    async def run() -> list[str]:
        store = cast("Connection", Scripted(lambda _: reply))
        return [version.version_id async for version in list_versions(store, "bucket-1")]

    assert asyncio.run(run()) == ["a2", "a1", "b2", "b1d", "b1"]
