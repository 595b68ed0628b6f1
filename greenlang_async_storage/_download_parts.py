"""The parts of one object on their way from several connections into one file."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from ._checksums import Crc, RangeCrc, compute
from ._concurrency import WINDOW, Windows, task_group
from ._connection import Connection
from ._errors import S3PoolTimeoutError
from ._local_files import in_thread, local_errors
from ._partial_file import Journal, PartialFile
from ._ranges import STEP, Pin, RangeReader

T = TypeVar("T")


class Parts:
    """
    Fetches what is missing of a pinned object into its partial file, with the CRC of every part on the way.

    Memory: two windows of `WINDOW` bytes per worker, which take turns: one is filled while a thread writes
    the other into the file.
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
        for index in list(self._todo):
            if index not in saved:
                continue
            start, stop = self._span(index)
            crc = await self._local("read", partial(self._crc_in_file, start, stop))
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
                # Each takes memory first, a millisecond of work: not all of them in one turn of the loop.
                await asyncio.sleep(0)

    async def _work(self, reader: RangeReader | None) -> None:
        """One worker, a part at a time."""
        windows = Windows(min(self._part_size, self._pin.size))
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
                    crc = await self._bring(reader, windows, index)
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
                self._arrived(start, stop, crc)
        finally:
            self._working -= 1
            if reader is not None:
                reader.close()

    async def _bring(self, reader: RangeReader, windows: Windows, index: int) -> int:
        """The part from its connection into the file, a window at a time; its CRC."""
        start, stop = self._span(index)
        crc = 0

        def store(view: memoryview, position: int) -> None:
            # In a thread: one trip for the disk, the CRC and, after the last window, the journal.
            nonlocal crc
            with self._local_errors("write"):
                self._file.write(view, position)
                if self.crcs is not None:
                    crc = compute(self.crcs.algorithm, view, crc)
                if self._journal is not None and position + len(view) == stop:
                    self._journal.add(index, crc)

        try:
            for position in range(start, stop, windows.size):
                view = windows.take()[: min(windows.size, stop - position)]
                await reader.readinto(view)
                await windows.empty(partial(store, view, position))
            await windows.settle()
        except BaseException:
            await windows.drop()
            raise
        return crc

    def _span(self, index: int) -> tuple[int, int]:
        start = index * self._part_size
        return start, min(start + self._part_size, self._pin.size)

    def _crc_in_file(self, start: int, stop: int) -> int | None:
        """Runs in a thread: the CRC of what the file has there, `None` where it ends early."""
        if self.crcs is None:
            return None
        crc, window = 0, memoryview(bytearray(min(WINDOW, stop - start)))
        for position in range(start, stop, len(window)):
            view = window[: stop - position]
            if self._file.read(view, position) != len(view):
                return None
            crc = compute(self.crcs.algorithm, view, crc)
        return crc

    def _arrived(self, start: int, stop: int, crc: int) -> None:
        if self.crcs is not None:
            self.crcs.add(start, stop - start, crc)
        self._on_bytes(stop - start)

    async def _local(self, doing: str, function: Callable[[], T]) -> T:
        with self._local_errors(doing):
            return await in_thread(function)

    def _local_errors(self, doing: str) -> AbstractContextManager[None]:
        pin = self._pin
        return local_errors(doing, self._file.target, operation="GetObject", bucket=pin.bucket, key=pin.key)
