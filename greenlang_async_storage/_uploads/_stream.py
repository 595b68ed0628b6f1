"""A stream of unknown length, sent while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from greenlang_async_storage import _multipart
from greenlang_async_storage._chunks import Part, PartAssembler, PartPlan, measure, open_source, plan_parts
from greenlang_async_storage._concurrency import ProgressReporter, TaskGroup, task_group
from greenlang_async_storage._types import ByteSource, ProgressHook, UploadResult

from ._common import Transfer
from ._parts import PartSender
from ._put import put

PIECES_PER_TURN: Final = 256
BYTES_PER_TURN: Final = 4 * 1024 * 1024
"""After so much other tasks get a turn, also when the producer never waits."""


async def send_stream(
    transfer: Transfer, source: ByteSource, *, fixed_parts: bool, on_progress: ProgressHook | None
) -> UploadResult:
    """
    The object of everything *source* gives.

    Bytes taken from *source* and not yet stored are at most `(concurrency + 1) * part size`, the part size
    being that of the part being filled; a piece larger than a part comes on top, and sources read in a thread
    are read 256 KiB ahead. Less than one part becomes one put.

    A failure of a part or of *source* or a cancel ends everything at once, also while *source* blocks; then
    *source* is closed and the upload aborted. What *source* raises comes through unchanged.
    """
    plan = plan_parts(None, transfer.part_size, fixed_parts=fixed_parts)
    total = await measure(source)
    async with ProgressReporter(on_progress, total=total, key=transfer.key) as progress:
        return await _Stream(transfer, plan, progress).send(source)


class _Stream:
    """One stream on its way: what is left to fill a part, and the upload once there was a full one."""

    def __init__(self, transfer: Transfer, plan: PartPlan, progress: ProgressReporter) -> None:
        self._transfer, self._plan, self._progress = transfer, plan, progress
        self._assembler = PartAssembler(plan, in_pieces=True)
        self._sender: PartSender | None = None
        self._room = 0
        self._largest_piece = 0

    async def send(self, source: ByteSource) -> UploadResult:
        """The object, or nothing left behind."""
        transfer = self._transfer
        try:
            async with open_source(source, read_size=self._plan.part_size) as pieces:
                only = await self._pump(pieces)
            if self._sender is not None:
                return await self._sender.complete(transfer.write)
        except BaseException:
            if self._sender is not None:
                await _multipart.abandon(transfer.conn, self._sender.upload)
            raise
        data = only.joined() if only is not None else b""
        _, digest = await transfer.digested(data)
        result = await put(transfer, data, digest)
        self._progress.add(result.size)
        return result

    async def _pump(self, pieces: AsyncIterator[object]) -> Part | None:
        """Send every part as it is filled; gives back the last when it is the only one, and not full."""
        assembler = self._assembler
        async with task_group() as group:
            count = turn = 0
            async for piece in pieces:
                before = assembler.size
                for part in assembler.feed(piece):
                    await self._dispatch(group, part)
                    del part  # sent and stored, it must not stay alive here while the source is waited for
                del piece
                self._largest_piece = max(self._largest_piece, assembler.size - before)
                count += 1
                if count >= PIECES_PER_TURN or assembler.size - turn >= BYTES_PER_TURN:
                    count, turn = 0, assembler.size
                    await asyncio.sleep(0)
                await self._have_room()
            last = assembler.finish()
            if last is None or self._sender is None:
                return last
            await self._dispatch(group, last)
        return None

    async def _have_room(self) -> None:
        """Return when one more piece fits into the memory bound; at once while nothing is on its way."""
        sender = self._sender
        if sender is None:
            return
        while (
            sender.in_flight and self._assembler.size - sender.acknowledged + self._largest_piece > self._room
        ):
            sender.changed.clear()
            await sender.changed.wait()

    async def _dispatch(self, group: TaskGroup, part: Part) -> None:
        transfer = self._transfer
        sender = self._sender or await self._open()
        self._room = (transfer.concurrency + 1) * self._plan.length(part.number)
        await sender.start(group, part.number, part.offset, partial(transfer.digested, part.data))

    async def _open(self) -> PartSender:
        transfer = self._transfer
        upload = await _multipart.create(
            transfer.conn, transfer.bucket, transfer.write, checksum=transfer.checksum
        )
        self._sender = PartSender(transfer.conn, upload, self._progress, concurrency=transfer.concurrency)
        return self._sender
