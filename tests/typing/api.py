"""
How users call the package, for type checkers only: never run.

Every public name, every method of a session and of a bucket, what each gives; mistakes are in `misuse.py`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, assert_never, assert_type

from types_aiobotocore_s3 import S3Client

from greenlang_async_storage import (
    AsyncReader,
    BatchReport,
    Bucket,
    BucketReadiness,
    Buffer,
    ByteRange,
    ByteSource,
    Capabilities,
    Checksum,
    ChecksumAlgorithm,
    ChecksumChoice,
    ChecksumType,
    Download,
    Encryption,
    EncryptionMode,
    MultipartUpload,
    ObjectInfo,
    ObjectVersion,
    Outcome,
    PresignedPost,
    PresignedUpload,
    PresignedUrl,
    Progress,
    ProgressHook,
    Purpose,
    Readiness,
    RetryMode,
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3SessionClosedError,
    S3SourceChangedError,
    S3ThrottlingError,
    S3TimeoutError,
    S3WrongLoopError,
    SecretFilter,
    StaleUpload,
    Statistics,
    StorageSession,
    StorageSettings,
    StorageSettingsError,
    StrPath,
    SyncReader,
    UploadedPart,
    UploadItem,
    UploadResult,
    Verify,
    WriteOptions,
    WriteOutcome,
    __version__,
)

PATH = Path("a.csv")
DAY = timedelta(days=1)


def settings() -> None:
    """Settings are keyword arguments, checked by type, and frozen."""
    assert_type((__version__, SecretFilter().name), tuple[str, str])
    made = StorageSettings(
        data_lake_bucket="lake",
        region="eu-west-1",
        endpoint_url="http://localhost:9000",
        encryption="AES256",
        checksum="SHA256",
        retry_mode="standard",
        verify_tls=PATH,
        max_pool_connections=10,
        connect_timeout=1.5,
    )
    assert_type(made.data_lake_bucket, str | None)
    assert_type(made.endpoint, str | None)
    assert_type(made.bucket("reports"), str)
    assert_type(made.encryption, Literal["aws:kms", "AES256", "none"])
    assert_type(made.part_size, int)
    assert_type(StorageSettingsError("a line").problems, tuple[str, ...])


async def sessions() -> None:
    """A session is entered with `async with`, hands out buckets and tells how it is."""
    async with StorageSession() as session:
        assert_type(session, StorageSession)
        for bucket in (session.data_lake, session.reports, session.models, session.temp, session.cache):
            assert_type(bucket, Bucket)
        assert_type(session.bucket("any-bucket"), Bucket)
        assert_type(session.client, S3Client)
        assert_type(session.settings, StorageSettings)
        assert_type(await session.check(timeout=1), Readiness)
        assert_type(await session.probe("any-bucket", timeout=10), Capabilities)
        assert_type(await session.ensure_buckets(allow_aws=True, timeout=10), list[str])
    assert_type(session.statistics(), Statistics)
    await StorageSession(StorageSettings()).aclose(drain=0.0)


def states(readiness: Readiness, capabilities: Capabilities, statistics: Statistics) -> None:
    """What a session tells of itself is a frozen value."""
    assert_type(readiness.ok, bool)
    assert_type(readiness.buckets, Mapping[str, BucketReadiness])
    assert_type(readiness.buckets["temp"].error, S3Error | None)
    assert_type(readiness.credentials_expire_in, float | None)
    for answer in (
        capabilities.conditional_writes,
        capabilities.conditional_multipart,
        capabilities.full_object_checksums,
        capabilities.tags,
        capabilities.kms,
        capabilities.versions,
        capabilities.presigned_post,
    ):
        assert_type(answer, bool | None)
    assert_type(capabilities.clock_offset, float | None)
    assert_type(statistics.in_flight + statistics.possible_orphans, int)


def views(bucket: Bucket) -> None:
    """A scoped view is a bucket."""
    assert_type(bucket.name, str)
    assert_type(bucket.prefix, str)
    assert_type(bucket.scoped("tenants/t1").scoped("more"), Bucket)


async def uploads(bucket: Bucket) -> None:
    """Every way up gives an `UploadResult`; options are keywords."""
    assert_type(await bucket.upload_bytes("k", b"1"), UploadResult)
    await bucket.upload_bytes("k", memoryview(b"1"), timeout=1, if_match="etag")
    await bucket.upload_bytes(
        "k",
        bytearray(b"1"),
        metadata={"a": "b"},
        tags={"a": "b"},
        content_type="text/csv",
        content_disposition="inline",
        cache_control="no-store",
        encryption=Encryption("aws:kms", key_id="alias/own"),
        if_none_match=True,
        storage_class="STANDARD_IA",
    )
    options: WriteOptions = {"encryption": "none", "tags": None}
    assert_type(await bucket.upload_json("k", {"a": [1, None]}, timeout=1, **options), UploadResult)
    stored = await bucket.upload_file(
        "k",
        PATH,
        part_size=8 * 1024**2,
        concurrency=4,
        on_progress=on_progress,
        resume="k.journal",
        timeout=1,
    )
    assert_type(stored.key, str)
    assert_type(stored.etag, str)
    assert_type(stored.size, int)
    assert_type(stored.version_id, str | None)
    assert_type(stored.checksum, Checksum | None)
    await bucket.upload_stream("k", pieces(), part_size=None, concurrency=None, fixed_parts=True, timeout=1)


async def pieces() -> AsyncIterator[bytes]:
    """An async generator, as users write them."""
    yield b"1"


class Reader:
    """A file object of one's own."""

    def read(self, size: int, /) -> bytes:
        """Bytes."""
        return bytes(size)


def sources(stream: asyncio.StreamReader) -> Iterator[ByteSource]:
    """Whatever `upload_stream` and `UploadItem` take."""
    sync: SyncReader = Reader()
    waiting: AsyncReader = stream
    yield from (b"1", bytearray(), memoryview(b""), "a.csv", PATH, [b"1"], iter([b"1"]), pieces())
    yield from (io.BytesIO(b"1"), sync, waiting)


def on_progress(event: Progress) -> None:
    """A synchronous hook."""
    assert_type(event.done, int)
    assert_type(event.total, int | None)
    assert_type(event.rate, float)
    assert_type(event.items_done, int)
    assert_type(event.items_total, int | None)
    assert_type(event.key, str | None)


async def awaited(_event: Progress) -> None:
    """An asynchronous hook."""


HOOKS: list[ProgressHook] = [on_progress, awaited]


async def downloads(bucket: Bucket) -> None:
    """Bytes, a value, a file or a stream."""
    part: ByteRange = (0, 10)
    rest: ByteRange = (10, None)
    assert_type(await bucket.download_bytes("k", range=part, max_size=10, version_id="v", timeout=1), bytes)
    await bucket.download_bytes("k", range=rest)
    assert_type(await bucket.download_json("k", max_size=10, version_id="v", timeout=1), Any)
    info = await bucket.download_file(
        "k",
        PATH,
        part_size=1024**2,
        concurrency=4,
        on_progress=awaited,
        resume=PATH,
        durable=False,
        verify="require",
        version_id="v",
        timeout=1,
    )
    assert_type(info, ObjectInfo)
    opened = bucket.open_download("k", range=part, if_match="e", if_none_match="e", version_id="v")
    assert_type(opened, AbstractAsyncContextManager[Download, bool | None])
    async with opened as body:
        assert_type(body, Download)
        assert_type(body.info, ObjectInfo)
        async for chunk in body:
            assert_type(chunk, bytes)
        assert_type(await body.read(), bytes)


async def lookups(bucket: Bucket) -> None:
    """What is known of an object."""
    info = await bucket.head("k", if_match="e", if_none_match="e", version_id="v", timeout=1)
    assert_type(info, ObjectInfo)
    assert_type((info.key, info.size, info.etag), tuple[str, int, str])
    assert_type(info.last_modified, datetime | None)
    assert_type(info.metadata, Mapping[str, str])
    assert_type((info.verified, info.parts), tuple[bool, int | None])
    assert_type((info.version_id, info.content_type), tuple[str | None, str | None])
    assert_type((info.content_disposition, info.cache_control), tuple[str | None, str | None])
    assert_type((info.content_encoding, info.encryption), tuple[str | None, str | None])
    assert_type(info.storage_class, str | None)
    assert_type(await bucket.exists("k", timeout=1), bool)
    assert_type(await bucket.get_tags("k", version_id="v", timeout=1), dict[str, str])
    if info.checksum is not None:
        assert_type(info.checksum.value, str)
        assert_type(info.checksum.type, Literal["FULL_OBJECT", "COMPOSITE"])
        assert_type(info.checksum.algorithm, Literal["CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1"])


async def listings(bucket: Bucket) -> None:
    """Listings are read with `async for`."""
    async for found in bucket.list_objects("p/", start_after="p/a", page_size=10):
        assert_type(found, ObjectInfo)
    async for prefix in bucket.list_prefixes("p/", "/"):
        assert_type(prefix, str)
    async for version in bucket.list_versions("p/"):
        assert_type(version, ObjectVersion)
        assert_type((version.key, version.version_id), tuple[str, str])
        assert_type((version.is_latest, version.is_delete_marker), tuple[bool, bool])
        assert_type(version.last_modified, datetime)


async def changes(bucket: Bucket) -> None:
    """Deleting, copying and tagging."""
    await bucket.delete("k", version_id="v", timeout=1)
    copied = await bucket.copy("a", "b", source_bucket="other", version_id="v", timeout=1)
    assert_type(copied, UploadResult)
    assert_type(await bucket.move("a", "b", timeout=1), UploadResult)
    await bucket.set_tags("k", {"a": "b"}, version_id="v", timeout=1)


async def presigned(bucket: Bucket) -> None:
    """Requests that others send."""
    url = await bucket.presign_download("k", expires_in=60, filename="a.csv", version_id="v")
    assert_type(url, PresignedUrl)
    assert_type(url.expires_at, datetime)
    text: str = url
    put = await bucket.presign_upload("k", content_type="text/csv", content_length=3, expires_in=DAY)
    assert_type(put, PresignedUpload)
    assert_type(put.url, PresignedUrl)
    assert_type(put.headers, Mapping[str, str])
    post = await bucket.presign_post(text, content_type="text/csv", max_size=10, min_size=0, expires_in=60)
    assert_type(post, PresignedPost)
    assert_type((post.url, post.fields, post.expires_at), tuple[str, Mapping[str, str], datetime])


async def multipart(bucket: Bucket) -> None:
    """Multipart uploads whose parts others send."""
    upload = await bucket.create_multipart("k", timeout=1, content_type="text/csv")
    assert_type(upload, MultipartUpload)
    assert_type((upload.bucket, upload.key, upload.upload_id), tuple[str, str, str])
    assert_type(await bucket.presign_part(upload, 1, expires_in=DAY), PresignedUrl)
    parts = await bucket.list_parts(upload, timeout=1)
    assert_type(parts, list[UploadedPart])
    part = UploadedPart(number=1, etag="e", size=None, checksum=None)
    done = await bucket.complete_multipart(upload, [*parts, part], timeout=1, if_none_match=True)
    assert_type(done, UploadResult)
    await bucket.abort_multipart(upload, timeout=1)
    stale = await bucket.abort_stale_uploads("p/", older_than=DAY, dry_run=True, timeout=1)
    assert_type(stale, list[StaleUpload])
    assert_type((stale[0].initiated, stale[0].aborted), tuple[datetime, bool])
    assert_type(stale[0].error, S3Error | None)


async def keys() -> AsyncIterator[str]:
    """Keys from anywhere."""
    yield "k"


async def batches(bucket: Bucket) -> None:
    """Many objects: a report, or outcomes as they come."""
    items = (UploadItem(f"{number}", b"1", bucket="other", if_none_match=True) for number in range(3))
    report = await bucket.upload_many(
        items, concurrency=2, on_progress=on_progress, fail_fast=True, timeout=1
    )
    assert_type(report, BatchReport[UploadResult])
    assert_type(report.succeeded, Sequence[Outcome[UploadResult]])
    assert_type((report.bytes, report.seconds), tuple[int, float])
    report.raise_for_errors()
    found = await bucket.download_many(
        keys(), PATH, concurrency=2, on_progress=awaited, fail_fast=True, durable=True, timeout=1
    )
    assert_type(found, BatchReport[ObjectInfo])
    gone = await bucket.delete_many(["k"], concurrency=2, on_progress=awaited, fail_fast=True, timeout=1)
    assert_type(gone, BatchReport[None])
    async with bucket.stream_uploads(items, concurrency=2) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[UploadResult])
            assert_type((outcome.index, outcome.key, outcome.bucket), tuple[int, str, str])
            assert_type(outcome.result, UploadResult | None)
            assert_type((outcome.ok, outcome.error), tuple[bool, S3Error | None])
    async with bucket.stream_downloads(["k"], "folder", concurrency=2, durable=True) as downloaded:
        async for one in downloaded:
            assert_type(one, Outcome[ObjectInfo])


def named(path: StrPath, verify: Verify, retries: RetryMode, stored: Checksum, error: S3Error) -> None:
    """Every type in a signature has a name."""
    choices: tuple[Purpose, EncryptionMode, ChecksumChoice] = ("data_lake", "aws:kms", "CRC64NVME")
    algorithm: ChecksumAlgorithm = stored.algorithm
    kind: ChecksumType = stored.type
    outcome: WriteOutcome = error.outcome
    buffer: Buffer = memoryview(b"")
    _ = path, verify, retries, choices, algorithm, kind, outcome, buffer


def errors(error: S3Error) -> None:
    """One tree, with fields."""
    assert_type((error.operation, error.bucket, error.key), tuple[str | None, str | None, str | None])
    assert_type((error.code, error.request_id), tuple[str | None, str | None])
    assert_type((error.status, error.attempts, error.retryable), tuple[int | None, int, bool])
    match error.outcome:
        case "not_applied" | "applied" | "unknown":
            pass
        case _ as missed:
            assert_never(missed)
    everyone: list[type[S3Error]] = [
        S3AccessDeniedError,
        S3ConnectionError,
        S3CredentialsError,
        S3IntegrityError,
        S3InvalidRequestError,
        S3LocalFileError,
        S3NotFoundError,
        S3ObjectChangedError,
        S3PreconditionFailedError,
        S3SessionClosedError,
        S3SourceChangedError,
        S3ThrottlingError,
        S3TimeoutError,
        S3WrongLoopError,
    ]
    timeouts: type[S3TimeoutError] = S3PoolTimeoutError
    invalid: type[ValueError] = S3InvalidRequestError
    assert_type(S3LocalFileError("disk full").errno, int | None)
    assert_type(
        (everyone, timeouts, invalid), tuple[list[type[S3Error]], type[S3TimeoutError], type[ValueError]]
    )
