"""Lives at T1, many of them in one process: the same in whatever order, and as often, as they are played."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.faults._life import Plan
from tests.faults._played import MOST_SHRUNK, Played, smallest, told
from tests.faults._simulated import MOST_TURNS
from tests.faults._worlds import Door, behaviour_of, memory_door, memory_plan
from tests.support import leaks
from tests.support.virtual_time import VirtualTimeLoop

Watch = Callable[[Plan, Door, list[str]], None]


@asynccontextmanager
async def doors(*, served: bool, one_by_one: bool = False) -> AsyncIterator[Callable[[Plan], Door]]:
    """Gives the door of a life; afterwards no socket is open."""
    sockets = leaks.open_sockets()
    with tempfile.TemporaryDirectory(prefix="lives-") as made:
        async with AsyncExitStack() as stack:
            opened = {
                name: await stack.enter_async_context(
                    memory_door(name, Path(made), served=served, one_by_one=one_by_one)
                )
                for name in ("aws", "minio", "moto")
            }
            yield lambda life: opened[behaviour_of(life.seed)]
    left = leaks.new_sockets(sockets)
    if left:
        raise AssertionError(f"sockets left: {left}")


def play_all(
    lives: Iterable[Plan], *, served: bool, watch: Watch, one_by_one: bool = False
) -> list[tuple[Plan, Exception]]:
    """
    Play *lives* in order; *watch* sees each that kept its promises. Those that did not, with why.

    After a life that failed everything is opened anew.
    """
    left = list(lives)
    failed: list[tuple[Plan, Exception]] = []
    while left:
        position = [0]
        with asyncio.Runner(loop_factory=None if served else VirtualTimeLoop) as runner:
            try:
                runner.run(_stretch(left, position, watch, served=served, one_by_one=one_by_one))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
                failed.append((left[min(position[0], len(left) - 1)], error))
                position[0] += 1
            if isinstance(loop := runner.get_loop(), VirtualTimeLoop):
                loop.most_turns = loop.turns + MOST_TURNS
        left = left[position[0] :]
    return failed


async def _stretch(
    lives: list[Plan], position: list[int], watch: Watch, *, served: bool, one_by_one: bool
) -> None:
    loop = asyncio.get_running_loop()
    trouble: list[str] = []
    loop.set_exception_handler(lambda _loop, context: trouble.append(str(context)))
    async with doors(served=served, one_by_one=one_by_one) as door_of:
        for life in lives:
            if isinstance(loop, VirtualTimeLoop):
                loop.most_turns = loop.turns + MOST_TURNS
            door = door_of(life)
            trace = await door.play(life)
            if trouble:
                raise AssertionError(f"nobody could catch: {trouble}")
            watch(life, door, trace)
            position[0] += 1


def run_one(life: Plan, *, served: bool) -> list[str]:
    """The trace of one life behind a fresh door. Raises what was broken."""
    traces: list[list[str]] = []
    failed = play_all([life], served=served, watch=lambda _life, _door, trace: traces.append(trace))
    for _, error in failed:
        raise error
    return traces[0]


def breaks(life: Plan, *, served: bool) -> bool:
    """Whether one life breaks a promise."""
    try:
        run_one(life, served=served)
    except Exception:  # noqa: BLE001  # whatever it is, it is what we look for
        return True
    return False


def play_direct(start: int, stop: int) -> Played:
    """The lives of the seeds from *start* to *stop* behind the HTTP session, in virtual time."""
    return _play(start, stop, served=False)


def play_served(start: int, stop: int) -> Played:
    """The same through a proxy and sockets, with the fast path."""
    return _play(start, stop, served=True)


def _play(start: int, stop: int, *, served: bool) -> Played:
    found = Played(schedules=stop - start)

    def count(_life: Plan, door: Door, _trace: list[str]) -> None:
        found.requests += len(door.faults.requests)
        found.faults += sum(len(sent.faults) for sent in door.faults.requests)

    lives = [memory_plan(seed, waits=not served) for seed in range(start, stop)]
    for index, (life, error) in enumerate(play_all(lives, served=served, watch=count)):
        least = smallest(life, lambda one: breaks(one, served=served)) if index < MOST_SHRUNK else None
        found.failures.append(told(life, error, least))
    return found
