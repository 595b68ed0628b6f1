"""Buffers of one size, used again part after part: fresh memory costs as much as a fast network."""

from __future__ import annotations

import mmap
import sys
from typing import Final, cast

from greenlang_async_storage._chunks import part_memory
from greenlang_async_storage._types import PartData

_ALONE: Final = 2
"""References to memory that nobody looks at: the variable, and the argument of `sys.getrefcount`."""


class BufferPool:
    """Writable views of *size* bytes at most; never gives out memory that somebody still looks at."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[mmap.mmap] = []

    def take(self, length: int) -> memoryview:
        """A view of *length* bytes, with what they held before."""
        memory = self._free.pop() if self._free else part_memory(self._size)
        return memoryview(memory)[:length]

    def give_back(self, view: PartData) -> None:
        """
        Use the memory of *view* again.

        A transport may still hold a view of it, after an attempt that was given up: then it is left alone.
        Every view holds a reference to the memory.
        """
        if not isinstance(view, memoryview):
            return
        memory = cast("mmap.mmap", view.obj)
        try:
            view.release()
        except BufferError:
            return
        if sys.getrefcount(memory) == _ALONE:
            self._free.append(memory)
