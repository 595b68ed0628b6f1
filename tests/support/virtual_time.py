"""An event loop whose clock jumps to the next timer when nothing else is left to do."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION: Final = 1e-6
"""Seconds by which two timers may differ and still be due together: sums of floats are not exact."""
THREAD_SECONDS: Final = 30.0
"""Real seconds a thread may take before it is taken to hang."""


class DeadlockError(RuntimeError):
    """Nothing can happen any more: no callback is ready, no timer set, no thread at work."""


class EndlessError(RuntimeError):
    """The loop went round more often than it was allowed to without coming to an end."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    Runs callbacks as asyncio does, and instead of waiting for a timer sets the clock to it.

    While work handed to `run_in_executor` (so `asyncio.to_thread` too) is under way the clock stands still,
    and the loop really waits for it: how long a thread takes changes nothing. Threads started otherwise are
    not known here; do not use them. Nor are sockets: nobody on the other side lives in this time.

    A wait that nothing can end raises `DeadlockError` out of `run_until_complete`. `turns` counts how often
    the loop went round; above `most_turns` it raises `EndlessError`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._in_threads = 0
        self.turns = 0
        self.most_turns: float = float("inf")
        super().__init__(_Jumping(self))
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        """Seconds of this loop's own time, from 0."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As asyncio's; the clock stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self) -> None:
        """As asyncio's, which waits for a thread of its own."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._in_threads -= 1

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def wait(self, timeout: float | None, real: selectors.BaseSelector) -> list[Any]:
        """What is ready now; else time passes, or a thread is waited for."""
        self.turns += 1
        if self.turns > self.most_turns:
            raise EndlessError(f"{self.turns} turns of the loop, at {self._now:.3f} s")
        if timeout is not None and timeout <= 0:
            return real.select(0) if self._in_threads else []
        if self._in_threads:
            found = real.select(THREAD_SECONDS)
            if not found:
                raise DeadlockError(f"a thread did not end within {THREAD_SECONDS:g} real seconds")
            return found
        if found := real.select(0):
            return found
        if timeout is None:
            raise DeadlockError(f"nothing can happen any more, at {self._now:.3f} s")
        self._now += timeout
        return []


class _Jumping(selectors.BaseSelector):
    """The loop's selector: asks the loop how to wait."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._loop.wait(timeout, self._real)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()


def run_virtual(
    work: Coroutine[Any, Any, T], *, context: contextvars.Context | None = None
) -> tuple[T, float]:
    """The result of *work* on a loop of its own, and how many seconds it took there."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        result = runner.run(work, context=context)
        return result, runner.get_loop().time()
