"""
Copies made inside the store, pinned to one version of the source; a move is a copy and a pinned delete.

Source: S3 API reference, CopyObject, UploadPartCopy, DeleteObject; S3 User Guide, "Copying, moving, and
renaming objects".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict, cast

from ._checksums import stored_checksum
from ._concurrency import run_bounded
from ._conditions import read_args
from ._connection import Connection
from ._errors import (
    S3AccessDeniedError,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
)
from ._info import unquoted
from ._multipart import abandon, complete, create
from ._objects import exists, get_tags, head_reply
from ._options import UPLOAD_TOKEN, CreateArgs, WriteRequest, kept_encryption
from ._tags import tagging_header
from ._types import ChecksumChoice, MultipartUpload, UploadedPart, UploadResult

if TYPE_CHECKING:
    from types_aiobotocore_s3.literals import ChecksumAlgorithmType, StorageClassType
    from types_aiobotocore_s3.type_defs import CopySourceTypeDef, HeadObjectOutputTypeDef

SINGLE_COPY_BYTES: Final = 5 * 1024**3
"""The largest object S3 copies in one request."""
COPY_PART_BYTES: Final = 512 * 1024**2
"""Of a copy in parts: no byte passes through here, so parts are as large as 10,000 of them need for 5 TiB."""

_PERMISSIONS: Final = (
    "Grant s3:GetObject and s3:GetObjectTagging on the source (s3:GetObjectVersion and "
    "s3:GetObjectVersionTagging for a version), s3:PutObject and s3:PutObjectTagging on the destination, and "
    "kms:Decrypt and kms:GenerateDataKey on the keys under SSE-KMS."
)
_NO_CHECKSUM_CODES: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})


class _KeptArgs(TypedDict, total=False):
    """What CopyObject does not take over by itself."""

    StorageClass: StorageClassType
    ChecksumAlgorithm: ChecksumAlgorithmType


@dataclass(frozen=True, slots=True)
class _Source:
    """One version of an object, as HeadObject described it."""

    bucket: str
    key: str
    version_id: str | None
    """As the caller asked; `None` for the current version, which is pinned by its ETag alone."""
    head: HeadObjectOutputTypeDef

    @property
    def etag(self) -> str:
        """With its quotes, as conditions want it."""
        if etag := self.head.get("ETag"):
            return etag
        raise self._incomplete("ETag")

    @property
    def size(self) -> int:
        if (size := self.head.get("ContentLength")) is not None:
            return size
        raise self._incomplete("Content-Length")

    def _incomplete(self, header: str) -> S3Error:
        return S3Error(
            f"the store's reply has no {header}",
            operation="HeadObject",
            bucket=self.bucket,
            key=self.key,
            remedy="Ask the operator of the store, or of a proxy before it, what takes it away.",
        )

    @property
    def reference(self) -> CopySourceTypeDef:
        """What S3's copy operations call the source; botocore quotes it."""
        found: CopySourceTypeDef = {"Bucket": self.bucket, "Key": self.key}
        if self.version_id is not None:
            found["VersionId"] = self.version_id
        return found


async def copy(
    conn: Connection,
    bucket: str,
    source: str,
    destination: str,
    *,
    source_bucket: str | None = None,
    version_id: str | None = None,
) -> UploadResult:
    """
    A copy of *source* under *destination* in *bucket*, made by the store; no byte passes through here.

    Kept: metadata, content headers, tags, storage class, and how the source is encrypted (the same KMS key;
    a source the store keeps unencrypted is encrypted as configured). Not kept, as in S3: ACLs, object locks
    and website redirects. A source without a checksum gets the configured one. Above 5 GiB the copy goes in
    parts, `transfer_concurrency` at a time, and is aborted on a failure or cancel. An old version copied onto
    its own key becomes the current one.

    Raises `S3ObjectChangedError` when the source was replaced or deleted while it was copied, and
    `S3InvalidRequestError` for a copy of the current version onto itself.
    """
    origin = source_bucket or bucket
    if (origin, source) == (bucket, destination) and version_id is None:
        raise S3InvalidRequestError(
            "source and destination are the same object",
            operation="CopyObject",
            bucket=bucket,
            key=destination,
            remedy="Choose another destination; to bring an old version back, pass its version_id=.",
        )
    pinned = await _look(conn, origin, source, version_id)
    return await _copy_pinned(conn, pinned, bucket, destination)


async def move(conn: Connection, bucket: str, source: str, destination: str) -> UploadResult:
    """
    *source* copied to *destination*, then deleted where it is still what was copied.

    The delete carries the ETag as its condition, and a HEAD right before it compares ETag, version and date.
    A store that ignores If-Match on deletes (MinIO does, AWS does not) could lose a write that falls between
    these two requests, unless the bucket keeps versions: there a delete marker hides the source.

    Raises `S3ObjectChangedError` when the source was replaced: the copy exists and the new source is kept.
    After any other failure of the delete both exist too; a note on the error says so.
    """
    if source == destination:
        raise S3InvalidRequestError(
            "source and destination are the same key",
            operation="CopyObject",
            bucket=bucket,
            key=source,
            remedy="Choose another destination; nothing was changed.",
        )
    pinned = await _look(conn, bucket, source, None)
    result = await _copy_pinned(conn, pinned, bucket, destination)
    try:
        await _delete_pinned(conn, pinned)
    except S3Error as error:
        error.add_note(f"The copy s3://{bucket}/{destination} was made and is kept.")
        raise
    return result


async def _look(conn: Connection, bucket: str, key: str, version_id: str | None) -> _Source:
    head = await head_reply(conn, bucket, key, read_args(key, version_id=version_id))
    return _Source(bucket, key, version_id, head)


async def _copy_pinned(conn: Connection, source: _Source, bucket: str, destination: str) -> UploadResult:
    with _source_faults(source):
        if source.size <= SINGLE_COPY_BYTES:
            return await _copy_at_once(conn, source, bucket, destination)
        wanted = conn.settings.checksum
        try:
            return await _copy_in_parts(conn, source, bucket, destination, wanted)
        except S3InvalidRequestError as error:
            # MinIO computes no checksum of a copied part, and refuses it in an upload that asks for one.
            if (
                wanted == "none"
                or error.operation != "UploadPartCopy"
                or error.code not in _NO_CHECKSUM_CODES
            ):
                raise
            return await _copy_in_parts(conn, source, bucket, destination, "none")


async def _copy_at_once(conn: Connection, source: _Source, bucket: str, destination: str) -> UploadResult:
    kept: _KeptArgs = {}
    if "StorageClass" in source.head:
        kept["StorageClass"] = source.head["StorageClass"]
    checksum = conn.settings.checksum
    if checksum != "none" and stored_checksum(source.head) is None:
        kept["ChecksumAlgorithm"] = checksum
    encryption = kept_encryption(conn.settings, source.head)
    reply = await conn.call(
        "CopyObject",
        lambda s3: s3.copy_object(
            Bucket=bucket,
            Key=destination,
            CopySource=source.reference,
            CopySourceIfMatch=source.etag,
            **kept,
            **encryption,
            **conn.owner,
            **conn.source_owner,
        ),
        bucket=bucket,
        key=destination,
        long=True,
    )
    return UploadResult(
        key=destination,
        etag=unquoted(reply["CopyObjectResult"].get("ETag")),
        size=source.size,
        version_id=reply.get("VersionId"),
        checksum=stored_checksum(reply["CopyObjectResult"]),
    )


async def _copy_in_parts(
    conn: Connection, source: _Source, bucket: str, destination: str, checksum: ChecksumChoice
) -> UploadResult:
    write = await _same_write(conn, source, destination)
    upload = await create(conn, bucket, write, checksum=checksum)
    try:
        return await _fill(conn, source, upload)
    except BaseException:
        await abandon(conn, upload)
        raise


async def _fill(conn: Connection, source: _Source, upload: MultipartUpload) -> UploadResult:
    size = source.size
    step = max(COPY_PART_BYTES, -(-size // 10_000))

    async def copy_part(index: int, start: int) -> UploadedPart:
        stop = min(start + step, size)
        reply = await conn.call(
            "UploadPartCopy",
            lambda s3: s3.upload_part_copy(
                Bucket=upload.bucket,
                Key=upload.key,
                UploadId=upload.upload_id,
                PartNumber=index + 1,
                CopySource=source.reference,
                CopySourceIfMatch=source.etag,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **conn.owner,
                **conn.source_owner,
            ),
            bucket=upload.bucket,
            key=upload.key,
            long=True,
        )
        made = reply["CopyPartResult"]
        stored = stored_checksum(made)
        return UploadedPart(
            index + 1, unquoted(made.get("ETag")), stop - start, stored.value if stored else None
        )

    settled = await run_bounded(
        range(0, size, step), copy_part, width=conn.settings.transfer_concurrency, fail_fast=True
    )
    expected = stored_checksum(source.head)
    if expected is not None and (expected.algorithm != upload.checksum or expected.type != "FULL_OBJECT"):
        expected = None
    parts = [part.value for part in settled if part.value is not None]
    return await complete(conn, upload, parts, size=size, crc=expected)


async def _same_write(conn: Connection, source: _Source, destination: str) -> WriteRequest:
    """What CreateMultipartUpload is told to make an object like the source: parts bring bytes only."""
    head = source.head
    args: CreateArgs = {}
    if "ContentType" in head:
        args["ContentType"] = head["ContentType"]
    if "ContentDisposition" in head:
        args["ContentDisposition"] = head["ContentDisposition"]
    if "ContentEncoding" in head:
        args["ContentEncoding"] = head["ContentEncoding"]
    if "ContentLanguage" in head:
        args["ContentLanguage"] = head["ContentLanguage"]
    if "CacheControl" in head:
        args["CacheControl"] = head["CacheControl"]
    if "Expires" in head:
        args["Expires"] = head["Expires"]
    if "StorageClass" in head:
        args["StorageClass"] = head["StorageClass"]
    args.update(cast("CreateArgs", kept_encryption(conn.settings, head)))
    # The source's upload token is not this upload's: `create` adds its own.
    args["Metadata"] = {
        name: value for name, value in head["Metadata"].items() if name.lower() != UPLOAD_TOKEN
    }
    # Asked even where HeadObject counts no tags: it counts them only for roles that may read them.
    tags = await get_tags(conn, source.bucket, source.key, version_id=source.version_id)
    if tags:
        args["Tagging"] = tagging_header(tags)
    return WriteRequest(destination, args)


async def _delete_pinned(conn: Connection, source: _Source) -> None:
    try:
        now = await head_reply(conn, source.bucket, source.key, {"IfMatch": source.etag})
        before = source.head
        if (now.get("VersionId"), now["LastModified"]) != (before.get("VersionId"), before["LastModified"]):
            raise _replaced(source, "DeleteObject")
        await conn.call(
            "DeleteObject",
            lambda s3: s3.delete_object(
                Bucket=source.bucket, Key=source.key, IfMatch=source.etag, **conn.owner
            ),
            bucket=source.bucket,
            key=source.key,
        )
    except S3NotFoundError:
        return
    except S3PreconditionFailedError as error:
        if error.outcome == "unknown" and not await exists(conn, source.bucket, source.key):
            return  # an attempt whose reply was lost has deleted it
        raise _replaced(source, "DeleteObject", error) from error


@contextmanager
def _source_faults(source: _Source) -> Iterator[None]:
    """What a copy's own failures say about its source, which HeadObject has just described."""
    try:
        yield
    except S3PreconditionFailedError as error:
        if error.operation not in {"CopyObject", "UploadPartCopy"}:
            raise
        raise _replaced(source, error.operation, error) from error
    except S3NotFoundError as error:
        if error.code not in {"NoSuchKey", "NoSuchVersion"}:
            raise
        raise _replaced(source, error.operation, error) from error
    except S3AccessDeniedError as error:
        error.remedy = _PERMISSIONS
        raise


def _replaced(source: _Source, operation: str | None, refusal: S3Error | None = None) -> S3ObjectChangedError:
    return S3ObjectChangedError(
        "the source of the copy was replaced or deleted meanwhile",
        operation=operation,
        bucket=source.bucket,
        key=source.key,
        code=None if refusal is None else refusal.code,
        status=None if refusal is None else refusal.status,
        request_id=None if refusal is None else refusal.request_id,
        attempts=0 if refusal is None else refusal.attempts,
        retryable=True,
    )
