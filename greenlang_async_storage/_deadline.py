"""Scopes that end their block at a deadline, or when the session closes; one timer serves all of them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Literal, TypeAlias

Reason: TypeAlias = Literal["deadline", "closed"]
NEVER: Final = float("inf")


class ScopeEndedError(Exception):
    """The block was ended from outside; `reason` says why. Never leaves the connection layer."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Deadlines:
    """
    Ends the scopes of one event loop when their time has come, all by one timer.

    A timer for each would cost a request more than the rest of its scope: asyncio sorts its timers in Python.
    The timer is set for the earliest deadline it was ever told of; what has ended by then is passed over.
    """

    __slots__ = ("_loop", "_scopes", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._scopes: set[Scope] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER

    def add(self, scope: Scope) -> None:
        """End *scope* at its deadline."""
        self._scopes.add(scope)
        if scope.when < self._timer_at:
            self._arm(scope.when)

    def discard(self, scope: Scope) -> None:
        """*scope* ended by itself."""
        self._scopes.discard(scope)

    def rest(self) -> None:
        """Leave no timer behind, unless a scope still needs it."""
        if not self._scopes:
            self._disarm()

    def _arm(self, when: float) -> None:
        self._disarm()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = NEVER

    def _on_timer(self) -> None:
        # A loop may call a little early: what the timer was set for is due by definition.
        now = max(self._loop.time(), self._timer_at)
        self._timer, self._timer_at = None, NEVER
        for scope in [scope for scope in self._scopes if scope.when <= now]:
            self._scopes.discard(scope)
            scope.end("deadline")
        if self._scopes:
            self._arm(min(scope.when for scope in self._scopes))


class Scope:
    """
    Ends the task's block at *when* (loop time, kept by *deadlines*) or by `end()`, as `ScopeEndedError`.

    `asyncio.timeout` does the same at several times the cost and cannot tell a deadline from a closing
    session. A cancel from elsewhere always wins and passes through unchanged.
    """

    __slots__ = ("_cancelling", "_deadlines", "_ended", "_task", "when")

    def __init__(self, deadlines: Deadlines | None = None, when: float = NEVER) -> None:
        self.when = when
        self._deadlines = deadlines
        self._ended: Reason | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("storage calls need a running asyncio task")
        self._task = task
        self._cancelling = task.cancelling()
        if self._deadlines is not None:
            self._deadlines.add(self)

    def end(self, reason: Reason = "closed") -> None:
        """End the block now, from the loop's thread; the first reason counts."""
        if self._ended is None and self._task is not None:
            self._ended = reason
            self._task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._deadlines is not None:
            self._deadlines.discard(self)
        if self._ended is None or task is None:
            return
        if (
            task.uncancel() <= self._cancelling
            and exc_type is not None
            and issubclass(exc_type, asyncio.CancelledError)
        ):
            raise ScopeEndedError(self._ended) from exc


class CallDeadline:
    """Loop time by which a public call must end; `None` once it has, for tasks it started that go on."""

    __slots__ = ("ends",)

    def __init__(self, ends: float) -> None:
        self.ends: float | None = ends


call_deadline: ContextVar[CallDeadline | None] = ContextVar("greenlang_call_deadline", default=None)
"""Of the public call that is running now; inherited by the tasks it starts."""
