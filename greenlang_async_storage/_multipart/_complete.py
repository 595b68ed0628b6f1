"""
Multipart uploads made into objects, and the proof that it happened when S3's reply was lost.

A second Complete succeeds again on AWS and says NoSuchUpload on MinIO, so no status tells whether the first
one did its work. The object does: it carries the upload's token, its size and its checksum. Source: S3 API
reference, CompleteMultipartUpload (a 200 may still hold an error; botocore turns that one into a failure).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from greenlang_async_storage._checksums import stored_checksum
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._error_map import to_s3_error
from greenlang_async_storage._errors import (
    S3AccessDeniedError,
    S3Error,
    S3IntegrityError,
    S3NotFoundError,
    S3PreconditionFailedError,
)
from greenlang_async_storage._options import ConditionArgs, WriteRequest
from greenlang_async_storage._types import Checksum, MultipartUpload, UploadedPart, UploadResult

from ._arguments import ChecksumArgs, checksum_args
from ._parts import is_open
from ._proof import Written, prove

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, CompleteMultipartUploadOutputTypeDef

COMPLETE_ROUNDS: Final = 3
"""How often Complete is sent anew after a lost reply that a HEAD proved to be a lost request."""


class _Expectations(ChecksumArgs, total=False):
    ChecksumType: Literal["FULL_OBJECT"]
    MpuObjectSize: int


async def complete(
    conn: Connection,
    upload: MultipartUpload,
    parts: Sequence[UploadedPart],
    *,
    size: int | None = None,
    crc: Checksum | None = None,
    write: WriteRequest | None = None,
) -> UploadResult:
    """
    The object made of *parts*, in order, under the conditions of *write*.

    S3 checks *size* and, for a full-object value, *crc* against what it assembled. When the reply is lost,
    the object itself is asked (HEAD) whether it is this upload's before the upload is completed again; where
    that gives no answer the error's `outcome` is `unknown`. Never aborts: that is left to the caller.
    """
    conditions: ConditionArgs = write.complete_args() if write is not None else {}
    return await Completion(conn, upload, parts, size, crc, conditions).run()


@dataclass(frozen=True, slots=True)
class Completion:
    """One upload about to become an object, and what that object must look like."""

    conn: Connection
    upload: MultipartUpload
    parts: Sequence[UploadedPart]
    size: int | None
    """Bytes of all parts; `None` when not known."""
    checksum: Checksum | None
    conditions: ConditionArgs

    async def run(self) -> UploadResult:
        """Complete, settled by the object itself where the reply does not tell."""
        upload = self.upload
        for rounds_left in reversed(range(COMPLETE_ROUNDS)):
            try:
                reply = await self.conn.call(
                    "CompleteMultipartUpload", self._send, bucket=upload.bucket, key=upload.key, long=True
                )
            except S3Error as error:
                if not _may_be_an_echo(error):
                    raise
                failure = error
            else:
                if reply.get("ETag"):
                    return self._result(reply)
                failure = self._without_etag()
            proven = await self._settle(failure, last=not rounds_left)
            if proven is not None:
                return proven
        raise AssertionError("the last round returns or raises")  # pragma: no cover

    async def _send(self, s3: S3Client) -> CompleteMultipartUploadOutputTypeDef:
        upload = self.upload
        try:
            return await s3.complete_multipart_upload(
                Bucket=upload.bucket,
                Key=upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": [self._part(part) for part in self.parts]},
                **self._expectations(),
                **self.conditions,
                **self.conn.owner,
            )
        except Exception as exc:
            error = to_s3_error(
                exc, operation="CompleteMultipartUpload", bucket=upload.bucket, key=upload.key
            )
            if error is None or error.code != "ConditionalRequestConflict":
                raise
            # S3 asks for a new upload after this answer: the same Complete again would say NoSuchUpload.
            error.retryable = False
            raise error from exc

    def _expectations(self) -> _Expectations:
        """What S3 is to compare the assembled object with, as far as it is known."""
        expected = _Expectations()
        if self.size is not None:
            expected["MpuObjectSize"] = self.size
        if self.checksum is None or self.checksum.type != "FULL_OBJECT":
            return expected
        value = checksum_args(self.upload.checksum, self.checksum.value)
        return {**expected, **value, "ChecksumType": "FULL_OBJECT"}

    def _part(self, part: UploadedPart) -> CompletedPartTypeDef:
        return {
            "PartNumber": part.number,
            "ETag": f'"{part.etag}"',
            **checksum_args(self.upload.checksum, part.checksum),
        }

    def _result(self, reply: CompleteMultipartUploadOutputTypeDef) -> UploadResult:
        upload, expected, stored = self.upload, self.checksum, stored_checksum(reply)
        if expected and stored and stored.type == expected.type and stored.value != expected.value:
            raise S3IntegrityError(
                f"the object was stored with the checksum {stored.value} instead of {expected.value}",
                operation="CompleteMultipartUpload",
                bucket=upload.bucket,
                key=upload.key,
                attempts=1,
                outcome="applied",
                remedy="Do not use the stored object: upload it again.",
            )
        return UploadResult(
            key=upload.key,
            etag=reply["ETag"].strip('"'),
            size=self.size or 0,
            version_id=reply.get("VersionId"),
            checksum=stored or expected,
        )

    def _without_etag(self) -> S3Error:
        return S3Error(
            "the store acknowledged the object without an ETag",
            operation="CompleteMultipartUpload",
            bucket=self.upload.bucket,
            key=self.upload.key,
            attempts=1,
            retryable=True,
            outcome="unknown",
            remedy="Look at the object with head(), then call again if it is not there.",
        )

    async def _settle(self, failure: S3Error, *, last: bool) -> UploadResult | None:
        """The result when the object proves it, `None` when Complete may be sent again, else *failure*."""
        upload = self.upload
        echo = failure.outcome == "unknown"
        missing = False
        try:
            found = await prove(
                self.conn, Written(upload.bucket, upload.key, upload.token, self.size, self.checksum)
            )
            if found is not None:
                return found
        except S3NotFoundError:
            missing = True
        except S3Error as refused:
            raise _unknown(failure, _no_answer("HEAD", refused)) from refused
        if isinstance(failure, S3PreconditionFailedError) or not await self._still_open(failure):
            if echo or not (missing or isinstance(failure, S3PreconditionFailedError)):
                why = "the object is not there" if missing else "the object is another upload's"
                raise _unknown(failure, why)
            raise failure
        if last:
            raise failure
        self.conn.log.warning(
            "storage.complete_repeated", bucket=upload.bucket, key=upload.key, error=type(failure).__name__
        )
        return None

    async def _still_open(self, failure: S3Error) -> bool:
        if failure.code == "NoSuchUpload":
            return False
        try:
            return await is_open(self.conn, self.upload)
        except S3AccessDeniedError:
            return True  # sending Complete again tells as much
        except S3Error as refused:
            raise _unknown(failure, _no_answer("ListParts", refused)) from refused


def _may_be_an_echo(error: S3Error) -> bool:
    """Whether this failure may be the answer to a repeated request, the first of which did its work."""
    return (
        error.outcome == "unknown"
        or error.code == "NoSuchUpload"
        or isinstance(error, S3PreconditionFailedError)
    )


def _unknown(failure: S3Error, why: str) -> S3Error:
    failure.outcome = "unknown"
    failure.remedy = (
        f"The reply to Complete was lost and {why}: look at the object with head() before uploading it again."
    )
    return failure


def _no_answer(operation: str, refused: S3Error) -> str:
    return f"{operation} could not tell ({refused.code or type(refused).__name__})"
