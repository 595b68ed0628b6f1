"""One load for everybody who asks while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from ._groups import wait_through_cancels

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[V]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[K, V]):
    """Shares each load among those who ask while it runs; keeps neither results nor failures after it."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def load(self, key: K, loader: Callable[[], Awaitable[V]]) -> V:
        """
        What *loader* gives for *key*, from the load under way if there is one.

        A cancelled caller leaves the load to the others; the last one to leave cancels it and waits for its
        end.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(_call(loader), name="storage-load"))
            flight.task.add_done_callback(partial(self._forget, key, flight))
        flight.waiters += 1
        try:
            await asyncio.wait([flight.task])
        except asyncio.CancelledError:
            if flight.waiters == 1:
                self._forget(key, flight, flight.task)
                flight.task.cancel()
                await wait_through_cancels(flight.task)
                if not flight.task.cancelled():
                    flight.task.exception()
            raise
        finally:
            flight.waiters -= 1
        try:
            return flight.task.result()
        finally:
            del flight  # held here, a failure would hold itself, and all its frames hold, alive

    def _forget(self, key: K, flight: _Flight[V], _task: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _call(loader: Callable[[], Awaitable[V]]) -> V:
    return await loader()
