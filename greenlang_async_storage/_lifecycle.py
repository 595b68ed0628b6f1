"""What a session may still do (open, draining, closed), where it belongs, and what is in flight."""

from __future__ import annotations

import asyncio
import math
import os
from contextvars import Token
from types import TracebackType
from typing import Final, Literal, Protocol, TypeAlias

from ._deadline import CallDeadline, Deadlines, Scope, ScopeEndedError, call_deadline
from ._errors import (
    S3Error,
    S3InvalidRequestError,
    S3SessionClosedError,
    S3TimeoutError,
    S3WrongLoopError,
    WriteOutcome,
    is_write,
)
from ._log import log

Phase: TypeAlias = Literal["open", "draining", "closed"]


class Closable(Protocol):
    """Something held open between calls, such as a body."""

    def close(self) -> None: ...


class Lifecycle:
    """Bound to the loop and process it is made in; knows every public call and open body of the session."""

    __slots__ = ("_held", "_idle", "_pid", "_scopes", "deadlines", "loop", "phase")

    def __init__(self) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.deadlines: Final = Deadlines(self.loop)
        self.phase: Phase = "open"
        self._pid = os.getpid()
        self._scopes: set[CallScope] = set()
        self._held: set[Closable] = set()
        self._idle: asyncio.Event | None = None

    def require_usable(self) -> None:
        """Raise in another event loop, outside one, and after a fork."""
        try:
            # No loop runs on in the child of a fork: asyncio asks for the process itself.
            if asyncio.get_running_loop() is self.loop:
                return
        except RuntimeError as exc:
            if self._pid == os.getpid():
                raise S3WrongLoopError("called outside a running event loop") from exc
        if self._pid != os.getpid():
            raise S3WrongLoopError(
                f"opened in process {self._pid}, used after a fork in process {os.getpid()}"
            )
        raise S3WrongLoopError("opened in another event loop than the one running now")

    def require_open(self) -> None:
        """Raise where a new public call would be refused."""
        self.require_usable()
        if self.phase != "open":
            raise S3SessionClosedError(
                "the session is closed" if self.phase == "closed" else "the session is closing"
            )

    def require_not_closed(self) -> None:
        """Raise once nothing may be sent any more; calls in flight may go on while the session drains."""
        self.require_usable()
        if self.phase == "closed":
            raise S3SessionClosedError("the session is closed")

    def enter(self, scope: CallScope) -> None:
        """Count a public call as in flight."""
        self._scopes.add(scope)

    def leave(self, scope: CallScope) -> None:
        """The call ended."""
        self._scopes.discard(scope)
        self._notice_idle()

    def hold(self, held: Closable) -> None:
        """Count something held open as in flight."""
        self._held.add(held)

    def drop(self, held: Closable) -> None:
        """It was closed."""
        self._held.discard(held)
        self._notice_idle()

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait *seconds* for those in flight."""
        if self.phase == "open":
            self.phase = "draining"
        await self._idle_within(seconds)

    async def end(self, seconds: float) -> None:
        """End what is in flight, and wait *seconds* for what it cleans up; that may still send requests."""
        if self._scopes or self._held:
            log.warning("storage.calls_cancelled", calls=len(self._scopes), bodies=len(self._held))
            self._end_all()
            await self._idle_within(seconds)

    def close(self) -> None:
        """From here on nothing may be sent. Idempotent."""
        self._end_all()
        self.deadlines.rest()
        self.phase = "closed"

    async def _idle_within(self, seconds: float) -> bool:
        if not (self._scopes or self._held):
            return True
        self._idle = self._idle or asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _end_all(self) -> None:
        for scope in list(self._scopes):
            scope.end()
        for held in list(self._held):
            held.close()

    def _notice_idle(self) -> None:
        if self._idle is not None and not self._scopes and not self._held:
            self._idle.set()


class CallScope(Scope):
    """
    One public call: registered while it runs, ended at its deadline or by a closing session.

    A *part* of a call that began earlier may still begin while the session drains.
    """

    __slots__ = (
        "_bucket",
        "_deadline",
        "_key",
        "_lifecycle",
        "_operation",
        "_part",
        "_timeout",
        "_token",
    )

    def __init__(
        self,
        lifecycle: Lifecycle,
        timeout: float | None,
        operation: str,
        bucket: str | None,
        key: str | None,
        *,
        part: bool = False,
    ) -> None:
        if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
            raise S3InvalidRequestError(
                f"timeout={timeout!r} is not a positive number of seconds",
                operation=operation,
                bucket=bucket,
                key=key,
                remedy="Pass seconds above 0, or leave timeout= out.",
            )
        super().__init__()
        self._lifecycle = lifecycle
        self._timeout = timeout
        self._part = part
        self._operation = operation
        self._bucket = bucket
        self._key = key
        self._token: Token[CallDeadline | None] | None = None
        self._deadline: CallDeadline | None = None

    def __enter__(self) -> None:
        lifecycle = self._lifecycle
        if self._part:
            lifecycle.require_not_closed()
        else:
            lifecycle.require_open()
        if self._timeout is not None:
            self.when = lifecycle.loop.time() + self._timeout
            self._deadlines = lifecycle.deadlines
            self._deadline = CallDeadline(self.when)
            self._token = call_deadline.set(self._deadline)
        super().__enter__()
        lifecycle.enter(self)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lifecycle.leave(self)
        if isinstance(exc, S3Error) and exc.operation is None:
            # Arguments are checked, and tasks watched, by functions that do not know which call they serve.
            exc.operation = self._operation
            exc.bucket = exc.bucket or self._bucket
            exc.key = exc.key or self._key
        if self._token is not None:
            call_deadline.reset(self._token)
        if self._deadline is not None:
            self._deadline.ends = None
        try:
            super().__exit__(exc_type, exc, traceback)
        except ScopeEndedError as ended:
            raise self._failure(ended) from exc

    def _failure(self, ended: ScopeEndedError) -> S3SessionClosedError | S3TimeoutError:
        outcome: WriteOutcome = "unknown" if is_write(self._operation) else "not_applied"
        if ended.reason == "closed":
            return S3SessionClosedError(
                "the session was closed while the call ran",
                operation=self._operation,
                bucket=self._bucket,
                key=self._key,
                outcome=outcome,
            )
        return S3TimeoutError(
            f"not done within timeout={self._timeout:g} s",
            operation=self._operation,
            bucket=self._bucket,
            key=self._key,
            code="RequestTimeout",
            retryable=True,
            outcome=outcome,
        )
