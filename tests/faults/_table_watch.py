"""Who watches while cases run: whose tasks are left, what nobody caught, how long the loop was held up."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet

TICK: Final = 0.01
HELD_UP: Final = 0.1
"""Seconds in all for which others had the processor, from which on a deadline may have been missed so."""


class Owner:
    """Whoever started tasks: those a case leaves running are found by it."""

    def __init__(self) -> None:
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    def left(self) -> list[str]:
        """Those that still run."""
        return sorted(repr(task) for task in self.tasks if not task.done())


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


def _owned(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    owner = OWNER.get()
    if owner is not None:
        owner.tasks.add(task)
    return task


class Watch:
    """What goes on in a loop beside the cases: exceptions nobody could catch, and how long it was held up."""

    def __init__(self) -> None:
        self.uncaught: list[str] = []
        self._held: deque[tuple[float, float]] = deque(maxlen=1000)

    async def tick(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            if (held := loop.time() - due) > TICK:
                self._held.append((loop.time(), held))

    def held_up(self, since: float) -> bool:
        """Whether the machine kept the loop waiting for so long that a deadline may have been missed."""
        return sum(held for when, held in self._held if when >= since) > HELD_UP


@contextmanager
def watched() -> Iterator[Watch]:
    """Tasks of this loop know who started them, and somebody looks at the clock."""
    watch = Watch()
    found = watch.uncaught
    loop = asyncio.get_running_loop()
    ticking = loop.create_task(watch.tick())
    factory, handler, hook = loop.get_task_factory(), loop.get_exception_handler(), sys.unraisablehook
    loop.set_task_factory(_owned)  # type: ignore[arg-type]  # typeshed wants a bare Future
    loop.set_exception_handler(lambda _loop, context: found.append(str(context)))
    sys.unraisablehook = lambda args: found.append(f"{args.exc_value!r} in {args.object!r}")
    try:
        yield watch
    finally:
        ticking.cancel()
        loop.set_task_factory(factory)
        loop.set_exception_handler(handler)
        sys.unraisablehook = hook
