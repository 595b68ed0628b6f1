"""Multipart uploads that end without an object. Source: S3 API reference, AbortMultipartUpload."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3AccessDeniedError, S3Error, S3NotFoundError
from greenlang_async_storage._types import MultipartUpload

from ._parts import is_open

ABORT_ROUNDS: Final = 5
"""Parts that were on their way may land after an abort; S3 asks to abort again until none is listed."""
LANDING_SECONDS: Final = 0.1
"""What a part whose sender is gone may take to land; with it MinIO brings back the upload it belonged to."""


async def abort(conn: Connection, upload: MultipartUpload) -> None:
    """
    The upload gone, its parts with it; also when it was gone before.

    Aborts again while S3 still lists the upload, since a part on its way may land after an abort. Where the
    role may not list parts, S3's word for the abort is taken. A completed object stays as it is.
    """
    for _ in range(ABORT_ROUNDS):
        try:
            await _abort_once(conn, upload)
            if not await is_open(conn, upload):
                return
        except S3NotFoundError:
            return
        except S3AccessDeniedError as error:
            if error.operation == "ListParts":
                return
            raise
    raise S3Error(
        f"multipart upload {upload.upload_id} is still open after {ABORT_ROUNDS} aborts",
        operation="AbortMultipartUpload",
        bucket=upload.bucket,
        key=upload.key,
        retryable=True,
        remedy="Stop the writers that still send parts, then call abort_stale_uploads().",
    )


async def _abort_once(conn: Connection, upload: MultipartUpload) -> None:
    await conn.call(
        "AbortMultipartUpload",
        lambda s3: s3.abort_multipart_upload(
            Bucket=upload.bucket, Key=upload.key, UploadId=upload.upload_id, **conn.owner
        ),
        bucket=upload.bucket,
        key=upload.key,
    )


async def abort_or_count(conn: Connection, upload: MultipartUpload) -> None:
    """`abort`, whose failure also counts as a possible orphan."""
    try:
        await abort(conn, upload)
    except BaseException:
        conn.count_orphan()
        raise


async def abandon(conn: Connection, upload: MultipartUpload) -> None:
    """
    Clean up after a failure or cancel that is being handled: `abort` in a task of its own, with a deadline.

    Parts that were cut off may still land (a proxy in between passes them on), also after S3 has forgotten
    the upload; so it is aborted once more when they have.

    What goes wrong there is never raised: it is logged, noted on that failure, and counted as a possible
    orphan.
    """
    await conn.clean_up("AbortMultipartUpload", partial(_abort_twice, conn, upload))


async def _abort_twice(conn: Connection, upload: MultipartUpload) -> None:
    await abort_or_count(conn, upload)
    await asyncio.sleep(LANDING_SECONDS)
    with suppress(S3Error):  # S3 has confirmed the first one; it calls an upload that is gone unknown
        await _abort_once(conn, upload)
