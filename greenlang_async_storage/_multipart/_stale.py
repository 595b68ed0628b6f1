"""Multipart uploads nobody finished: found bucket-wide and aborted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import unquote_plus

from greenlang_async_storage._concurrency import task_group
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3Error, S3InvalidRequestError
from greenlang_async_storage._info import utc
from greenlang_async_storage._types import MultipartUpload, StaleUpload

from ._abort import abort

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListMultipartUploadsOutputTypeDef

WORKERS: Final = 8


class _After(TypedDict, total=False):
    KeyMarker: str
    UploadIdMarker: str


async def abort_stale_uploads(
    conn: Connection, bucket: str, prefix: str = "", *, older_than: timedelta, dry_run: bool = False
) -> list[StaleUpload]:
    """
    The multipart uploads under *prefix* opened longer ago than *older_than*, aborted unless *dry_run*.

    Age is by the store's clock. The whole bucket is listed, 1,000 uploads per request, and filtered here,
    because MinIO matches exact keys only. A failed abort is reported in `error` and the rest goes on. Uploads
    that are still being written are aborted too once they are old enough: choose *older_than* well above the
    longest upload.

    Needs s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. S3InvalidRequestError for a negative
    *older_than*.
    """
    if not isinstance(older_than, timedelta):
        raise TypeError(f"older_than is a timedelta, not {type(older_than).__name__}: {older_than!r}")
    if older_than < timedelta(0):
        raise S3InvalidRequestError(f"older_than is {older_than}", remedy="It must not be negative.")
    found = [stale async for stale in _older(conn, bucket, prefix, older_than)]
    if dry_run or not found:
        return found
    positions = iter(range(len(found)))

    async def work() -> None:
        for position in positions:
            found[position] = await _aborted(conn, bucket, found[position])

    async with task_group() as group:
        for _ in range(min(WORKERS, len(found))):
            group.create_task(work())
    return found


async def _aborted(conn: Connection, bucket: str, stale: StaleUpload) -> StaleUpload:
    error: S3Error | None = None
    try:
        await abort(conn, MultipartUpload(bucket, stale.key, stale.upload_id))
    except S3Error as failure:
        error = failure
    conn.log.info(
        "storage.stale_upload_aborted",
        bucket=bucket,
        key=stale.key,
        error=type(error).__name__ if error else None,
    )
    return replace(stale, aborted=error is None, error=error)


async def _older(
    conn: Connection, bucket: str, prefix: str, older_than: timedelta
) -> AsyncIterator[StaleUpload]:
    key_marker, id_marker = "", ""
    while True:
        reply = await _page(conn, bucket, key_marker, id_marker)
        now, decode = _server_time(reply), unquote_plus if reply.get("EncodingType") == "url" else str
        for upload in reply.get("Uploads", []):
            key, initiated = decode(upload["Key"]), utc(upload["Initiated"])
            if initiated is None or not key.startswith(prefix):
                continue
            # The Date header has whole seconds, so a young upload may seem to come from the future.
            if max(now - initiated, timedelta(0)) >= older_than:
                yield StaleUpload(key, upload["UploadId"], initiated, aborted=False)
        if not reply.get("IsTruncated"):
            return
        following = decode(reply.get("NextKeyMarker", "")), reply.get("NextUploadIdMarker", "")
        if following in {(key_marker, id_marker), ("", "")}:
            raise S3Error(
                f"the store says there are more uploads after {key_marker!r} but gives no new marker",
                operation="ListMultipartUploads",
                bucket=bucket,
                remedy="This is a fault of the store; let a lifecycle rule expire unfinished uploads.",
            )
        key_marker, id_marker = following


async def _page(
    conn: Connection, bucket: str, key_marker: str, id_marker: str
) -> ListMultipartUploadsOutputTypeDef:
    after: _After = {}
    if key_marker:
        after = {"KeyMarker": key_marker, "UploadIdMarker": id_marker}
    return await conn.call(
        "ListMultipartUploads",
        lambda s3: s3.list_multipart_uploads(Bucket=bucket, EncodingType="url", **after, **conn.owner),
        bucket=bucket,
    )


def _server_time(reply: ListMultipartUploadsOutputTypeDef) -> datetime:
    """The store's clock as its reply shows it, so that a wrong clock here ages no upload."""
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return datetime.now(UTC)
