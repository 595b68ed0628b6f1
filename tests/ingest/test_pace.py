"""Adaptive concurrency: halved when the store throttles, slowly more again, for each prefix."""

from __future__ import annotations

import itertools
import random

import pytest

from greenlang_async_storage.ingest._pace import ROUNDS, Pace, Ticket


def fill(pace: Pace, lane: int) -> list[Ticket]:
    """As many as the lane takes."""
    tickets = []
    while (ticket := pace.try_start(lane)) is not None:
        tickets.append(ticket)
    return tickets


def round_of(pace: Pace, lane: int, *, throttled: int = 0) -> int:
    """One full round of transfers; how many there were."""
    tickets = fill(pace, lane)
    for number, ticket in enumerate(tickets):
        pace.finish(ticket, throttled=number < throttled)
    return len(tickets)


def test_full_pace_without_throttling() -> None:
    """A store that never complains gets all that was asked for, and nothing is kept per lane."""
    pace = Pace(8)
    assert [round_of(pace, lane) for lane in (0, 1, 2)] == [8, 8, 8]
    assert not pace._lanes


def test_one_halving_for_a_round() -> None:
    """However many transfers under way were throttled, the limit is halved once."""
    pace = Pace(32)
    tickets = fill(pace, 1)
    for ticket in tickets:
        pace.finish(ticket, throttled=True)
    assert pace.limit(1) == 16
    assert pace.throttled == 1


def test_growth_is_additive() -> None:
    """Every few rounds without throttling add one, up to what was asked for."""
    pace = Pace(8)
    round_of(pace, 1, throttled=8)
    rounds = [round_of(pace, 1) for _ in range(ROUNDS * 5)]
    assert rounds.count(5) in (ROUNDS, ROUNDS + 1)
    assert rounds[0] == 4
    assert rounds == sorted(rounds)
    assert all(after - before <= 1 for before, after in itertools.pairwise(rounds))
    assert round_of(pace, 1) == 8


def test_never_below_one() -> None:
    """A store that throttles everything still gets one transfer at a time, so it is heard when it stops."""
    pace = Pace(4)
    for _ in range(10):
        round_of(pace, 1, throttled=4)
    assert pace.limit(1) == 1
    assert round_of(pace, 1) == 1


def test_lanes_are_independent() -> None:
    """Throttling of one prefix does not slow another down."""
    pace = Pace(16)
    round_of(pace, 1, throttled=1)
    assert pace.limit(1) < 16
    assert round_of(pace, 2) == 16
    assert pace.lowest() == pace.limit(1)


@pytest.mark.parametrize("capacity", [1, 3, 10, 25])
def test_settles_below_what_the_store_takes(capacity: int) -> None:
    """Against a store that throttles beyond *capacity* at a time, the limit ends up around it."""
    rng = random.Random(capacity)
    pace = Pace(32)
    running: list[tuple[Ticket, bool]] = []
    limits = []
    for _ in range(5000):
        while (ticket := pace.try_start(1)) is not None:
            running.append((ticket, len(running) >= capacity))
        ticket, throttled = running.pop(rng.randrange(len(running)))
        pace.finish(ticket, throttled=throttled)
        limits.append(pace.limit(1))
    settled = limits[1000:]
    assert max(settled) <= capacity + 2
    assert sum(settled) / len(settled) >= capacity / 2
