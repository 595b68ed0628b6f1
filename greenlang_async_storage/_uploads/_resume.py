"""Uploads that outlive their process: begun with a journal, gone on with from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from greenlang_async_storage import _multipart
from greenlang_async_storage._checksums import CRCS, Crc, encode
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import (
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3SourceChangedError,
)
from greenlang_async_storage._local_files import in_thread
from greenlang_async_storage._types import Checksum, UploadedPart, UploadResult

from ._journal import Entry, Journal, Recipe

SAVE_EVERY_SECONDS: Final = 1.0


class JournalKeeper:
    """Writes down parts as they are stored, at most once a second, one write at a time."""

    def __init__(self, journal: Journal, entry: Entry) -> None:
        self._journal = journal
        self.entry: Final = entry
        self._saved_at = time.monotonic()
        self._lock = asyncio.Lock()

    async def record(self, part: UploadedPart) -> None:
        """Take in *part*; it is on disk a second later at most, or with `flush`."""
        self.entry.parts[part.number] = part
        if time.monotonic() - self._saved_at >= SAVE_EVERY_SECONDS and not self._lock.locked():
            await self.flush()

    async def flush(self) -> None:
        """Everything recorded so far on disk."""
        async with self._lock:
            snapshot = replace(self.entry, parts=dict(self.entry.parts))
            await in_thread(partial(self._journal.save, snapshot))
            self._saved_at = time.monotonic()

    async def remove(self) -> None:
        """The journal gone."""
        async with self._lock:
            await in_thread(self._journal.remove)


@dataclass(frozen=True, slots=True)
class Reopened:
    """An upload to go on with, and what S3 holds of it."""

    entry: Entry
    held: Mapping[int, UploadedPart]


async def reopen(
    conn: Connection, journal: Journal, recipe: Recipe, size: int
) -> Reopened | UploadResult | None:
    """
    Where the upload of *journal* stands: to go on with, finished after all, or (`None`) to begin anew.

    An upload made for another state of the source, or with other options, is aborted first.
    """
    entry = await in_thread(journal.load)
    if entry is None:
        return None
    if entry.recipe != recipe:
        await discard(conn, journal, entry)
        return None
    try:
        listed = await _multipart.list_parts(conn, entry.upload)
    except S3NotFoundError as gone:
        if gone.code != "NoSuchUpload":
            raise
        result = await _finished(conn, entry, size)
        await in_thread(journal.remove)
        return result
    return Reopened(entry, {part.number: _with_checksum(part, entry) for part in listed})


def never_completes(error: S3Error) -> bool:
    """Whether an upload that failed so can only be begun anew."""
    if isinstance(error, S3SourceChangedError):
        return True
    if error.outcome != "not_applied":
        return False
    refused = isinstance(error, S3IntegrityError | S3InvalidRequestError)
    return error.code == "NoSuchUpload" or (refused and error.operation == "CompleteMultipartUpload")


async def discard(conn: Connection, journal: Journal, entry: Entry) -> None:
    """Abort an upload nobody will go on with, and remove its journal; an abort that fails is counted."""
    try:
        await _multipart.abort_or_count(conn, entry.upload)
    except S3Error as error:
        conn.log.warning(
            "storage.upload_not_aborted",
            bucket=entry.upload.bucket,
            key=entry.upload.key,
            upload_id=entry.upload.upload_id,
            error=repr(error),
        )
    await in_thread(journal.remove)


async def _finished(conn: Connection, entry: Entry, size: int) -> UploadResult | None:
    """The result of an upload whose process died between Complete and the removal of its journal."""
    upload, checksum = entry.upload, None
    if upload.checksum in CRCS and entry.whole_crc is not None:
        algorithm: Crc = upload.checksum  # type: ignore[assignment]  # CRCS holds no other
        checksum = Checksum(algorithm, encode(algorithm, entry.whole_crc))
    try:
        return await _multipart.prove(
            conn, _multipart.Written(upload.bucket, upload.key, upload.token, size, checksum)
        )
    except S3NotFoundError:
        return None


def _with_checksum(part: UploadedPart, entry: Entry) -> UploadedPart:
    """*part* with the checksum it was acknowledged with, for stores that do not list checksums."""
    known = entry.parts.get(part.number)
    if part.checksum is not None or known is None or known.etag != part.etag:
        return part
    return replace(part, checksum=known.checksum)
