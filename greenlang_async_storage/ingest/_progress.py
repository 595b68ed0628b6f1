"""Counts of a phase, told to the user's hook beside the work, at a bounded pace."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from ._types import IngestHook, IngestProgress, Phase

INTERVAL: Final = 0.1
"""Seconds between two calls of the hook, at least."""
LAST_CALL: Final = 5.0
"""Seconds an async hook may take for the last event."""

_log = logging.getLogger("greenlang_async_storage.ingest")


class Reporter:
    """
    Counts items and bytes; `async with` around the work tells the hook.

    At most every `INTERVAL`, and once when the work has ended well. An async hook is awaited beside the work
    and holds up only its own next call.
    """

    def __init__(
        self,
        hook: IngestHook | None,
        phase: Phase,
        *,
        items_total: int | None = None,
        bytes_total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed = 0
        self.bytes = 0
        self.items = 0
        self.concurrency: Callable[[], int | None] = lambda: None
        self._hook = hook
        self._phase = phase
        self._totals = items_total, bytes_total
        self._clock = clock
        self._started = clock()
        self._told: tuple[int, int, int] | None = None
        self._complained = False
        self._telling: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._started

    def add(self, count: int, *, items: int = 0) -> None:
        """Count bytes, and items that are through; a negative *count* takes back bytes."""
        self.bytes += count
        self.items += items

    def fail(self) -> None:
        """Count a failure."""
        self.failed += 1

    async def __aenter__(self) -> Self:
        if self._hook is not None:
            self._telling = asyncio.create_task(self._keep_telling(), name="ingest-progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        telling, self._telling = self._telling, None
        if telling is None:
            return
        telling.cancel()
        await asyncio.wait([telling])
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALL):
                    await self._tell(last=True)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._tell()

    async def _tell(self, *, last: bool = False) -> None:
        state = self.items, self.bytes, self.failed
        if self._hook is None or (state == self._told and not last):
            return
        self._told = state
        elapsed = self.seconds
        event = IngestProgress(
            self._phase,
            self.items,
            self._totals[0],
            self.bytes,
            self._totals[1],
            self.bytes / elapsed if elapsed > 0 else 0.0,
            self.failed,
            self.concurrency(),
        )
        try:
            answer = self._hook(event)
            if inspect.isawaitable(answer):
                await answer
        except Exception as exc:  # noqa: BLE001  # a hook must not harm the work
            if not self._complained:
                self._complained = True
                _log.warning("the progress hook failed: %r", exc)
