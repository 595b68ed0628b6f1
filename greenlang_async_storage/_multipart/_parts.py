"""Parts of an open multipart upload: sent and listed. Source: S3 API reference, UploadPart, ListParts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlang_async_storage._checksums import Digest, stored_checksum
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3Error, S3IntegrityError, S3NotFoundError
from greenlang_async_storage._types import MultipartUpload, PartData, UploadedPart

from ._arguments import body_of, checksum_args

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListPartsOutputTypeDef, PartTypeDef


def nbytes(data: PartData) -> int:
    """Bytes in *data*, whatever the item size of a memoryview."""
    if isinstance(data, tuple):
        return sum(map(nbytes, data))
    return data.nbytes if isinstance(data, memoryview) else len(data)


async def upload_part(
    conn: Connection, upload: MultipartUpload, number: int, data: PartData, digest: Digest
) -> UploadedPart:
    """
    One part stored; *data* must stay as it is until this returns, for it may be sent again.

    S3 compares the bytes with the checksum of *digest*, and the checksum S3 answers is compared with it too:
    on a difference the part is sent once more, then `S3IntegrityError`.
    """
    size = nbytes(data)
    body = body_of(conn, data, digest)
    fault = ""
    for _ in range(2):
        reply = await conn.call(
            "UploadPart",
            lambda s3: s3.upload_part(
                Bucket=upload.bucket,
                Key=upload.key,
                UploadId=upload.upload_id,
                PartNumber=number,
                Body=body,
                **checksum_args(upload.checksum, digest.checksum),
                **conn.owner,
            ),
            bucket=upload.bucket,
            key=upload.key,
            transfer_bytes=size,
        )
        stored = stored_checksum(reply)
        etag = reply.get("ETag", "").strip('"')
        if etag and (stored is None or digest.checksum is None or stored.value == digest.checksum):
            return UploadedPart(number, etag, size, digest.checksum)
        fault = (
            f"with the checksum {stored.value} instead of {digest.checksum}"
            if etag and stored
            else "without an ETag"
        )
    raise S3IntegrityError(
        f"part {number} was sent twice and acknowledged {fault}",
        operation="UploadPart",
        bucket=upload.bucket,
        key=upload.key,
        attempts=2,
    )


async def list_parts(conn: Connection, upload: MultipartUpload) -> list[UploadedPart]:
    """
    The parts S3 holds of an open upload, by number: at most 10,000, a request per 1,000.

    `S3NotFoundError` when the upload was completed, aborted or expired.
    """
    found: list[UploadedPart] = []
    marker = 0
    while True:
        reply = await _page(conn, upload, after=marker)
        found += [_listed(part) for part in reply.get("Parts", [])]
        if not reply.get("IsTruncated"):
            return found
        if not found or found[-1].number <= marker:
            raise S3Error(
                f"the store says there are more parts after {marker} but lists none",
                operation="ListParts",
                bucket=upload.bucket,
                key=upload.key,
                remedy="This is a fault of the store; abort the upload and start again.",
            )
        marker = found[-1].number


async def is_open(conn: Connection, upload: MultipartUpload) -> bool:
    """Whether S3 still knows the upload."""
    try:
        await _page(conn, upload, size=1)
    except S3NotFoundError:
        return False
    return True


async def _page(
    conn: Connection, upload: MultipartUpload, *, after: int = 0, size: int = 1000
) -> ListPartsOutputTypeDef:
    return await conn.call(
        "ListParts",
        lambda s3: s3.list_parts(
            Bucket=upload.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            PartNumberMarker=after,
            MaxParts=size,
            **conn.owner,
        ),
        bucket=upload.bucket,
        key=upload.key,
    )


def _listed(part: PartTypeDef) -> UploadedPart:
    stored = stored_checksum(part)
    return UploadedPart(
        part["PartNumber"],
        part.get("ETag", "").strip('"'),
        part.get("Size"),
        stored.value if stored else None,
    )
