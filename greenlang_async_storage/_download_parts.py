"""The parts of one object on their way from several connections into one file."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ._checksums import Crc, RangeCrc, compute
from ._chunks import part_memory
from ._concurrency import task_group
from ._connection import Connection
from ._errors import S3PoolTimeoutError
from ._local_files import run_local
from ._partial_file import Journal, PartialFile
from ._ranges import STEP, Pin, RangeReader

T = TypeVar("T")


class Parts:
    """
    Fetches what is missing of a pinned object into its partial file, with the CRC of every part on the way.

    Memory: one buffer of *part_size* bytes per worker, used again for part after part.
    """

    def __init__(
        self,
        conn: Connection,
        pin: Pin,
        file: PartialFile,
        *,
        part_size: int,
        algorithm: Crc | None,
        journal: Journal | None,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.crcs = RangeCrc(algorithm) if algorithm else None
        """Of the whole object once everything is there; `None` when nobody wants them."""
        self._conn = conn
        self._pin = pin
        self._file = file
        self._part_size = part_size
        self._journal = journal
        self._on_bytes = on_bytes
        self._todo = deque(range(-(-pin.size // part_size)))
        self._working = 0

    async def keep_saved(self) -> None:
        """Take over the parts of the journal that are in the file as it says, and begin to add to it."""
        journal = self._journal
        if journal is None:
            return
        saved, journal.parts = journal.parts, {}
        buffer = self._buffer()
        for index in list(self._todo):
            if index not in saved:
                continue
            start, stop = self._span(index)
            crc = await self._local("read", partial(self._crc_in_file, buffer[: stop - start], start))
            if crc is not None and crc == saved[index]:
                journal.parts[index] = crc
                self._arrived(start, stop, crc)
        self._todo = deque(index for index in self._todo if index not in journal.parts)
        await self._local("write the journal of", journal.start)

    async def fetch(self, reader: RangeReader | None, concurrency: int) -> None:
        """
        Every missing part. *reader* goes on from the start of the object; the other workers begin at its end.

        A connection of its own pays from two parts on, so there are at most half as many workers as parts.
        """
        width = min(concurrency, max(1, (len(self._todo) + 1) // 2))
        self._working = width
        async with task_group() as group:
            for number in range(width):
                work = self._work(reader if number == 0 else None)
                group.create_task(work, name=f"storage-download-{number}")

    async def _work(self, reader: RangeReader | None) -> None:
        """One worker: a part at a time into its buffer, and from there into the file."""
        buffer = self._buffer()
        step = STEP
        try:
            while self._todo:
                index = self._todo.popleft() if reader else self._todo.pop()
                start, stop = self._span(index)
                if reader is None or reader.position != start:
                    if reader is not None:
                        reader.close()
                    reader = RangeReader(self._conn, self._pin, start, stop, step=step)
                try:
                    await reader.readinto(buffer[: stop - start])
                except S3PoolTimeoutError:
                    if self._working < 2:
                        raise
                    # The others hold connections and will come to this part.
                    insort(self._todo, index)
                    return
                step = reader.step
                if reader.position == reader.stop:
                    reader.close()
                    reader = None
                crc = await self._local("write", partial(self._store, index, buffer[: stop - start], start))
                self._arrived(start, stop, crc)
        finally:
            self._working -= 1
            if reader is not None:
                reader.close()

    def _buffer(self) -> memoryview:
        return memoryview(part_memory(max(1, min(self._part_size, self._pin.size))))

    def _span(self, index: int) -> tuple[int, int]:
        start = index * self._part_size
        return start, min(start + self._part_size, self._pin.size)

    def _store(self, index: int, view: memoryview, start: int) -> int:
        """Runs in a thread: one trip for the disk, the CRC and the journal."""
        self._file.write(view, start)
        crc = compute(self.crcs.algorithm, view) if self.crcs is not None else 0
        if self._journal is not None:
            self._journal.add(index, crc)
        return crc

    def _crc_in_file(self, view: memoryview, start: int) -> int | None:
        """Runs in a thread: the CRC of what the file has there, `None` where it ends early."""
        if self.crcs is None or self._file.read(view, start) != len(view):
            return None
        return compute(self.crcs.algorithm, view)

    def _arrived(self, start: int, stop: int, crc: int) -> None:
        if self.crcs is not None:
            self.crcs.add(start, stop - start, crc)
        self._on_bytes(stop - start)

    async def _local(self, doing: str, function: Callable[[], T]) -> T:
        pin, target = self._pin, self._file.target
        return await run_local(doing, target, function, operation="GetObject", bucket=pin.bucket, key=pin.key)
