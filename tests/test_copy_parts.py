"""Copies above the limit of one request, made in parts; the limits are lowered to the least S3 takes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from greenlang_async_storage import (
    Bucket,
    S3AccessDeniedError,
    S3Error,
    S3ObjectChangedError,
    StorageSession,
    _copy,
)
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

pytestmark = pytest.mark.asyncio

MIB = 1024**2
PART = 5 * MIB
BODY = bytes(range(256)) * (2 * PART // 256) + b"tail"
EXPIRES = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies above 6 MiB go in parts of 5 MiB."""
    monkeypatch.setattr(_copy, "SINGLE_COPY_BYTES", 6 * MIB)
    monkeypatch.setattr(_copy, "COPY_PART_BYTES", PART)


def put_source(observer: Any, bucket: str, key: str = "a", body: bytes = BODY, **options: Any) -> str:
    """A large object, written by others; gives its ETag."""
    return str(observer.put_object(Bucket=bucket, Key=key, Body=body, **options)["ETag"])


def open_uploads(observer: Any, bucket: str, key: str) -> list[str]:
    """Ids of the open multipart uploads of *key*."""
    listing = observer.list_multipart_uploads(Bucket=bucket, Prefix=key)
    return [upload["UploadId"] for upload in listing.get("Uploads", [])]


async def test_everything_is_kept(lake: Bucket, observer: Any) -> None:
    """Bytes, metadata, content headers, tags and encryption of a copy in parts are the source's."""
    put_source(
        observer,
        lake.name,
        ContentType="text/x-odd",
        ContentDisposition='inline; filename="a"',
        ContentEncoding="identity",
        ContentLanguage="de",
        CacheControl="no-cache",
        Expires=EXPIRES,
        Metadata={"tenant-id": "t1", "greenlang-upload-token": "of another upload"},
        Tagging="colour=dark%20green&sum=a%2Bb",
        ServerSideEncryption="AES256",
        ChecksumAlgorithm="CRC64NVME",
    )
    result = await lake.copy("a", "b")
    copied = observer.get_object(Bucket=lake.name, Key="b")
    assert copied["Body"].read() == BODY
    assert (copied["ContentType"], copied["ContentDisposition"]) == ("text/x-odd", 'inline; filename="a"')
    assert (copied["ContentEncoding"], copied["ContentLanguage"]) == ("identity", "de")
    assert copied["CacheControl"] == "no-cache"
    assert copied["Expires"] == EXPIRES
    assert copied["ServerSideEncryption"] == "AES256"
    assert copied["Metadata"].pop("greenlang-upload-token") != "of another upload"
    assert copied["Metadata"] == {"tenant-id": "t1"}
    assert await lake.get_tags("b") == {"colour": "dark green", "sum": "a+b"}
    assert (result.key, result.size, result.etag) == ("b", len(BODY), copied["ETag"].strip('"'))
    assert result.etag.endswith("-3")
    assert open_uploads(observer, lake.name, "b") == []


async def test_kms_is_kept(lake: Bucket, observer: Any) -> None:
    """A source under KMS gives a copy under the same key."""
    put_source(observer, lake.name, ServerSideEncryption="aws:kms", SSEKMSKeyId="greenlang-s3-key")
    await lake.copy("a", "b")
    copied = observer.get_object(Bucket=lake.name, Key="b")
    assert copied["Body"].read() == BODY
    assert (copied["ServerSideEncryption"], copied["SSEKMSKeyId"]) == (
        "aws:kms",
        observer.head_object(Bucket=lake.name, Key="a")["SSEKMSKeyId"],
    )


@pytest.mark.parametrize("extra", [1, PART - 6 * MIB % PART, PART, PART + 1])
async def test_sizes_around_a_part(extra: int, lake: Bucket, observer: Any) -> None:
    """Every byte arrives, wherever the last part ends."""
    body = BODY[: 6 * MIB] + bytes(extra)
    put_source(observer, lake.name, body=body)
    await lake.copy("a", "b")
    assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == body


async def test_small_objects_go_at_once(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit, and for an empty object, one CopyObject does it."""

    async def no_parts(**_kwargs: Any) -> None:
        raise AssertionError("copied in parts")

    monkeypatch.setattr(session.client, "create_multipart_upload", no_parts)
    for body in (b"", BODY[: 6 * MIB]):
        put_source(observer, lake.name, body=body)
        await lake.copy("a", "b")
        assert observer.head_object(Bucket=lake.name, Key="b")["ContentLength"] == len(body)


async def test_parts_are_pinned_and_bounded(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part carries the source's ETag; the ranges cover the object once, without a gap."""
    etag = put_source(observer, lake.name)
    client: Any = session.client
    original = client.upload_part_copy
    calls: dict[int, dict[str, Any]] = {}

    async def recorded(**kwargs: Any) -> Any:
        calls[kwargs["PartNumber"]] = kwargs
        return await original(**kwargs)

    monkeypatch.setattr(client, "upload_part_copy", recorded)
    await lake.copy("a", "b")
    assert {call["CopySourceIfMatch"] for call in calls.values()} == {etag}
    assert [calls[number]["CopySourceRange"] for number in (1, 2, 3)] == [
        f"bytes=0-{PART - 1}",
        f"bytes={PART}-{2 * PART - 1}",
        f"bytes={2 * PART}-{2 * PART + 3}",
    ]


async def test_replaced_source_aborts(
    lake: Bucket,
    observer: Any,
    server: StorageServer,
    session: StorageSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source replaced between two parts gives `S3ObjectChangedError`, no object and no open upload."""
    if server.name == "moto":
        pytest.skip("moto ignores x-amz-copy-source-if-match: proved on the other server")
    put_source(observer, lake.name)
    client: Any = session.client
    original = client.upload_part_copy

    async def replace_first(**kwargs: Any) -> Any:
        await lake.upload_bytes("a", BODY[::-1])
        return await original(**kwargs)

    monkeypatch.setattr(client, "upload_part_copy", replace_first)
    with pytest.raises(S3ObjectChangedError) as caught:
        await lake.copy("a", "b")
    assert (caught.value.operation, caught.value.key) == ("UploadPartCopy", "a")
    assert not await lake.exists("b")
    assert open_uploads(observer, lake.name, "b") == []


async def test_failure_aborts(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that fails for good aborts the upload; the old object under the destination stays."""
    put_source(observer, lake.name)
    await lake.upload_bytes("b", b"old")

    async def broken(**_kwargs: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(session.client, "upload_part_copy", broken)
    with pytest.raises(S3Error) as caught:
        await lake.copy("a", "b")
    assert caught.value.operation == "UploadPartCopy"
    assert open_uploads(observer, lake.name, "b") == []
    assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == b"old"
    assert session.statistics().possible_orphans == 0


async def test_cancel_aborts(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between two parts, a copy leaves no upload, no slot and no task; the source stays."""
    put_source(observer, lake.name)
    client: Any = session.client
    original = client.upload_part_copy
    second = asyncio.Event()

    async def stuck_after_first(**kwargs: Any) -> Any:
        if kwargs["PartNumber"] == 1:
            return await original(**kwargs)
        second.set()
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(client, "upload_part_copy", stuck_after_first)
    task = asyncio.ensure_future(lake.move("a", "b"))
    await second.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_uploads(observer, lake.name, "b") == []
    assert not await lake.exists("b")
    assert await lake.exists("a")
    assert session.statistics().in_flight == 0
    assert session.statistics().possible_orphans == 0


async def test_tags_that_may_not_be_read_stop_the_copy(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tags may not be read nothing is copied, and the remedy names the permission."""
    put_source(observer, lake.name, Tagging="a=b")

    async def refused(**kwargs: Any) -> None:
        raise ClientError(
            {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}},
            "GetObjectTagging",
        )

    monkeypatch.setattr(session.client, "get_object_tagging", refused)
    with pytest.raises(S3AccessDeniedError, match="s3:GetObjectTagging"):
        await lake.copy("a", "b")
    assert not await lake.exists("b")
    assert open_uploads(observer, lake.name, "b") == []


async def test_checksum_is_asked_for_and_done_without_where_it_cannot_be(
    lake: Bucket,
    observer: Any,
    server: StorageServer,
    session: StorageSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The configured checksum is asked for; a store that has none for copied parts still copies."""
    put_source(observer, lake.name, ChecksumAlgorithm="CRC64NVME")
    client: Any = session.client
    original = client.create_multipart_upload
    asked: list[str | None] = []

    async def recorded(**kwargs: Any) -> Any:
        asked.append(kwargs.get("ChecksumAlgorithm"))
        return await original(**kwargs)

    monkeypatch.setattr(client, "create_multipart_upload", recorded)
    await lake.copy("a", "b")
    assert asked == (["CRC64NVME", None] if server.name == "minio" else ["CRC64NVME"])
    assert open_uploads(observer, lake.name, "b") == []
    assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == BODY


async def test_move_in_parts(lake: Bucket, observer: Any) -> None:
    """A large object moves too, and only one of both is left."""
    put_source(observer, lake.name)
    await lake.move("a", "b")
    assert [info.key async for info in lake.list_objects()] == ["b"]


async def test_old_version_in_parts(lake: Bucket, observer: Any) -> None:
    """Parts are copied from the version that was asked for."""
    observer.put_bucket_versioning(Bucket=lake.name, VersioningConfiguration={"Status": "Enabled"})
    put_source(observer, lake.name)
    old = observer.head_object(Bucket=lake.name, Key="a")["VersionId"]
    put_source(observer, lake.name, body=b"small")
    await lake.copy("a", "a", version_id=old)
    assert observer.get_object(Bucket=lake.name, Key="a")["Body"].read() == BODY


async def test_twice_at_once(lake: Bucket, observer: Any) -> None:
    """Two copies to one key at the same time both succeed and leave one whole object."""
    put_source(observer, lake.name)
    await asyncio.gather(lake.copy("a", "b"), lake.copy("a", "b"))
    assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == BODY
    assert open_uploads(observer, lake.name, "b") == []


async def test_from_another_bucket(lake: Bucket, session: StorageSession, observer: Any) -> None:
    """The source of the parts, its tags included, may lie in another bucket."""
    other = f"{lake.name}-b"
    observer.create_bucket(Bucket=other)
    try:
        put_source(observer, other, "ü %41+", Tagging="a=b")
        await lake.copy("ü %41+", "b", source_bucket=other)
        assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == BODY
        assert await lake.get_tags("b") == {"a": "b"}
    finally:
        servers.empty_and_remove(observer, other)
