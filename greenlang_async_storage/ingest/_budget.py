"""Bytes of file content in memory, shared by all transfers of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

MIB: Final = 1024 * 1024
BUDGET: Final = 256 * MIB
LARGE: Final = 16 * MIB
"""From here on transfers go in parts (the default multipart threshold)."""
PARTS: Final = 4
"""Parts of one large transfer in flight."""
LARGE_WEIGHT: Final = 32 * MIB
"""What a large transfer holds: `PARTS` parts of the default 8 MiB."""


def weight(size: int) -> int:
    """Bytes that a transfer of *size* bytes holds at most, with the default part size and threshold."""
    return size if size < LARGE else max(LARGE_WEIGHT, PARTS * size // 10_000)


class ByteBudget:
    """At most *most* bytes given out at a time, in the order they were asked for; one may exceed it alone."""

    def __init__(self, most: int = BUDGET) -> None:
        self._most = most
        self._used = 0
        self._turn = anyio.Lock()
        self._freed = anyio.Event()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """*count* bytes for the block."""
        async with self._turn:
            while self._used and self._used + count > self._most:
                self._freed = anyio.Event()
                await self._freed.wait()
            self._used += count
        try:
            yield
        finally:
            self._used -= count
            self._freed.set()
