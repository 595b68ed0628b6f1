"""Completing an upload whose parts others sent: a browser, or another process."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from greenlang_async_storage._checksums import CRCS, Crc, RangeCrc, composite, encode
from greenlang_async_storage._chunks import MAX_PARTS
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3InvalidRequestError
from greenlang_async_storage._options import prepare_write
from greenlang_async_storage._types import Checksum, MultipartUpload, UploadedPart, UploadResult, WriteOptions

from ._complete import complete
from ._create import create
from ._parts import list_parts


async def create_for_others(
    conn: Connection, bucket: str, key: str, options: WriteOptions
) -> MultipartUpload:
    """
    An open upload whose parts a browser or another process will send, without an agreed checksum.

    Senders of plain parts compute none, and MinIO refuses such parts where one was agreed; AWS then stores
    its own CRC64NVME. S3 evaluates conditions at Complete, so these options are refused here.
    """
    write = prepare_write(conn.settings, key, options)
    if write.complete_args():
        raise S3InvalidRequestError(
            "S3 evaluates if_none_match and if_match when an upload is completed, not when it is created",
            operation="CreateMultipartUpload",
            bucket=bucket,
            key=key,
            remedy="Pass the condition to complete_multipart().",
        )
    return await create(conn, bucket, write)


async def complete_for_others(
    conn: Connection, upload: MultipartUpload, parts: Iterable[UploadedPart], conditions: WriteOptions
) -> UploadResult:
    """
    The object made of *parts*, given in any order, for parts that others sent.

    What the senders do not know (sizes, and checksums where the upload has an algorithm) is asked from S3:
    one request per 1,000 parts. Raises `S3InvalidRequestError`, before anything is completed, for no part at
    all, a number outside 1 to 10,000, a number given twice, or a part S3 does not hold in that form. Of
    *conditions* only `if_none_match` and `if_match` count.
    """
    write = prepare_write(conn.settings, upload.key, conditions)
    ordered = _ordered(upload, parts)
    if any(part.size is None or (part.checksum is None and upload.checksum != "none") for part in ordered):
        ordered = _filled(upload, ordered, await list_parts(conn, upload))
    size = sum(part.size or 0 for part in ordered)
    # Ten thousand checksums take a tenth of a second to combine.
    checksum = await asyncio.to_thread(_checked_whole, upload, ordered)
    return await complete(conn, upload, ordered, size=size, crc=checksum, write=write)


def whole_checksum(upload: MultipartUpload, parts: Sequence[UploadedPart]) -> Checksum | None:
    """What S3 will store for the object of *parts*, in order; `None` when a checksum or size is missing."""
    if upload.checksum == "none" or any(part.checksum is None or part.size is None for part in parts):
        return None
    values = [part.checksum or "" for part in parts]
    if upload.checksum not in CRCS:
        return Checksum("SHA256", composite("SHA256", values), "COMPOSITE")
    algorithm = cast("Crc", upload.checksum)
    whole, offset = RangeCrc(algorithm), 0
    for part, value in zip(parts, values, strict=True):
        size = part.size or 0
        whole.add(offset, size, int.from_bytes(base64.b64decode(value), "big"))
        offset += size
    return Checksum(algorithm, encode(algorithm, whole.value(offset)))


def _refuse(upload: MultipartUpload, message: str, remedy: str) -> S3InvalidRequestError:
    return S3InvalidRequestError(
        message, operation="CompleteMultipartUpload", bucket=upload.bucket, key=upload.key, remedy=remedy
    )


def _ordered(upload: MultipartUpload, parts: Iterable[UploadedPart]) -> list[UploadedPart]:
    ordered = sorted(parts, key=lambda part: part.number)
    if not ordered:
        raise _refuse(
            upload, "there is no part to complete", "Upload a part first, or call abort_multipart()."
        )
    previous = 0
    for part in ordered:
        if not 1 <= part.number <= MAX_PARTS:
            remedy = f"Number parts from 1 to {MAX_PARTS}."
            raise _refuse(upload, f"there is no part number {part.number} in S3", remedy)
        if part.number == previous:
            remedy = "Give each part once, with its last ETag."
            raise _refuse(upload, f"part {part.number} is given twice", remedy)
        if not part.etag:
            remedy = "Give the ETag header of the part's reply."
            raise _refuse(upload, f"part {part.number} has no ETag", remedy)
        previous = part.number
    return [replace(part, etag=part.etag.strip('"')) for part in ordered]


def _filled(
    upload: MultipartUpload, given: Sequence[UploadedPart], listed: Iterable[UploadedPart]
) -> list[UploadedPart]:
    """*given* with the sizes and checksums S3 lists for the same parts."""
    held = {part.number: part for part in listed}
    filled = []
    for part in given:
        stored = held.get(part.number)
        if stored is None or stored.etag != part.etag:
            state = f"holds it with the ETag {stored.etag}" if stored else "does not hold it"
            raise _refuse(
                upload,
                f"part {part.number} is given with the ETag {part.etag}, but the store {state}",
                "Send the part again and give the ETag of that reply.",
            )
        filled.append(
            replace(
                part,
                size=stored.size if part.size is None else part.size,
                checksum=stored.checksum if part.checksum is None else part.checksum,
            )
        )
    return filled


def _checked_whole(upload: MultipartUpload, parts: Sequence[UploadedPart]) -> Checksum | None:
    try:
        return whole_checksum(upload, parts)
    except (binascii.Error, ValueError) as exc:
        remedy = "Give checksums as S3 writes them."
        raise _refuse(upload, f"a part's checksum is not base64: {exc}", remedy) from exc
