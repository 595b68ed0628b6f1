"""What becomes of the memory that bodies leave behind."""

from __future__ import annotations

from functools import cache
from typing import Final

LARGEST: Final = 16 * 1024 * 1024
"""Blocks below this size, and twice as much of freed memory, stay with the process."""


@cache
def keep_freed_memory() -> None:
    """
    Have the C library hold on to up to 32 MiB of freed memory instead of giving it back after every body.

    Each body of 1 MiB costs up to 256 page faults otherwise, a quarter of the CPU of a GET. glibc raises its
    own limits (mallopt(3), M_MMAP_THRESHOLD, "dynamic") when a mapped block is freed: one that nobody writes
    to does it without taking up memory. Limits the user has set stay, and other libraries take no notice.
    """
    bytes(LARGEST)
