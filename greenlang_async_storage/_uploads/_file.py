"""A local file, sent in one request or in parts that threads read when it is their turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from greenlang_async_storage import _multipart
from greenlang_async_storage._checksums import Digest
from greenlang_async_storage._chunks import plan_parts
from greenlang_async_storage._concurrency import ProgressReporter, task_group
from greenlang_async_storage._errors import S3Error, S3SourceChangedError
from greenlang_async_storage._local_files import in_thread
from greenlang_async_storage._types import (
    Buffer,
    MultipartUpload,
    ProgressHook,
    StrPath,
    UploadedPart,
    UploadResult,
)

from ._buffers import BufferPool
from ._common import Transfer
from ._journal import Entry, Journal, Recipe, options_digest
from ._parts import OnPart, PartSender, abandoned_on_failure
from ._put import put
from ._resume import JournalKeeper, Reopened, discard, never_completes, reopen
from ._source import SourceFile, WholeDigest


async def send_file(
    transfer: Transfer, path: StrPath, *, on_progress: ProgressHook | None, resume: StrPath | None
) -> UploadResult | None:
    """
    The object of the file at *path*; `None` when it is a pipe or a device, of which nothing was read.

    Below the multipart threshold, or within one part, the file goes in one request and is in memory once.
    Else `concurrency * part size` bytes are: each part is read, hashed and sent on its own. Before that the
    file is read once more for the `content-hash` metadata, unless the caller gave it.
    """
    source = SourceFile(path, transfer.bucket, transfer.key)
    journal = None if resume is None else Journal(resume, transfer.bucket, transfer.key)
    try:
        if not await in_thread(source.open):
            return None
        if journal is not None:
            await in_thread(journal.lock)
        async with ProgressReporter(on_progress, total=source.size, key=transfer.key) as progress:
            job = _FileUpload(transfer, source, progress)
            threshold = transfer.conn.settings.multipart_threshold
            if source.size < threshold or source.size <= transfer.part_size:
                return await job.in_one(journal)
            return await (job.in_parts() if journal is None else job.resumable(journal))
    finally:
        source.close()
        if journal is not None:
            await transfer.conn.clean_up("UnlockJournal", partial(in_thread, journal.unlock))


class _FileUpload:
    """One open file on its way."""

    def __init__(self, transfer: Transfer, source: SourceFile, progress: ProgressReporter) -> None:
        self._transfer, self._source, self._progress = transfer, source, progress
        self._conn = transfer.conn
        self._plan = plan_parts(source.size, transfer.part_size)
        self._buffers = BufferPool(self._plan.part_size)

    async def in_one(self, journal: Journal | None) -> UploadResult:
        """One PutObject; a *journal* is left from when the file was larger."""
        transfer = self._transfer
        if journal is not None and (entry := await in_thread(journal.load)) is not None:
            await discard(self._conn, journal, entry)
        sha256 = transfer.lacks_content_hash or transfer.signs_payload
        data, digest = await in_thread(partial(self._source.read_whole, transfer.checksum, sha256=sha256))
        result = await put(transfer.with_content_hash(digest.sha256_hex), data, digest)
        self._progress.add(len(data))
        return result

    async def in_parts(self) -> UploadResult:
        """Parts, aborted on failure."""
        upload, whole = await self._create()
        async with abandoned_on_failure(self._conn, upload):
            return await self._send(self._sender(upload), whole.crc if whole else None)

    async def resumable(self, journal: Journal) -> UploadResult:
        """Parts, kept on failure for a later call with the same journal."""
        conn, transfer = self._conn, self._transfer
        recipe = Recipe(
            self._source.fingerprint,
            self._plan.part_size,
            transfer.checksum,
            options_digest(transfer.write),
        )
        found = await reopen(conn, journal, recipe, self._source.size)
        if isinstance(found, UploadResult):
            self._progress.add(found.size)
            return found
        if found is not None:
            try:
                return await self._go_on(journal, found)
            except S3Error as error:
                # A store may have spoiled the upload, as MinIO does when a Complete is cut off half-way.
                if not never_completes(error) or isinstance(error, S3SourceChangedError):
                    raise
                conn.log.warning("storage.upload_restarted", bucket=transfer.bucket, key=transfer.key)
                self._progress.add(-self._progress.done)
        return await self._go_on(journal, Reopened(await self._begin(journal, recipe), {}))

    async def _go_on(self, journal: Journal, found: Reopened) -> UploadResult:
        """The object of what S3 holds and what it lacks."""
        conn, keeper = self._conn, JournalKeeper(journal, found.entry)
        sender = self._sender(found.entry.upload, found.held, keeper.record)
        try:
            result = await self._send(sender, found.entry.whole_crc)
        except BaseException as error:
            if isinstance(error, S3Error) and never_completes(error):
                await conn.clean_up("AbortMultipartUpload", partial(discard, conn, journal, found.entry))
            else:
                await conn.clean_up("SaveJournal", keeper.flush)
            raise
        await keeper.remove()
        return result

    async def _begin(self, journal: Journal, recipe: Recipe) -> Entry:
        """A new upload, written down before its first part is sent."""
        upload, whole = await self._create()
        entry = Entry(upload, recipe, whole.crc if whole else None)
        async with abandoned_on_failure(self._conn, upload):
            await in_thread(partial(journal.save, entry))
        return entry

    async def _create(self) -> tuple[MultipartUpload, WholeDigest | None]:
        """An open upload, and what was found when the file was hashed for it."""
        transfer, whole = self._transfer, None
        if transfer.lacks_content_hash:
            step = self._source.hasher(transfer.checksum)
            while whole is None:
                whole = await in_thread(step)
            transfer = transfer.with_content_hash(whole.sha256_hex)
        upload = await _multipart.create(
            self._conn, transfer.bucket, transfer.write, checksum=transfer.checksum
        )
        return upload, whole

    def _sender(
        self,
        upload: MultipartUpload,
        held: Mapping[int, UploadedPart] | None = None,
        on_part: OnPart | None = None,
    ) -> PartSender:
        return PartSender(
            self._conn,
            upload,
            self._progress,
            concurrency=self._transfer.concurrency,
            held=held,
            on_part=on_part,
            release=self._buffers.give_back,
        )

    async def _send(self, sender: PartSender, whole_crc: int | None) -> UploadResult:
        source, plan = self._source, self._plan
        async with task_group() as group:
            for number in range(1, plan.count(source.size) + 1):
                offset = (number - 1) * plan.part_size
                await sender.start(group, number, offset, partial(self._load, offset))
        await in_thread(source.check)
        if whole_crc is not None and sender.crc != whole_crc:
            raise source.changed("its content differs from what was hashed before")
        return await sender.complete(self._transfer.write)

    async def _load(self, offset: int) -> tuple[Buffer, Digest]:
        transfer, source = self._transfer, self._source
        view = self._buffers.take(min(self._plan.part_size, source.size - offset))
        fill = partial(source.fill, view, offset, transfer.checksum, sha256=transfer.signs_payload)
        return view, await in_thread(fill)
