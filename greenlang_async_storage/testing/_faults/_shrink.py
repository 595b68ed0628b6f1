"""From a schedule that fails to a smallest one that still does: delta debugging on its entries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from greenlang_async_storage.testing._faults._schedule import Schedule


async def shrink(schedule: Schedule, fails: Callable[[Schedule], Awaitable[bool]]) -> Schedule:
    """
    A part of *schedule* of which no entry can be left out without *fails* becoming false.

    *fails* runs the test anew under the schedule it is given. Source: Zeller and Hildebrandt, "Simplifying
    and Isolating Failure-Inducing Input", algorithm ddmin.
    """
    entries = list(schedule.entries)
    pieces = 2
    while len(entries) >= 2:
        size = -(-len(entries) // pieces)
        for start in range(0, len(entries), size):
            rest = entries[:start] + entries[start + size :]
            if await fails(Schedule(tuple(rest), schedule.seed)):
                entries, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(entries), pieces * 2)
    return Schedule(tuple(entries), schedule.seed)
