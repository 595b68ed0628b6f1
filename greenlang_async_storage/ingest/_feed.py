"""From the spool to the workers: the next action whose lane has room, a bounded number in memory."""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio

from ._pace import Pace, Ticket
from ._store import Planned, Store
from ._threads import SerialThread

OPEN_LANES: Final = 32
PAGE: Final = 128
"""Actions of a lane in memory; with `OPEN_LANES` some 4,000 in all."""


class _OpenLane:
    __slots__ = ("ended", "last", "number", "rows")

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: deque[Planned] = deque()
        self.last = -1
        self.ended = False


class Feed:
    """Hands each pending action out once, lanes in turn, so that a slow one does not hold up the others."""

    def __init__(self, thread: SerialThread, store: Store, pace: Pace) -> None:
        self._thread, self._store, self._pace = thread, store, pace
        self._open: deque[_OpenLane] = deque()
        self._next_lane: int | None = -1
        self._reading = anyio.Lock()
        self._changed = anyio.Event()

    async def next(self) -> tuple[Planned, Ticket] | None:
        """An action and the leave to do it; waits for room, and gives `None` when none is left."""
        while True:
            found = self._ready()
            if found is not None:
                return found
            if self._needs_reading():
                async with self._reading:
                    if self._needs_reading():
                        await self._read()
                continue
            if not self._open:
                return None
            await self._changed.wait()

    def finish(self, ticket: Ticket, *, throttled: bool) -> None:
        """The action that *ticket* was given for has ended."""
        self._pace.finish(ticket, throttled=throttled)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _ready(self) -> tuple[Planned, Ticket] | None:
        for _ in range(len(self._open)):
            lane = self._open[0]
            self._open.rotate(-1)
            if lane.rows and (ticket := self._pace.try_start(lane.number)) is not None:
                return lane.rows.popleft(), ticket
        return None

    def _needs_reading(self) -> bool:
        if any(not lane.rows for lane in self._open):
            return True
        return self._next_lane is not None and len(self._open) < OPEN_LANES

    async def _read(self) -> None:
        """Fill lanes that ran empty, drop those that ended, open the next."""
        for lane in list(self._open):
            if lane.rows:
                continue
            if not lane.ended:
                rows = await self._thread.call(self._store.pending, lane.number, lane.last, PAGE)
                lane.ended = len(rows) < PAGE
                if rows:
                    lane.last = rows[-1].seq
                    lane.rows.extend(rows)
                    continue
            self._open.remove(lane)
        if self._next_lane is not None and len(self._open) < OPEN_LANES:
            number = await self._thread.call(self._store.lane_after, self._next_lane)
            self._next_lane = number
            if number is not None:
                self._open.append(_OpenLane(number))
        self._wake()
