"""A request body that is several buffers: sent as it is, never put together."""

from __future__ import annotations

import io
from collections.abc import Sequence

from greenlang_async_storage.fastpath._wire import Buffer


class Pieces(io.RawIOBase):
    """
    Buffers that are one body, one after the other; also a binary file for whoever wants to read it.

    The buffers are not copied and must not change before the call that sends them has returned.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        super().__init__()
        self._views = [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes]
        self._length = sum(map(len, self._views))
        self._index = self._offset = 0

    def __len__(self) -> int:
        return self._length

    def ready(self, limit: int) -> memoryview:
        """The next bytes, *limit* at most, as they lie in memory; none at the end."""
        if self._index == len(self._views):
            return memoryview(b"")
        view = self._views[self._index]
        piece = view[self._offset : self._offset + limit]
        self._offset += len(piece)
        if self._offset == len(view):
            self._index, self._offset = self._index + 1, 0
        return piece

    def plain(self) -> bytes:
        """All bytes in one object."""
        return b"".join(self._views)

    def readable(self) -> bool:
        """As every file that can be read."""
        return True

    def seekable(self) -> bool:
        """As every file that can start again."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # all we are given
        """As of `io.RawIOBase`."""
        piece = self.ready(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def tell(self) -> int:
        """How many bytes were given out."""
        return sum(map(len, self._views[: self._index])) + self._offset

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Go on from *position*, counted from the start or (SEEK_END, 0) the end."""
        if whence == io.SEEK_END:
            position += self._length
        elif whence == io.SEEK_CUR:
            position += self.tell()
        self._index = self._offset = 0
        while self._index < len(self._views) and position >= len(self._views[self._index]):
            position -= len(self._views[self._index])
            self._index += 1
        self._offset = position if self._index < len(self._views) else 0
        return self.tell()
