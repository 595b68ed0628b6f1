"""A buffer in memory, sent in one request or in parts that are views of it."""

from __future__ import annotations

from functools import partial

from greenlang_async_storage import _multipart
from greenlang_async_storage._checksums import digest
from greenlang_async_storage._chunks import plan_parts, slice_parts
from greenlang_async_storage._concurrency import ProgressReporter, task_group
from greenlang_async_storage._types import Buffer, ProgressHook, UploadResult

from ._common import Transfer
from ._parts import PartSender, abandoned_on_failure
from ._put import put


async def send_bytes(
    transfer: Transfer, data: Buffer, *, on_progress: ProgressHook | None = None
) -> UploadResult:
    """
    The object of *data*, which must not change meanwhile; nothing is copied unless *data* is not contiguous.

    From the multipart threshold on, and above one part, it goes in parts.
    """
    if isinstance(data, memoryview) and not data.c_contiguous:
        data = data.tobytes()
    size = _multipart.nbytes(data)
    in_parts = size >= transfer.conn.settings.multipart_threshold and size > transfer.part_size
    if on_progress is None and not in_parts:
        return await _at_once(transfer, data)
    async with ProgressReporter(on_progress, total=size, key=transfer.key) as progress:
        if in_parts:
            return await _in_parts(transfer, data, progress)
        result = await _at_once(transfer, data)
        progress.add(size)
        return result


async def _at_once(transfer: Transfer, data: Buffer) -> UploadResult:
    sha256 = transfer.lacks_content_hash or transfer.signs_payload
    return await put(transfer, data, await digest(data, checksum=transfer.checksum, sha256=sha256))


async def _in_parts(transfer: Transfer, data: Buffer, progress: ProgressReporter) -> UploadResult:
    conn = transfer.conn
    plan = plan_parts(_multipart.nbytes(data), transfer.part_size)
    if transfer.lacks_content_hash:
        whole = await digest(data, checksum="none", sha256=True)
        transfer = transfer.with_content_hash(whole.sha256_hex)
    upload = await _multipart.create(conn, transfer.bucket, transfer.write, checksum=transfer.checksum)
    async with abandoned_on_failure(conn, upload):
        sender = PartSender(conn, upload, progress, concurrency=transfer.concurrency)
        async with task_group() as group:
            for part in slice_parts(data, plan):
                load = partial(transfer.digested, part.data)
                await sender.start(group, part.number, part.offset, load)
        return await sender.complete(transfer.write)
