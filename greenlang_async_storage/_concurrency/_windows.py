"""Two small buffers that take turns: one is filled from a socket while a thread empties the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ._groups import wait_through_cancels

WINDOW: Final = 2 * 1024 * 1024
"""Bytes of one buffer: little enough for the cache, so much that a hop to a thread costs little beside it."""


class Windows:
    """
    At most two buffers, of *size* bytes together and of `WINDOW` each, and the work that empties one of them.

    For one task. `settle`, or `drop` after a failure, must have ended before what the work uses is closed.
    """

    def __init__(self, size: int) -> None:
        self.size: Final = max(1, size if size <= WINDOW else min(WINDOW, -(-size // 2)))
        """Bytes of each buffer; the second is made only for what does not fit into one."""
        self._buffers: list[memoryview] = []
        self._taken = 0
        self._busy: int | None = None
        self._work: asyncio.Future[None] | None = None

    def take(self) -> memoryview:
        """A buffer no work is done on, with anything in it."""
        self._taken = 1 if self._busy == 0 else 0
        if self._taken == len(self._buffers):
            # From the heap, where the next transfer finds it warm; a mapping would come in page by page.
            self._buffers.append(memoryview(bytearray(self.size)))
        return self._buffers[self._taken]

    async def empty(self, work: Callable[[], None]) -> None:
        """Begin *work* on the buffer taken last once the work before is done; raises what that raised."""
        await self.settle()
        self._busy = self._taken
        self._work = asyncio.get_running_loop().run_in_executor(None, work)

    async def settle(self) -> None:
        """Return when no work is under way; raises what it raised, and a cancel only after its end."""
        if self._work is None:
            return
        try:
            await asyncio.shield(self._work)
        except asyncio.CancelledError:
            await self.drop()
            raise
        finally:
            self._work = self._busy = None

    async def drop(self) -> None:
        """The same on the way out of a failure: what the work raised is of no interest then."""
        work = self._work
        if work is None:
            return
        cancelled = await wait_through_cancels(work)
        self._work = self._busy = None
        if not work.cancelled():
            work.exception()
        if cancelled:
            raise asyncio.CancelledError
