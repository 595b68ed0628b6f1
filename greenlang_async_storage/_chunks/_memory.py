"""Memory for whole parts: large, and dear where it is taken page by page."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Final

HUGE_PAGE: Final = 2 * 1024 * 1024


def part_memory(size: int) -> mmap.mmap:
    """
    *size* zero bytes, at least 1, that take up memory once they are written to.

    In huge pages where the system has them: 8 MiB are four page faults then, not 2,048 of them. Unlike
    `bytearray(size)` it returns at once, so it may be called on the event loop. The memory goes back to the
    system with the last view of it. MemoryError when there is none.
    """
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as exc:
        raise MemoryError(f"no memory for a part of {size} bytes") from exc
    if sys.platform == "linux" and size >= HUGE_PAGE:
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
