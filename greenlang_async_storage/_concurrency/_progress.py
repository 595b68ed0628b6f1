"""Byte counts turned into events for the user's progress hook."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from greenlang_async_storage._log import log
from greenlang_async_storage._types import Progress, ProgressHook

from ._groups import wait_through_cancels

SLOW_HOOK_SECONDS: Final = 0.01
"""A plain hook that takes longer holds up the loop, so it is called less often from then on."""
SLOW_HOOK_SHARE: Final = 0.1
"""At most this part of the time goes to a slow plain hook."""
LAST_EVENT_SECONDS: Final = 5.0
"""How long an async hook may take, at the end, to return from its last events."""


class ProgressReporter:
    """
    Counts bytes and items, and tells the hook; `async with` around the transfer, one event loop.

    A plain hook is called at once, on the loop; a slow one less often. An async hook runs beside the
    transfer, one call at a time and in order; what happens during a call is told together in the next. The
    transfer waits for it only at the end, at most `LAST_EVENT_SECONDS`. `done` never goes back, except to 0
    by a `restart` with another total; the last event of a transfer that succeeded has `done == total`. What
    the hook raises is logged once and ignored.
    """

    def __init__(
        self,
        hook: ProgressHook | None,
        *,
        total: int | None = None,
        items_total: int | None = None,
        key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hook = hook
        self._total = total
        self._items_total = items_total
        self._key = key
        self._clock = clock
        self._started = clock()
        self._done = 0
        self._shown = 0
        self._items = 0
        self._last: tuple[int, int | None, int] | None = None
        self._not_before = self._started
        self._call: asyncio.Task[None] | None = None
        self._behind = False
        self._complained = False

    @property
    def done(self) -> int:
        """Bytes counted so far."""
        return self._done

    def add(self, count: int, *, items: int = 0) -> None:
        """Count bytes, and finished items; a negative *count* takes back bytes that have to be sent again."""
        self._done += count
        self._items += items
        if self._hook is not None:
            self._tell()

    def restart(self, total: int | None) -> None:
        """Begin again at no bytes, of *total*: what was being transferred may have become something else."""
        if total != self._total:
            self._total, self._shown = total, 0
        self.add(-self._done)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is None:
            return
        if kind is None:
            self._total = self._shown = self._done
            if self._items_total is not None:
                self._items_total = self._items
            self._not_before = self._clock()
            self._tell()
        await self._end_call(LAST_EVENT_SECONDS if kind is None else 0)

    async def _end_call(self, patience: float) -> None:
        if self._call is None:
            return
        try:
            await asyncio.wait([self._call], timeout=patience)
        finally:
            if not self._call.done():
                self._call.cancel()
                if patience:
                    self._complain(f"its last call took longer than {patience:g} s")
            if await wait_through_cancels(self._call, timeout=LAST_EVENT_SECONDS):
                raise asyncio.CancelledError

    def _tell(self) -> None:
        """Start telling the hook where things stand, or leave it to the call under way."""
        now = self._clock()
        if self._call is not None and not self._call.done():
            self._behind = True
        elif now >= self._not_before:
            answer = self._call_hook(now)
            if answer is not None:
                self._call = asyncio.create_task(self._follow(answer), name="storage-progress")
            elif (took := self._clock() - now) > SLOW_HOOK_SECONDS:
                self._not_before = now + took / SLOW_HOOK_SHARE

    async def _follow(self, answer: Awaitable[None] | None) -> None:
        while answer is not None:
            try:
                await answer
            except Exception as exc:  # noqa: BLE001  # a hook must not harm the transfer
                self._complain(repr(exc))
            answer = self._call_hook(self._clock()) if self._behind else None

    def _call_hook(self, now: float) -> Awaitable[None] | None:
        """Tell the hook, unless it knows; what has to be awaited for it to be done."""
        self._behind = False
        self._shown = max(self._shown, self._done)
        state = (self._shown, self._total, self._items)
        if state == self._last or self._hook is None:
            return None
        self._last = state
        elapsed = now - self._started
        rate = self._shown / elapsed if elapsed > 0 else 0.0
        event = Progress(self._shown, self._total, rate, self._items, self._items_total, self._key)
        try:
            answer = self._hook(event)
        except Exception as exc:  # noqa: BLE001  # a hook must not harm the transfer
            self._complain(repr(exc))
            return None
        return answer if inspect.isawaitable(answer) else None

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning("storage.progress_hook_failed", key=self._key, error=why)
