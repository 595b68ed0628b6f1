"""One timer per request: a scope that ends its block at a deadline, or when the session closes."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, Self, TypeAlias

Reason: TypeAlias = Literal["deadline", "closed"]


class ScopeEndedError(Exception):
    """The block was ended from outside; `reason` says why. Never leaves the connection layer."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Scope:
    """
    Ends the task's block at *when* (loop time; `None`: never) or by `end()`, as `ScopeEndedError`.

    `asyncio.timeout` does the same at about twice the cost and cannot tell a deadline from a closing session.
    A cancel from elsewhere always wins and passes through unchanged.
    """

    __slots__ = ("_cancelling", "_ended", "_handle", "_task", "_when")

    def __init__(self, when: float | None = None) -> None:
        self._when = when
        self._ended: Reason | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("storage calls need a running asyncio task")
        self._task = task
        self._cancelling = task.cancelling()
        if self._when is not None:
            self._handle = task.get_loop().call_at(self._when, self.end, "deadline")
        return self

    def end(self, reason: Reason = "closed") -> None:
        """End the block now, from the loop's thread; the first reason counts."""
        if self._ended is None and self._task is not None:
            self._ended = reason
            self._task.cancel()

    def reschedule(self, when: float | None) -> None:
        """Move the deadline; `None` takes it away."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if when is not None and self._task is not None:
            self._handle = self._task.get_loop().call_at(when, self.end, "deadline")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
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
