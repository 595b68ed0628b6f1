"""Buffers of one size, used again part after part: fresh memory costs as much as a fast network."""

from __future__ import annotations

from typing import cast

from greenlang_async_storage._types import Buffer


class BufferPool:
    """Writable views of *size* bytes at most; never gives out memory that somebody still looks at."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[bytearray] = []

    def take(self, length: int) -> memoryview:
        """A view of *length* bytes, with what they held before."""
        # One spare byte, see `give_back`.
        buffer = self._free.pop() if self._free else bytearray(self._size + 1)
        return memoryview(buffer)[:length]

    def give_back(self, view: Buffer) -> None:
        """
        Use the memory of *view* again.

        A transport may still hold a view of it, after an attempt that was given up: then it is left alone. A
        bytearray with views cannot change its length, which the spare byte is there to find out.
        """
        if not isinstance(view, memoryview):
            return
        buffer = cast("bytearray", view.obj)
        try:
            view.release()
            buffer.pop()
        except BufferError:
            return
        buffer.append(0)
        self._free.append(buffer)
