"""The store's time, as a cache learns it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from greenlang_async_storage.artifacts._freshness import Lifetime, StoreTime

START = datetime(2026, 2, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Machine:
    """A computer with a clock that may be set, and one that only runs."""

    def __init__(self, wall: datetime) -> None:
        self.wall = wall
        self.ticks = 0.0
        self.time = StoreTime(lambda: self.wall, lambda: self.ticks)

    def wait(self, time: timedelta) -> None:
        """Both clocks run."""
        self.wall += time
        self.ticks += time.total_seconds()

    def reads(self, life: Lifetime) -> bool:
        """An entry is read, and judged."""
        self.time.saw(("somebody's",), life.stored)
        return self.time.fresh(life)


def lifetime(stored: datetime = START, writer_is_ahead: timedelta = timedelta()) -> Lifetime:
    """An entry that lives an hour."""
    return Lifetime(stored, stored + writer_is_ahead + HOUR, HOUR)


def test_an_entry_lives_as_long_as_it_was_given() -> None:
    """To the moment, with clocks that agree."""
    machine = Machine(START)
    assert machine.reads(lifetime())
    machine.wait(HOUR - timedelta(microseconds=1))
    assert machine.reads(lifetime())
    machine.wait(timedelta(microseconds=1))
    assert not machine.reads(lifetime())


def test_a_clock_set_back_revives_nothing() -> None:
    """Neither what had expired nor what would have meanwhile."""
    machine = Machine(START)
    machine.wait(2 * HOUR)
    assert not machine.reads(lifetime())
    machine.wall -= 24 * HOUR
    assert not machine.reads(lifetime())
    later = lifetime(START + 2 * HOUR)
    assert machine.reads(later)
    machine.wait(HOUR)
    assert not machine.reads(later)


def test_a_clock_that_is_behind_is_corrected_by_what_the_store_dates() -> None:
    """The newest entry shows that it is later than the clock says."""
    machine = Machine(START - 24 * HOUR)
    assert machine.reads(lifetime())
    assert machine.reads(lifetime(START + HOUR))
    assert not machine.time.fresh(lifetime())


def test_a_writer_that_is_ahead_does_not_lengthen_life() -> None:
    """What counts is the length of life and the store's date."""
    machine = Machine(START)
    ahead = lifetime(writer_is_ahead=24 * HOUR)
    assert machine.reads(ahead)
    machine.wait(HOUR)
    assert not machine.reads(ahead)


def test_an_entry_of_its_own_tells_a_machine_how_wrong_it_is() -> None:
    """A clock a year ahead: its own entries and those of others live their hour, by the store's time."""
    machine = Machine(START + timedelta(days=365))
    machine.time.wrote(("mine",))
    assert machine.time.saw(("mine",), START) == timedelta(days=-365)
    assert machine.time.saw(("mine",), START) is None
    own = lifetime(writer_is_ahead=timedelta(days=365))
    assert machine.time.fresh(own)
    machine.wait(HOUR)
    assert not machine.time.fresh(own)
    assert machine.time.now() == START + HOUR
