"""An upload that arrived, compared with what was announced; what differs is deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3InvalidRequestError,
    S3NotFoundError,
    UploadedPart,
)

from ._handles import Ticket
from ._models import ConfirmedUpload, UploadToConfirm
from ._names import media_type
from ._problems import UploadRefusedError
from ._rules import UploadRules

_HASHED_AT_ONCE: Final = 1024 * 1024
_AGAIN: Final = "Send the file again."


async def complete(bucket: Bucket, ticket: Ticket) -> int:
    """
    The object's size, once its parts are one object; calling again changes nothing.

    Raises `UploadRefusedError`: 409 while parts are missing, 410 for an upload that was aborted, 422 when
    parts are not of the announced sizes, in which case it is aborted.
    """
    try:
        parts = await bucket.list_parts(ticket.upload)
    except S3NotFoundError:
        return await _completed_before(bucket, ticket)
    await _check_parts(bucket, ticket, parts)
    try:
        return (await bucket.complete_multipart(ticket.upload, parts)).size
    except S3NotFoundError:
        return await _completed_before(bucket, ticket)


async def confirm(
    bucket: Bucket, key: str, ticket: Ticket, asked: UploadToConfirm, rules: UploadRules
) -> ConfirmedUpload:
    """
    What the store has at *key* in *bucket*, when it is what *ticket* announced.

    Raises `UploadRefusedError`: 409 when nothing arrived yet; 422 for another size, type or checksum, in
    which case the object is deleted.
    """
    try:
        info = await bucket.head(key)
    except S3NotFoundError:
        raise UploadRefusedError(
            409, "not-uploaded", "The file has not arrived yet", remedy="Send it, complete it, then confirm."
        ) from None
    if info.size != ticket.size:
        await _refuse(
            bucket, key, f"The file has {info.size:,} bytes, announced were {ticket.size:,}", "size"
        )
    if media_type(info.content_type) != ticket.content_type:
        await _refuse(bucket, key, f"The file is not of the type {ticket.content_type}", "type")
    return ConfirmedUpload(
        key=key,
        filename=ticket.name,
        size=info.size,
        content_type=ticket.content_type,
        etag=info.etag,
        version_id=info.version_id,
        verified=await _verify(bucket, ticket, info, asked, rules),
    )


async def _completed_before(bucket: Bucket, ticket: Ticket) -> int:
    """A reply that was lost must not look like an upload that was."""
    try:
        info = await bucket.head(ticket.key.removeprefix(bucket.prefix))
    except S3NotFoundError:
        raise UploadRefusedError(
            410, "upload-gone", "This upload was aborted or has expired", remedy="Start it again."
        ) from None
    return info.size


async def _check_parts(bucket: Bucket, ticket: Ticket, parts: Sequence[UploadedPart]) -> None:
    held = {part.number: part.size for part in parts}
    wrong = [
        number
        for number, size in held.items()
        if number > ticket.parts or (size is not None and size != ticket.length(number))
    ]
    if wrong:
        await bucket.abort_multipart(ticket.upload)
        raise UploadRefusedError(
            422, "size", f"Part {wrong[0]} is not of the announced size", remedy="Start the upload again."
        )
    if missing := [number for number in range(1, ticket.parts + 1) if number not in held]:
        raise UploadRefusedError(
            409,
            "parts-missing",
            f"{len(missing)} of {ticket.parts} parts are missing, the first is {missing[0]}",
            remedy="Send them and complete again.",
        )


async def _verify(
    bucket: Bucket, ticket: Ticket, info: ObjectInfo, asked: UploadToConfirm, rules: UploadRules
) -> bool:
    """Whether a checksum was stated and compared; one that differs is refused."""
    if asked.sha256 is not None:
        expected, part_size = [asked.sha256], info.size
    elif asked.part_sha256 is not None and ticket.part_size:
        expected, part_size = asked.part_sha256, ticket.part_size
    else:
        return False
    if info.size > rules.verify_up_to:
        return False
    digests = Digests(part_size)
    async with bucket.open_download(info.key, if_match=info.etag, version_id=info.version_id) as body:
        waiting: list[bytes] = []
        size = 0
        async for chunk in body:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _HASHED_AT_ONCE:
                await asyncio.to_thread(digests.update, waiting)
                waiting, size = [], 0
        await asyncio.to_thread(digests.update, waiting)
    if digests.finish() != expected:
        await _refuse(bucket, info.key, "The bytes that arrived do not have the stated SHA-256", "checksum")
    return True


class Digests:
    """SHA-256 (hex) of every *part_size* bytes of a stream."""

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._room = part_size
        self._hash = hashlib.sha256()
        self._done: list[str] = []

    def update(self, pieces: Sequence[bytes]) -> None:
        """Take the next pieces; for a thread."""
        for piece in pieces:
            view = memoryview(piece)
            while view:
                taken, view = view[: self._room], view[self._room :]
                self._hash.update(taken)
                self._room -= len(taken)
                if not self._room:
                    self._close()

    def finish(self) -> list[str]:
        """One digest for each part, the last one perhaps shorter."""
        if self._room < self._part_size:
            self._close()
        return self._done

    def _close(self) -> None:
        self._done.append(self._hash.hexdigest())
        self._hash, self._room = hashlib.sha256(), self._part_size


async def _refuse(bucket: Bucket, key: str, why: str, code: str) -> None:
    """Delete what is not what was announced, and say so."""
    await bucket.delete(key)
    raise UploadRefusedError(422, code, f"{why}; it was deleted", remedy=_AGAIN)


def relative_key(bucket: Bucket, ticket: Ticket) -> str:
    """The ticket's key as the tenant's view names it; refuses a key outside, which no ticket of ours has."""
    if not ticket.key.startswith(bucket.prefix):
        raise S3InvalidRequestError("the upload is outside its tenant's prefix", bucket=bucket.name)
    return ticket.key.removeprefix(bucket.prefix)
