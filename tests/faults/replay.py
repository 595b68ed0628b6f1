"""
`python -m tests.faults.replay DOOR SEED|SCHEDULE`: one life again, its trace, and what it broke.

DOOR is `t0` (a fake client in virtual time), `t1` (an S3 in memory, in virtual time) or `t1-served` (the same
through a proxy, sockets and the fast path). A number is the seed of a life with its own faults; JSON is a
schedule as a failure printed it, on the life of its seed. Exit code 1 when a promise was broken.
"""

# ruff: noqa: T201  # the trace is what this prints

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace

from greenlang_async_storage.testing import Schedule
from tests.faults import _memory_lives, _simulated
from tests.faults._life import Plan
from tests.faults._worlds import memory_plan


def life_of(door: str, what: str) -> Plan:
    """The life that *what*, a seed or a schedule, stands for. ValueError for neither."""
    schedule = None if what.isdecimal() else Schedule.from_json(what)
    seed = int(what) if schedule is None else schedule.seed
    life = _simulated.plan_for(seed) if door == "t0" else memory_plan(seed, waits=door == "t1")
    return life if schedule is None else replace(life, schedule=schedule)


def main(given: Sequence[str] | None = None) -> int:
    """0 when every promise was kept, 1 when one was broken, 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.replay", description=__doc__)
    parser.add_argument("door", choices=("t0", "t1", "t1-served"))
    parser.add_argument("what", metavar="SEED|SCHEDULE")
    told = parser.parse_args(given)
    try:
        life = life_of(told.door, told.what)
    except ValueError as error:
        parser.error(str(error))
    print(life.schedule.to_json())
    try:
        if told.door == "t0":
            trace = _simulated.run_one(life)
        else:
            trace = _memory_lives.run_one(life, served=told.door == "t1-served")
    except Exception:  # noqa: BLE001  # whatever it is, it is what was looked for
        traceback.print_exc(file=sys.stdout)
        return 1
    print("\n".join(trace))
    return 0


if __name__ == "__main__":
    sys.exit(main())
