"""The in-memory store answers as S3 does: conditions, uploads, versions, listings, checksums, errors."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from greenlang_async_storage import StorageSettings
from greenlang_async_storage.testing import MemoryS3
from tests.support.faults import BUCKET, laboratory

pytestmark = pytest.mark.asyncio


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of the store."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryS3:
    """A store that takes parts of any size."""
    return MemoryS3(clock=clock, min_part_size=1)


@pytest_asyncio.fixture
async def s3(store: MemoryS3) -> AsyncIterator[Any]:
    """A plain aioboto3 client on `store`."""
    async with laboratory(store=store) as lab:
        yield lab.session.client
        for key, upload_id in store.open_uploads(BUCKET):
            await lab.session.client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)


async def refused(awaitable: Any) -> tuple[int, str]:
    """Status and code of the refusal *awaitable* ends with."""
    with pytest.raises(ClientError) as caught:
        await awaitable
    response: Any = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


async def upload(s3: Any, *parts: bytes, **create: Any) -> tuple[str, list[dict[str, Any]]]:
    """An open upload of *parts* under `key`, and what Complete is to name."""
    place = {"Bucket": BUCKET, "Key": "key"}
    upload_id = (await s3.create_multipart_upload(**place, **create))["UploadId"]
    named = []
    for number, data in enumerate(parts, 1):
        sent = await s3.upload_part(**place, UploadId=upload_id, PartNumber=number, Body=data)
        told = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        named.append({"PartNumber": number, "ETag": sent["ETag"], **told})
    return upload_id, named


async def complete(s3: Any, upload_id: str, named: list[dict[str, Any]], **extra: Any) -> dict[str, Any]:
    """CompleteMultipartUpload."""
    done: dict[str, Any] = await s3.complete_multipart_upload(
        Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload={"Parts": named}, **extra
    )
    return done


async def test_conditional_writes(s3: Any, store: MemoryS3) -> None:
    """If-None-Match creates once, If-Match swaps the named version only, 404 where there is none."""
    place = {"Bucket": BUCKET, "Key": "key"}
    assert await refused(s3.put_object(**place, Body=b"x", IfMatch='"e"')) == (404, "NoSuchKey")
    first = await s3.put_object(**place, Body=b"one", IfNoneMatch="*")
    assert await refused(s3.put_object(**place, Body=b"two", IfNoneMatch="*")) == (412, "PreconditionFailed")
    assert await refused(s3.put_object(**place, Body=b"two", IfMatch='"e"')) == (412, "PreconditionFailed")
    await s3.put_object(**place, Body=b"three", IfMatch=first["ETag"])
    assert await refused(s3.delete_object(**place, IfMatch=first["ETag"])) == (412, "PreconditionFailed")
    assert store.get(BUCKET, "key") == b"three"


async def test_conditional_reads(s3: Any, store: MemoryS3, clock: Clock) -> None:
    """304 and 412 as RFC 9110 orders them, with GET and HEAD."""
    place = {"Bucket": BUCKET, "Key": "key"}
    etag = store.put(BUCKET, "key", b"data")
    assert await refused(s3.get_object(**place, IfMatch="other")) == (412, "PreconditionFailed")
    assert (await refused(s3.get_object(**place, IfNoneMatch=etag)))[0] == 304
    assert (await refused(s3.head_object(**place, IfNoneMatch=etag)))[0] == 304
    later = clock.now + timedelta(hours=1)
    assert (await refused(s3.get_object(**place, IfModifiedSince=later)))[0] == 304
    assert (await refused(s3.get_object(**place, IfUnmodifiedSince=clock.now - timedelta(1))))[0] == 412
    reply = await s3.get_object(**place, IfMatch=etag, IfUnmodifiedSince=clock.now - timedelta(1))
    assert await reply["Body"].read() == b"data"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=2-4", b"cde"),
        ("bytes=2-", b"cdefgh"),
        ("bytes=-3", b"fgh"),
        ("bytes=0-99", b"abcdefgh"),
        ("items=1-2", b"abcdefgh"),
    ],
)
async def test_ranges(s3: Any, store: MemoryS3, asked: str, expected: bytes) -> None:
    """From, to, the last ones, beyond the end; a unit S3 does not know is ignored."""
    store.put(BUCKET, "key", b"abcdefgh")
    reply = await s3.get_object(Bucket=BUCKET, Key="key", Range=asked)
    assert await reply["Body"].read() == expected


@pytest.mark.parametrize("asked", ["bytes=8-9", "bytes=-0"])
async def test_ranges_beyond_the_end(s3: Any, store: MemoryS3, asked: str) -> None:
    """Not one byte of it exists: 416."""
    store.put(BUCKET, "key", b"abcdefgh")
    assert await refused(s3.get_object(Bucket=BUCKET, Key="key", Range=asked)) == (416, "InvalidRange")


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256"])
async def test_checksums_are_verified(s3: Any, store: MemoryS3, algorithm: str) -> None:
    """A right value is stored and told, a wrong one refused with nothing stored."""
    place = {"Bucket": BUCKET, "Key": "key"}
    sent = await s3.put_object(**place, Body=b"data", ChecksumAlgorithm=algorithm)
    head = await s3.head_object(**place, ChecksumMode="ENABLED")
    name = f"Checksum{algorithm}"
    assert (head[name], head["ChecksumType"]) == (sent[name], "FULL_OBJECT")
    wrong = {name: sent[name], "Body": b"else"}
    assert await refused(s3.put_object(Bucket=BUCKET, Key="other", **wrong)) == (400, "BadDigest")
    assert store.keys(BUCKET) == ["key"]


async def test_content_md5_is_verified(s3: Any) -> None:
    """A wrong digest and one that is none are told apart."""
    place = {"Bucket": BUCKET, "Key": "key", "Body": b"data"}
    wrong = base64.b64encode(bytes(16)).decode()
    assert await refused(s3.put_object(**place, ContentMD5=wrong)) == (400, "BadDigest")
    assert await refused(s3.put_object(**place, ContentMD5="no")) == (400, "InvalidDigest")


@pytest.mark.parametrize(("behaviour", "checksum"), [("aws", True), ("minio", False), ("moto", False)])
async def test_only_aws_computes_a_checksum_by_itself(behaviour: Any, checksum: bool) -> None:
    """A write without a checksum gets CRC64NVME on AWS."""
    async with laboratory(store=MemoryS3(behaviour=behaviour)) as lab:
        lab.store.put(BUCKET, "key", b"data")
        head = await lab.session.client.head_object(Bucket=BUCKET, Key="key", ChecksumMode="ENABLED")
        assert ("ChecksumCRC64NVME" in head) is checksum


async def test_full_object_checksum_of_parts(s3: Any) -> None:
    """The value over the whole is computed, compared and told."""
    create = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    upload_id, named = await upload(s3, b"ab", b"cd", **create)
    wrong = {"ChecksumCRC64NVME": "AAAAAAAAAAA=", "ChecksumType": "FULL_OBJECT"}
    assert await refused(complete(s3, upload_id, named, **wrong)) == (400, "BadDigest")
    done = await complete(s3, upload_id, named)
    whole = await s3.put_object(Bucket=BUCKET, Key="whole", Body=b"abcd", ChecksumAlgorithm="CRC64NVME")
    assert (done["ChecksumCRC64NVME"], done["ChecksumType"]) == (whole["ChecksumCRC64NVME"], "FULL_OBJECT")
    assert done["ETag"].endswith('-2"')


async def test_composite_checksum_of_parts(s3: Any) -> None:
    """The checksum of the parts' checksums, the number of parts behind it, and each part by itself."""
    upload_id, named = await upload(s3, b"ab", b"cd", ChecksumAlgorithm="SHA256")
    done = await complete(s3, upload_id, named)
    assert (done["ChecksumSHA256"][-2:], done["ChecksumType"]) == ("-2", "COMPOSITE")
    reply = await s3.get_object(Bucket=BUCKET, Key="key", PartNumber=2, ChecksumMode="ENABLED")
    assert (reply["PartsCount"], reply["ChecksumSHA256"]) == (2, named[1]["ChecksumSHA256"])
    assert await reply["Body"].read() == b"cd"
    told = await s3.get_object_attributes(
        Bucket=BUCKET, Key="key", ObjectAttributes=["ObjectParts", "ObjectSize"]
    )
    sizes = [part["Size"] for part in told["ObjectParts"]["Parts"]]
    assert (told["ObjectSize"], sizes) == (4, [2, 2])


async def test_complete_checks_its_parts(s3: Any) -> None:
    """Wrong ETag, unknown part, wrong order, wrong size, small parts: refused, and the upload stays."""
    upload_id, named = await upload(s3, b"ab", b"cd")
    wrong = [{**named[0], "ETag": '"e"'}, named[1]]
    assert await refused(complete(s3, upload_id, wrong)) == (400, "InvalidPart")
    unknown = [*named, {"PartNumber": 9, "ETag": '"e"'}]
    assert await refused(complete(s3, upload_id, unknown)) == (400, "InvalidPart")
    assert await refused(complete(s3, upload_id, named[::-1])) == (400, "InvalidPartOrder")
    assert (await refused(complete(s3, upload_id, named, MpuObjectSize=3)))[0] == 400
    assert await refused(complete(s3, upload_id, [])) == (400, "MalformedXML")
    await complete(s3, upload_id, named, MpuObjectSize=4)


async def test_small_parts_are_refused() -> None:
    """Below 5 MiB only the last part may be."""
    async with laboratory() as lab:
        upload_id, named = await upload(lab.session.client, b"ab", b"cd")
        assert await refused(complete(lab.session.client, upload_id, named)) == (400, "EntityTooSmall")
        await complete(lab.session.client, upload_id, named[:1])


async def test_conditional_complete(s3: Any, store: MemoryS3) -> None:
    """Refused where an object is in the way; the upload stays open."""
    store.put(BUCKET, "key", b"old")
    upload_id, named = await upload(s3, b"ab")
    assert await refused(complete(s3, upload_id, named, IfNoneMatch="*")) == (412, "PreconditionFailed")
    assert store.open_uploads(BUCKET) == [("key", upload_id)]
    assert store.get(BUCKET, "key") == b"old"


@pytest.mark.parametrize("behaviour", ["aws", "minio", "moto"])
@pytest.mark.parametrize("overwritten", [False, True])
async def test_second_complete(behaviour: Any, overwritten: bool) -> None:
    """AWS repeats its answer, MinIO knows nothing any more, moto repeats it while the object is current."""
    async with laboratory(store=MemoryS3(behaviour=behaviour)) as lab:
        s3 = lab.session.client
        upload_id, named = await upload(s3, b"ab")
        first = await complete(s3, upload_id, named)
        if overwritten:
            lab.store.put(BUCKET, "key", b"other")
        if behaviour == "aws" or (behaviour == "moto" and not overwritten):
            assert (await complete(s3, upload_id, named))["ETag"] == first["ETag"]
        else:
            assert await refused(complete(s3, upload_id, named)) == (404, "NoSuchUpload")


async def test_parts_are_listed_in_pages_and_aborted(s3: Any, store: MemoryS3) -> None:
    """By number, with sizes; after the abort nothing answers to the id."""
    upload_id, _ = await upload(s3, b"a", b"bb", b"ccc")
    place = {"Bucket": BUCKET, "Key": "key", "UploadId": upload_id}
    page = await s3.list_parts(**place, MaxParts=2)
    assert ([part["Size"] for part in page["Parts"]], page["IsTruncated"]) == ([1, 2], True)
    rest = await s3.list_parts(**place, PartNumberMarker=page["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    await s3.abort_multipart_upload(**place)
    assert await refused(s3.list_parts(**place)) == (404, "NoSuchUpload")
    assert store.open_uploads(BUCKET) == []


async def test_copies(s3: Any, store: MemoryS3) -> None:
    """Metadata goes along unless replaced, conditions guard the source, ranges make parts."""
    etag = store.put(BUCKET, "from", b"abcdef", x_amz_meta_a="1", content_type="text/x")
    source = {"Bucket": BUCKET, "Key": "from"}
    await s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)
    head = await s3.head_object(Bucket=BUCKET, Key="to")
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/x")
    await s3.copy_object(
        Bucket=BUCKET, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"}
    )
    assert (await s3.head_object(Bucket=BUCKET, Key="to"))["Metadata"] == {"b": "2"}
    guarded = {"Bucket": BUCKET, "Key": "to", "CopySource": source, "CopySourceIfMatch": "other"}
    assert await refused(s3.copy_object(**guarded)) == (412, "PreconditionFailed")
    upload_id, _ = await upload(s3)
    part = {"Bucket": BUCKET, "Key": "key", "UploadId": upload_id, "PartNumber": 1, "CopySource": source}
    copied = await s3.upload_part_copy(**part, CopySourceRange="bytes=1-3", CopySourceIfMatch=etag)
    named = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    await complete(s3, upload_id, named)
    assert store.get(BUCKET, "key") == b"bcd"


async def test_presigned_urls_end(s3: Any, store: MemoryS3) -> None:
    """A presigned GET is answered until its time is over."""
    store.put(BUCKET, "key", b"data")
    url = await s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "key"}, ExpiresIn=60)
    target = url.partition("127.0.0.1:1")[2]
    clock = Clock()
    for age, status in ((30, 200), (90, 403)):
        clock.now = datetime.now(UTC) + timedelta(seconds=age)
        later = MemoryS3(clock=clock)
        later.create_bucket(BUCKET)
        later.put(BUCKET, "key", b"data")
        assert later.handle("GET", target, {}, b"").status == status


async def test_the_expected_owner_is_checked() -> None:
    """A request that expects another account's bucket is refused, as the source of a copy too."""
    store = MemoryS3(owner="123456789012")
    async with laboratory(store=store) as lab:
        s3: Any = lab.session.client
        await s3.put_object(Bucket=BUCKET, Key="key", Body=b"", ExpectedBucketOwner="123456789012")
        other = {"Bucket": BUCKET, "Key": "key", "ExpectedBucketOwner": "999999999999"}
        assert await refused(s3.put_object(**other, Body=b"")) == (403, "AccessDenied")
        copied = {"Bucket": BUCKET, "Key": "to", "CopySource": f"{BUCKET}/key"}
        stranger = s3.copy_object(**copied, ExpectedSourceBucketOwner="999999999999")
        assert await refused(stranger) == (403, "AccessDenied")


async def test_what_is_missing_says_so(s3: Any) -> None:
    """No bucket, no key, no version, an unknown operation: S3's codes, and never a wrong success."""
    assert await refused(s3.get_object(Bucket="none", Key="key")) == (404, "NoSuchBucket")
    assert await refused(s3.get_object(Bucket=BUCKET, Key="key")) == (404, "NoSuchKey")
    assert (await refused(s3.head_object(Bucket=BUCKET, Key="key")))[0] == 404
    assert await refused(s3.get_bucket_acl(Bucket=BUCKET)) == (501, "NotImplemented")
    assert await refused(s3.create_bucket(Bucket=BUCKET)) == (409, "BucketAlreadyOwnedByYou")


async def test_any_settings_may_be_given() -> None:
    """`open_session` decides where requests go, whatever endpoint and addressing the settings name."""
    store = MemoryS3()
    store.create_bucket("lake-of-mine")
    settings = StorageSettings(access_key_id="key", secret_access_key="secret", region="eu-central-1")
    async with store.open_session(settings) as session:
        await session.bucket("lake-of-mine").upload_bytes("key", b"data")
    assert store.get("lake-of-mine", "key") == b"data"
