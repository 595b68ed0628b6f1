"""One load for everybody who asks while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Shares a load among those who ask for its key while it runs; remembers nothing afterwards."""

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[asyncio.Task[V], list[int]]] = {}

    async def load(self, key: Hashable, loader: Callable[[], Coroutine[object, object, V]]) -> V:
        """
        What *loader* gives, called once for all who wait at the same time; its failure is everybody's.

        A cancelled caller leaves the load to the others; when the last one leaves, the load is cancelled and
        its end awaited.
        """
        found = self._running.get(key)
        if found is None:
            task = asyncio.create_task(loader(), name="artifact-load")
            found = self._running[key] = (task, [0])
            task.add_done_callback(lambda done: self._forget(key, done))
        task, waiting = found
        waiting[0] += 1
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            if waiting[0] == 1:
                self._forget(key, task)
                task.cancel()
                await ended(task)
            raise
        finally:
            waiting[0] -= 1
        return task.result()

    def _forget(self, key: Hashable, task: asyncio.Task[V]) -> None:
        found = self._running.get(key)
        if found is not None and found[0] is task:
            del self._running[key]


async def ended(task: asyncio.Future[V]) -> None:
    """Return when *task* is done, however often the caller is cancelled meanwhile; its failure is dropped."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:  # the caller raises its own cancel afterwards
            continue
    if not task.cancelled():
        task.exception()
