"""One object in one request. Source: S3 API reference, PutObject."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

from greenlang_async_storage._checksums import Digest, stored_checksum
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import (
    S3AccessDeniedError,
    S3Error,
    S3IntegrityError,
    S3NotFoundError,
    S3PreconditionFailedError,
)
from greenlang_async_storage._multipart import Written, body_of, checksum_args, nbytes, prove
from greenlang_async_storage._options import UPLOAD_TOKEN, new_upload_token
from greenlang_async_storage._types import Buffer, Checksum, ChecksumAlgorithm, UploadResult

from ._common import CONTENT_HASH, Transfer

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import PutObjectRequestTypeDef


class _Declared(TypedDict, total=False):
    ChecksumAlgorithm: ChecksumAlgorithm


async def put(transfer: Transfer, data: Buffer, digest: Digest) -> UploadResult:
    """
    The object stored; *data* must stay as it is until this returns, for it may be sent again.

    Its metadata say which upload made it and, where *digest* has it, the SHA-256 of *data*.

    S3 compares the bytes with the checksum of *digest*, and the checksum S3 answers is compared with it too:
    on a difference the object is sent once more, then `S3IntegrityError`. A condition that fails is settled
    by the object's upload token, for it may have failed on our own object: after an attempt whose reply was
    lost, or when a proxy sent the request twice.
    """
    conn, bucket, key = transfer.conn, transfer.bucket, transfer.key
    token, size, algorithm = new_upload_token(), nbytes(data), transfer.checksum
    ours = {UPLOAD_TOKEN: token}
    if digest.sha256_hex is not None:
        ours[CONTENT_HASH] = digest.sha256_hex
    checksum = None
    if digest.checksum is not None and algorithm != "none":
        checksum = Checksum(algorithm, digest.checksum)
    # AWS ignores the name beside a value; moto stores no value without it.
    declared: _Declared = {"ChecksumAlgorithm": checksum.algorithm} if checksum is not None else {}
    args = cast(
        "PutObjectRequestTypeDef",
        {
            "Bucket": bucket,
            "Key": key,
            "Body": body_of(conn, data, digest),
            **transfer.write.with_metadata(ours).put_args(),
            **checksum_args(algorithm, digest.checksum),
            **declared,
            **conn.owner,
        },
    )
    stored = None
    for second in (False, True):
        try:
            reply = await conn.call(
                "PutObject",
                lambda s3: s3.put_object(**args),
                bucket=bucket,
                key=key,
                transfer_bytes=size,
            )
        except S3PreconditionFailedError as error:
            if second:
                break  # the object that was acknowledged wrongly is there, and refuses its own correction
            return await _settle(conn, Written(bucket, key, token, size, checksum), error)
        etag, stored = reply.get("ETag", "").strip('"'), stored_checksum(reply)
        if etag and (stored is None or checksum is None or stored.value == checksum.value):
            return UploadResult(key, etag, size, reply.get("VersionId"), stored or checksum)
    fault = f"with the checksum {stored.value} instead of {digest.checksum}" if stored else "without an ETag"
    raise S3IntegrityError(
        f"the object was sent twice and acknowledged {fault}",
        operation="PutObject",
        bucket=bucket,
        key=key,
        attempts=2,
        outcome="unknown",
    )


async def _settle(conn: Connection, written: Written, failure: S3PreconditionFailedError) -> UploadResult:
    """The upload proven by its object, else *failure*; with the outcome `unknown` where nothing tells."""
    try:
        proven = await prove(conn, written)
    except (S3NotFoundError, S3AccessDeniedError) as refused:
        # Gone again; or no leave to look, and then the store's word stands.
        raise failure from refused
    except S3Error as refused:
        failure.outcome = "unknown"
        failure.remedy = (
            "The condition may have failed on this very upload, and HEAD could not tell "
            f"({refused.code or type(refused).__name__}): look at the object with head() before a new call."
        )
        raise failure from refused
    if proven is None:
        raise failure
    return proven
