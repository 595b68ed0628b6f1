"""Sweeping uploads nobody finished: the right ones, all of them, by the store's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3AccessDeniedError, S3Error
from greenlang_async_storage.testing import StorageServer
from tests.support import servers
from tests.support.faulty import FaultyClient, answer
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
NOTHING = timedelta(0)


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


@pytest.fixture
def abandoned(observer: Any, bucket_name: str) -> Iterator[dict[str, str]]:
    """Three uploads somebody else left: key -> upload id."""
    found = {
        key: observer.create_multipart_upload(Bucket=bucket_name, Key=key)["UploadId"]
        for key in ("a/one", "a/odd key+%7e/ü", "b/two")
    }
    yield found
    for key, upload_id in found.items():
        try:
            observer.abort_multipart_upload(Bucket=bucket_name, Key=key, UploadId=upload_id)
        except observer.exceptions.NoSuchUpload:
            continue


def open_ids(observer: Any, bucket: str) -> set[str]:
    """Ids of all open uploads."""
    return {found["UploadId"] for found in observer.list_multipart_uploads(Bucket=bucket).get("Uploads", [])}


async def test_everything_under_a_prefix_is_aborted(
    lake: Bucket, observer: Any, abandoned: dict[str, str]
) -> None:
    """Odd keys included; what is outside the prefix stays."""
    swept = await lake.abort_stale_uploads("a/", older_than=NOTHING)
    assert {(stale.key, stale.upload_id) for stale in swept} == {
        (key, upload_id) for key, upload_id in abandoned.items() if key.startswith("a/")
    }
    assert all(stale.aborted and stale.error is None for stale in swept)
    assert open_ids(observer, lake.name) == {abandoned["b/two"]}
    assert await lake.abort_stale_uploads("a/", older_than=NOTHING) == []
    assert len(await lake.abort_stale_uploads(older_than=NOTHING)) == 1


async def test_a_dry_run_aborts_nothing(lake: Bucket, observer: Any, abandoned: dict[str, str]) -> None:
    """It tells what would be aborted."""
    found = await lake.abort_stale_uploads(older_than=NOTHING, dry_run=True)
    assert {stale.upload_id for stale in found} == set(abandoned.values())
    assert not any(stale.aborted for stale in found)
    assert open_ids(observer, lake.name) == set(abandoned.values())


async def test_young_uploads_stay(
    lake: Bucket, observer: Any, abandoned: dict[str, str], server: StorageServer
) -> None:
    """An upload opened a moment ago is not a day old."""
    servers.require(server, "upload-dates")
    assert await lake.abort_stale_uploads(older_than=timedelta(days=1)) == []
    assert open_ids(observer, lake.name) == set(abandoned.values())


def page(*ages: timedelta, now: datetime = NOW, **more: Any) -> dict[str, Any]:
    """A page of uploads of these ages, from a store whose clock shows *now*."""
    return {
        "Uploads": [{"Key": f"key-{age}", "UploadId": str(age), "Initiated": now - age} for age in ages],
        "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(now, usegmt=True)}},
        "IsTruncated": False,
        **more,
    }


def pages(*replies: dict[str, Any]) -> Any:
    """A fault that answers these pages, and keeps the arguments it saw."""
    waiting, seen = list(replies), []

    async def reply(_call: Any, arguments: dict[str, Any]) -> Any:
        seen.append(arguments)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return reply, seen


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_age_is_measured_by_the_stores_clock(lake: Bucket, client: FaultyClient) -> None:
    """A wrong clock on this machine neither spares nor kills an upload; the age itself is old enough."""
    reply, _ = pages(page(timedelta(minutes=59), timedelta(minutes=60), timedelta(minutes=61)))
    client.always["list_multipart_uploads"] = reply
    found = await lake.abort_stale_uploads(older_than=timedelta(hours=1), dry_run=True)
    assert [stale.upload_id for stale in found] == ["1:00:00", "1:01:00"]
    assert found[0].initiated == NOW - timedelta(hours=1)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_every_page_is_read_and_keys_are_decoded(lake: Bucket, client: FaultyClient) -> None:
    """Markers go on as the store gave them, decoded when it says that it encoded them."""
    first = page(timedelta(1), IsTruncated=True, NextKeyMarker="a%2Bb%20c", NextUploadIdMarker="u1")
    second = page(timedelta(2))
    second["Uploads"][0]["Key"] = "d%2B%20e"
    for each in (first, second):
        each["EncodingType"] = "url"
    reply, seen = pages(first, second)
    client.always["list_multipart_uploads"] = reply
    found = await lake.abort_stale_uploads(older_than=NOTHING, dry_run=True)
    assert [stale.key for stale in found][1] == "d+ e"
    assert [(each.get("KeyMarker"), each.get("UploadIdMarker")) for each in seen] == [
        (None, None),
        ("a+b c", "u1"),
    ]


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.parametrize("marker", ["", "same"])
async def test_a_store_that_goes_round_in_circles_is_not_followed(
    lake: Bucket, client: FaultyClient, marker: str
) -> None:
    """A page that repeats its marker, or gives none, ends in an error instead of never."""
    reply, seen = pages(page(IsTruncated=True, NextKeyMarker=marker, NextUploadIdMarker=marker))
    client.always["list_multipart_uploads"] = reply
    with pytest.raises(S3Error, match="no new marker"):
        await lake.abort_stale_uploads(older_than=NOTHING)
    assert len(seen) <= 2


async def test_one_failed_abort_does_not_stop_the_others(
    lake: Bucket, observer: Any, client: FaultyClient, abandoned: dict[str, str]
) -> None:
    """It is reported with its error, and the rest is gone."""

    async def refuse_one(call: Any, arguments: dict[str, Any]) -> Any:
        if arguments["Key"] == "a/one":
            raise error_reply("AccessDenied", 403)
        return await call(**arguments)

    client.always["abort_multipart_upload"] = refuse_one
    swept = {stale.key: stale for stale in await lake.abort_stale_uploads(older_than=NOTHING)}
    assert isinstance(swept["a/one"].error, S3AccessDeniedError)
    assert not swept["a/one"].aborted
    assert swept["b/two"].aborted
    assert open_ids(observer, lake.name) == {abandoned["a/one"]}


async def test_a_denied_listing_is_raised(lake: Bucket, client: FaultyClient) -> None:
    """Without the permission there is no answer, not an empty one."""
    client.always["list_multipart_uploads"] = answer(error_reply("AccessDenied", 403))
    with pytest.raises(S3AccessDeniedError):
        await lake.abort_stale_uploads(older_than=NOTHING)


async def test_a_negative_age_is_a_mistake(lake: Bucket, client: FaultyClient) -> None:
    """Refused, before anything is listed."""
    with pytest.raises(ValueError, match="must not be negative"):
        await lake.abort_stale_uploads(older_than=timedelta(seconds=-1))
    assert not client.calls


async def test_a_scoped_view_sweeps_its_own(lake: Bucket, observer: Any, abandoned: dict[str, str]) -> None:
    """Keys come back without the prefix; other tenants' uploads stay."""
    swept = await lake.scoped("b").abort_stale_uploads(older_than=NOTHING)
    assert [stale.key for stale in swept] == ["two"]
    assert len(open_ids(observer, lake.name)) == 2
