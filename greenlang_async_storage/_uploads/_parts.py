"""The engine of every upload in parts: a bounded number on their way, then one object or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from greenlang_async_storage import _multipart
from greenlang_async_storage._checksums import CRCS, Crc, Digest, RangeCrc, composite, encode
from greenlang_async_storage._concurrency import ProgressReporter, TaskGroup
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._options import WriteRequest
from greenlang_async_storage._types import Checksum, MultipartUpload, PartData, UploadedPart, UploadResult

Load = Callable[[], Awaitable[tuple[PartData, Digest]]]
"""Gives one part's bytes and their digests; called when it is the part's turn to be sent."""
OnPart = Callable[[UploadedPart], Awaitable[None]]


class PartSender:
    """
    Sends the parts of one open upload, at most *concurrency* at a time, and completes it.

    Parts may be started in any order. One that *held* (what S3 already has) contains with the same size and
    checksum is not sent again. *on_part* is told of every part, *release* gets its bytes back.
    """

    def __init__(
        self,
        conn: Connection,
        upload: MultipartUpload,
        progress: ProgressReporter,
        *,
        concurrency: int,
        held: Mapping[int, UploadedPart] | None = None,
        on_part: OnPart | None = None,
        release: Callable[[PartData], None] | None = None,
    ) -> None:
        self.upload: Final = upload
        self.acknowledged = 0
        """Bytes S3 holds."""
        self.in_flight = 0
        """Parts that were started and are not stored yet."""
        self.changed = asyncio.Event()
        """Set whenever a part has ended."""
        self._conn, self._progress = conn, progress
        self._held, self._on_part, self._release = held or {}, on_part, release
        self._slots = asyncio.Semaphore(concurrency)
        self._parts: dict[int, UploadedPart] = {}
        self._crc = RangeCrc(cast("Crc", upload.checksum)) if upload.checksum in CRCS else None

    async def start(self, group: TaskGroup, number: int, offset: int, load: Load) -> None:
        """Return when the part is on its way, which may take until another one is stored."""
        await self._slots.acquire()
        self.in_flight += 1
        group.create_task(self._send(number, offset, load), name="storage-part")
        # Its first bytes go out before a producer that never waits fills the next part.
        await asyncio.sleep(0)

    async def _send(self, number: int, offset: int, load: Load) -> None:
        try:
            data, digest = await load()
            size = _multipart.nbytes(data)
            part = self._kept(number, size, digest)
            if part is None:
                part = await _multipart.upload_part(self._conn, self.upload, number, data, digest)
            if self._release is not None:
                self._release(data)
            del data
            self._parts[number] = part
            if self._crc is not None and digest.crc is not None:
                self._crc.add(offset, size, digest.crc)
            self.acknowledged += size
            self._progress.add(size)
            if self._on_part is not None:
                await self._on_part(part)
        finally:
            self.in_flight -= 1
            self._slots.release()
            self.changed.set()

    @property
    def crc(self) -> int | None:
        """CRC of everything sent; `None` for a checksum that is no CRC."""
        return None if self._crc is None else self._crc.value(self.acknowledged)

    def checksum(self) -> Checksum | None:
        """What S3 will store for the whole object."""
        if self._crc is not None:
            algorithm = self._crc.algorithm
            return Checksum(algorithm, encode(algorithm, self._crc.value(self.acknowledged)))
        if self.upload.checksum == "SHA256":
            values = [part.checksum or "" for part in self._ordered()]
            return Checksum("SHA256", composite("SHA256", values), "COMPOSITE")
        return None

    async def complete(self, write: WriteRequest) -> UploadResult:
        """The object of all parts that were sent."""
        return await _multipart.complete(
            self._conn,
            self.upload,
            self._ordered(),
            size=self.acknowledged,
            crc=self.checksum(),
            write=write,
        )

    def _ordered(self) -> list[UploadedPart]:
        return [self._parts[number] for number in sorted(self._parts)]

    def _kept(self, number: int, size: int, digest: Digest) -> UploadedPart | None:
        """What S3 already holds, when it is provably this part."""
        held = self._held.get(number)
        same = held is not None and held.size == size and held.checksum == digest.checksum
        return held if same and digest.checksum is not None else None


@asynccontextmanager
async def abandoned_on_failure(conn: Connection, upload: MultipartUpload) -> AsyncIterator[None]:
    """Abort *upload* when the block, whose tasks have ended by then, fails or is cancelled."""
    try:
        yield
    except BaseException:
        await _multipart.abandon(conn, upload)
        raise
