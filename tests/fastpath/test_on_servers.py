"""The whole path on moto and MinIO: every compiled operation, read back by a plain client too."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._model import OPERATIONS
from greenlang_async_storage.testing import StorageServer
from tests.fastpath.recorders import new_session
from tests.fastpath.strategies import payload

pytestmark = pytest.mark.asyncio

_PART = 5 << 20


@pytest_asyncio.fixture
async def client(server: StorageServer) -> AsyncIterator[Any]:
    """A client with the fast path on `server`."""
    settings = server.settings_kwargs()
    session = new_session()
    arguments = {
        "endpoint_url": settings["endpoint_url"],
        "region_name": "us-east-1",
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
    }
    async with session.create_client(
        "s3", config=AioConfig(s3={"addressing_style": "path"}), **arguments
    ) as made:
        yield made


async def test_objects(client: Any, bucket_name: str, observer: Any) -> None:
    """Put, get, head, copy, tag, list, delete: what is stored is what was sent."""
    at = {"Bucket": bucket_name}
    data = bytes(range(256)) * 40
    for key, body in (
        ("a/b c+ü", data),
        ("empty", b""),
        ("stream", io.BytesIO(data)),
        ("known", payload(data)),
    ):
        await client.put_object(**at, Key=key, Body=body, Metadata={"one": "1"}, ContentType="text/x")
    assert observer.get_object(**at, Key="known")["Body"].read() == data
    assert observer.get_object(**at, Key="a/b c+ü")["Body"].read() == data
    reply = await client.get_object(**at, Key="stream")
    assert await reply["Body"].read() == data
    assert (reply["Metadata"], reply["ContentType"], reply["ContentLength"]) == (
        {"one": "1"},
        "text/x",
        len(data),
    )
    part = await client.get_object(**at, Key="a/b c+ü", Range="bytes=10-19")
    assert (await part["Body"].read(), part["ResponseMetadata"]["HTTPStatusCode"]) == (data[10:20], 206)
    head = await client.head_object(**at, Key="empty")
    assert (head["ContentLength"], head["ETag"]) == (0, '"d41d8cd98f00b204e9800998ecf8427e"')
    copied = await client.copy_object(**at, Key="copy", CopySource={**at, "Key": "a/b c+ü"})
    assert copied["CopyObjectResult"]["ETag"] == reply["ETag"]
    await client.put_object_tagging(**at, Key="copy", Tagging={"TagSet": [{"Key": "k", "Value": "v w"}]})
    assert (await client.get_object_tagging(**at, Key="copy"))["TagSet"] == [{"Key": "k", "Value": "v w"}]
    listed = await client.list_objects_v2(**at)
    assert [each["Key"] for each in listed["Contents"]] == ["a/b c+ü", "copy", "empty", "known", "stream"]
    assert listed["Contents"] == observer.list_objects_v2(**at)["Contents"]
    versions = await client.list_object_versions(**at, Prefix="a/")
    assert [each["Key"] for each in versions["Versions"]] == ["a/b c+ü"]
    await client.delete_object(**at, Key="copy")
    deleted = await client.delete_objects(**at, Delete={"Objects": [{"Key": "empty"}, {"Key": "a/b c+ü"}]})
    assert sorted(each["Key"] for each in deleted["Deleted"]) == ["a/b c+ü", "empty"]
    assert (await client.head_bucket(**at))["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_multipart(client: Any, bucket_name: str, observer: Any) -> None:
    """Create, upload, copy into a part, list, complete, abort."""
    at = {"Bucket": bucket_name, "Key": "large"}
    observer.put_object(Bucket=bucket_name, Key="source", Body=b"s" * _PART)
    upload = {**at, "UploadId": (await client.create_multipart_upload(**at))["UploadId"]}
    first = await client.upload_part(**upload, PartNumber=1, Body=b"1" * _PART)
    source = {"Bucket": bucket_name, "Key": "source"}
    second = (await client.upload_part_copy(**upload, PartNumber=2, CopySource=source))["CopyPartResult"]
    third = await client.upload_part(**upload, PartNumber=3, Body=payload(b"end"))
    assert [part["Size"] for part in (await client.list_parts(**upload))["Parts"]] == [_PART, _PART, 3]
    open_uploads = await client.list_multipart_uploads(Bucket=bucket_name, Prefix="large")
    assert [each["UploadId"] for each in open_uploads["Uploads"]] == [upload["UploadId"]]
    parts = [
        {"PartNumber": number, "ETag": each["ETag"]} for number, each in enumerate((first, second, third), 1)
    ]
    for part, each in zip(parts, (first, second, third), strict=True):
        part.update({name: value for name, value in each.items() if name == "ChecksumCRC32"})
    done = await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-3"')
    assert observer.get_object(**at)["Body"].read() == b"1" * _PART + b"s" * _PART + b"end"
    other = await client.create_multipart_upload(**at)
    await client.abort_multipart_upload(**at, UploadId=other["UploadId"])


async def test_refusals(client: Any, bucket_name: str) -> None:
    """Missing and conflicting objects raise the classes users catch."""
    at = {"Bucket": bucket_name, "Key": "missing"}
    with pytest.raises(client.exceptions.NoSuchKey) as missing:
        await client.get_object(**at)
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    with pytest.raises(client.exceptions.ClientError, match="404"):
        await client.head_object(**at)
    with pytest.raises(client.exceptions.NoSuchBucket):
        await client.list_objects_v2(Bucket="no-such-bucket-here")
    await client.put_object(**at, Body=b"")
    with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
        await client.get_object(**at, IfMatch='"other"')
    with pytest.raises(client.exceptions.ClientError, match="304"):
        await client.get_object(**at, IfNoneMatch=(await client.head_object(**at))["ETag"])


async def test_every_operation_was_compiled(client: Any, bucket_name: str, observer: Any) -> None:
    """The tests above leave no compiled operation out, and none of their calls was passed on."""
    before = fastpath.statistics()
    await test_objects(client, bucket_name, observer)
    await test_multipart(client, bucket_name, observer)
    after = fastpath.statistics()
    assert {
        name for name, count in after.operations.items() if count > before.operations.get(name, 0)
    } == OPERATIONS
    assert after.passed_on == before.passed_on
    assert after.handed_over == before.handed_over
