"""Works cancelled at every await, in every way, in every weather; what was counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.faults._cancel_lab import WEATHER, Scene, Work
from tests.support.cancel import (
    Tally,
    Way,
    cancel_children_everywhere,
    cancel_twice_everywhere,
    strike_everywhere,
)

WAYS: Final[tuple[Way, ...]] = ("cancel", "timeout", "sibling")


async def cancelled(at: Scene, works: Mapping[str, Work], names: Sequence[str], tally: Tally) -> None:
    """Each of *names* in the scene's weather: once in each way, twice n by m."""
    for name in names:
        work = at.begin(works[name])
        try:
            for way in WAYS:
                await strike_everywhere(way, work, at.check, tally=tally)
            await cancel_twice_everywhere(work, at.check, tally=tally)
        except BaseException as error:
            error.add_note(f"{name}, weather {at.weather!r}, {at.door}")
            raise


async def children_cancelled(
    at: Scene, works: Mapping[str, Work], names: Sequence[str], tally: Tally
) -> None:
    """Each await of each task that *names* start."""
    for name in names:
        try:
            await cancel_children_everywhere(at.begin(works[name]), at.check, tally=tally)
        except BaseException as error:
            error.add_note(f"a child of {name}, weather {at.weather!r}, {at.door}")
            raise


async def in_all_weathers(
    at: Scene, works: Mapping[str, Work], tally: Tally, *, children: Sequence[str] = ()
) -> None:
    """All *works* in every weather on one client, the tasks of *children* too."""
    for weather in WEATHER:
        at.weather = weather
        await cancelled(at, works, list(works), tally)
        await children_cancelled(at, works, children, tally)
