"""How old a cached entry is by the clock of the store, as far as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ._times import Clock

SUSPICIOUS: Final = timedelta(minutes=5)
"""A clock that is further off than this is worth a warning."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What an entry says of its own life."""

    stored: datetime
    """By the store's clock: Last-Modified."""
    expires_at: datetime
    """By its writer's clock."""
    length: timedelta
    """`expires-at` less `cached-at`: right even where the writer's clock is wrong."""


class StoreTime:
    """
    The store's time, learned from the objects it has stamped; never behind one of them, and never going back.

    Starts from this machine's clock. An entry written here and read back tells by how much that differs from
    the store's clock, to within a second and the time of the write.
    """

    def __init__(self, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._offset = timedelta()
        self._floor: tuple[datetime, float] | None = None
        self._written: tuple[tuple[str, ...], datetime, float] | None = None

    def wrote(self, mark: tuple[str, ...]) -> None:
        """An entry recognisable by *mark* was written just now."""
        self._written = (mark, self._clock(), self._monotonic())

    def saw(self, mark: tuple[str, ...], stored: datetime) -> timedelta | None:
        """Learn from Last-Modified of an entry; gives how far this clock is behind, if it told that."""
        learned = None
        if self._written is not None and self._written[0] == mark:
            _, clock, ticks = self._written
            learned = self._offset = stored - clock
            # What this clock has claimed is forgotten, but not the time that has passed since the write.
            self._written, self._floor = None, (stored, ticks)
        self._raise_floor(stored)
        return learned

    def now(self) -> datetime:
        """The store's time."""
        return self._raise_floor(self._clock() + self._offset)

    def fresh(self, life: Lifetime) -> bool:
        """Whether the entry lives by this clock and its `expires-at`, and by the store's and its length."""
        now = self.now()
        return self._clock() < life.expires_at and now < life.stored + life.length

    def _raise_floor(self, moment: datetime) -> datetime:
        now = self._monotonic()
        if self._floor is not None:
            known, then = self._floor
            moment = max(moment, known + timedelta(seconds=now - then))
        self._floor = (moment, now)
        return moment
