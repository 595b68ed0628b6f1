"""The in-memory store lists, versions and deletes as S3 does, and takes plain clients."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from greenlang_async_storage.testing import MemoryS3
from tests.support.faults import BUCKET, laboratory

pytestmark = pytest.mark.asyncio

KEYS = ["a", "a/1", "a/2", "b/1/x", "b/2", "c d+e&f", "ü/z", "\U0001f600"]


@pytest.fixture
def store() -> MemoryS3:
    """A store with some keys."""
    made = MemoryS3()
    made.create_bucket(BUCKET)
    return made


@pytest_asyncio.fixture
async def s3(store: MemoryS3) -> AsyncIterator[Any]:
    """A plain aioboto3 client on `store`."""
    async with laboratory(store=store) as lab:
        yield lab.session.client
        for key, upload_id in store.open_uploads(BUCKET):
            await lab.session.client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)


async def put(s3: Any, *keys: str) -> None:
    """Empty objects."""
    for key in keys:
        await s3.put_object(Bucket=BUCKET, Key=key, Body=b"")


async def listed(s3: Any, operation: str, **arguments: Any) -> tuple[list[str], list[str], int]:
    """Keys and common prefixes over all pages, and how many pages there were."""
    keys, prefixes, pages = [], [], 0
    async for page in s3.get_paginator(operation).paginate(Bucket=BUCKET, **arguments):
        keys += [entry["Key"] for entry in page.get("Contents", [])]
        prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        pages += 1
    return keys, prefixes, pages


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_pages_hold_every_key_once(s3: Any, operation: str, size: int) -> None:
    """In the order of their UTF-8 bytes, whatever the page size."""
    await put(s3, *KEYS)
    found = await listed(s3, operation, PaginationConfig={"PageSize": size})
    assert found[:2] == (sorted(KEYS, key=str.encode), [])
    assert found[2] == -(-len(KEYS) // size)


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("prefix", ["", "b/", "a"])
async def test_prefix_and_delimiter(s3: Any, operation: str, size: int, prefix: str) -> None:
    """Each common prefix comes once, over page borders too; keys below it do not."""
    await put(s3, *KEYS)
    expected_keys, expected_prefixes = [], set()
    for key in sorted(KEYS, key=str.encode):
        head, slash, _ = key.removeprefix(prefix).partition("/")
        if key.startswith(prefix) and slash:
            expected_prefixes.add(prefix + head + "/")
        elif key.startswith(prefix):
            expected_keys.append(key)
    arguments = {"Prefix": prefix, "Delimiter": "/", "PaginationConfig": {"PageSize": size}}
    keys, prefixes, _ = await listed(s3, operation, **arguments)
    assert (keys, prefixes) == (expected_keys, sorted(expected_prefixes, key=str.encode))


async def test_start_after_and_encoding(s3: Any) -> None:
    """Exclusive, and keys with odd characters come encoded when that was asked for."""
    await put(s3, *KEYS)
    reply = await s3.list_objects_v2(Bucket=BUCKET, StartAfter="b/2", EncodingType="url")
    assert [entry["Key"] for entry in reply["Contents"]] == ["c%20d%2Be%26f", "%C3%BC/z", "%F0%9F%98%80"]
    assert reply["KeyCount"] == 3


async def test_versions(s3: Any, store: MemoryS3) -> None:
    """Every write and delete is kept; markers hide, versions can be read and removed one by one."""
    await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    place = {"Bucket": BUCKET, "Key": "key"}
    ids = [(await s3.put_object(**place, Body=data))["VersionId"] for data in (b"one", b"two")]
    marker = await s3.delete_object(**place)
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError, match="NoSuchKey"):
        await s3.get_object(**place)
    with pytest.raises(ClientError, match="MethodNotAllowed"):
        await s3.get_object(**place, VersionId=marker["VersionId"])
    first = await s3.get_object(**place, VersionId=ids[0])
    assert await first["Body"].read() == b"one"
    assert store.versions(BUCKET, "key") == [b"one", b"two", None]
    assert (await s3.delete_object(**place, VersionId=marker["VersionId"]))["DeleteMarker"] is True
    assert store.get(BUCKET, "key") == b"two"


async def test_suspended_versions(s3: Any, store: MemoryS3) -> None:
    """The `null` version is replaced, those with an id stay."""
    store.put(BUCKET, "key", b"null")
    for status in ("Enabled", "Suspended"):
        configuration = {"Status": status}
        await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=configuration)
        await s3.put_object(Bucket=BUCKET, Key="key", Body=status.encode())
    assert store.versions(BUCKET, "key") == [b"Enabled", b"Suspended"]


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_versions_are_listed_in_pages(s3: Any, store: MemoryS3, size: int) -> None:
    """By key, the latest first; nothing twice, nothing left out."""
    store.create_bucket(BUCKET, versioning=True)
    for key, _ in itertools.product(("a", "b/1", "b/2"), range(3)):
        store.put(BUCKET, key, b"")
    store.delete(BUCKET, "a")
    found: list[tuple[str, str]] = []
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=BUCKET, PaginationConfig={"PageSize": size}
    )
    async for page in pages:
        found += [(one["Key"], one["VersionId"]) for one in page.get("Versions", [])]
        found += [(one["Key"], one["VersionId"]) for one in page.get("DeleteMarkers", [])]
    assert len(set(found)) == len(found) == 10


@pytest.mark.parametrize(("behaviour", "found"), [("aws", 2), ("minio", 0)])
async def test_open_uploads_by_prefix(behaviour: Any, found: int) -> None:
    """MinIO finds exact keys only."""
    async with laboratory(store=MemoryS3(behaviour=behaviour)) as lab:
        s3 = lab.session.client
        for key in ("p/a", "p/b", "q"):
            await s3.create_multipart_upload(Bucket=BUCKET, Key=key)
        listing = await s3.list_multipart_uploads(Bucket=BUCKET, Prefix="p/")
        assert len(listing.get("Uploads", [])) == found
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=BUCKET, PaginationConfig={"PageSize": 1}
        )
        assert [page["Uploads"][0]["Key"] async for page in pages] == ["p/a", "p/b", "q"]
        for key, upload_id in lab.store.open_uploads(BUCKET):
            await s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)


async def test_deleting_many(s3: Any, store: MemoryS3) -> None:
    """One answer per key, missing ones included; a digest is required, as S3 requires it."""
    await put(s3, "a", "b")
    doomed = {"Objects": [{"Key": "a"}, {"Key": "none"}]}
    reply = await s3.delete_objects(Bucket=BUCKET, Delete=doomed)
    assert [entry["Key"] for entry in reply["Deleted"]] == ["a", "none"]
    assert store.keys(BUCKET) == ["b"]
    assert store.handle("POST", f"/{BUCKET}?delete", {}, b"<Delete/>").status == 400


async def test_tags(s3: Any) -> None:
    """Set with the object, replaced, counted, removed."""
    place = {"Bucket": BUCKET, "Key": "key"}
    await s3.put_object(**place, Body=b"", Tagging="a=1&b=2")
    assert (await s3.get_object(**place))["TagCount"] == 2
    await s3.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "c", "Value": "<&>"}]})
    assert (await s3.get_object_tagging(**place))["TagSet"] == [{"Key": "c", "Value": "<&>"}]
    await s3.delete_object_tagging(**place)
    assert (await s3.get_object_tagging(**place))["TagSet"] == []


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
async def test_a_plain_aiobotocore_client(store: MemoryS3, endpoint: str | None) -> None:
    """`http_session_cls` is all it takes; also with AWS's own host names and its trailing checksums."""
    async with get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=AioConfig(http_session_cls=store.http_session_class()),
    ) as client:
        if type(client._endpoint.http_session).__name__ == "AIOHTTPSession":
            await store.attach_client(client)  # aiobotocore 2.x loses the class when it merges configs
        await client.put_object(Bucket=BUCKET, Key="key", Body=b"data" * 1000)
        async with (await client.get_object(Bucket=BUCKET, Key="key"))["Body"] as body:
            assert await body.read() == b"data" * 1000
    assert store.get(BUCKET, "key") == b"data" * 1000
    assert store.open_bodies == 0


async def test_equal_runs_are_equal() -> None:
    """The same calls get the same ids, and the same log."""
    traces = []
    for _ in range(2):
        async with laboratory() as lab:
            await lab.lake.upload_bytes("key", b"data")
            await lab.lake.download_bytes("key")
            versions = await lab.session.client.head_object(Bucket=BUCKET, Key="key")
            traces.append((lab.faults.trace(), versions["ResponseMetadata"]["RequestId"]))
    assert traces[0] == traces[1]
