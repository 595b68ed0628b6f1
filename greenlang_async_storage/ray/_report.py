"""What a distributed batch tells: a hook for each outcome, and a report at the end."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import structlog

from greenlang_async_storage import Outcome, Progress, ProgressHook

log = structlog.get_logger("greenlang_async_storage")

T = TypeVar("T")

OutcomeHook: TypeAlias = Callable[[Outcome[T]], Awaitable[None] | None]
"""Called on the driver with each outcome, as manifests finish; an exception in it ends the batch."""


@dataclass(frozen=True, slots=True)
class DistributedReport(Generic[T]):
    """The sum of a distributed batch. Successes are counted; take them one by one with *on_outcome*."""

    succeeded: int
    failed: Sequence[Outcome[T]]
    """In no order; their `index` is the position in the input."""
    bytes: int
    seconds: float
    processes: int
    """Worker processes that took part: more than the actors asked for when some were replaced."""

    def raise_for_errors(self) -> None:
        """Raise the input's first failure, with a note that counts the others; return when there is none."""
        if not self.failed:
            return
        first, *others = sorted(self.failed, key=lambda outcome: outcome.index)
        assert first.error is not None  # noqa: S101  # `failed` holds only outcomes with an error
        if others:
            keys = ", ".join(repr(outcome.key) for outcome in others[:3])
            first.error.add_note(
                f"{len(others)} more failed, among them {keys}; see DistributedReport.failed"
            )
        raise first.error


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """One manifest as a worker did it."""

    outcomes: Sequence[Outcome[T]]
    bytes: int
    process: str


class Tally(Generic[T]):
    """Adds up what workers report; memory grows with the failures alone."""

    def __init__(self, on_outcome: OutcomeHook[T] | None, on_progress: ProgressHook | None) -> None:
        self._on_outcome = on_outcome
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._succeeded = 0
        self._failed: list[Outcome[T]] = []
        self._bytes = 0
        self._processes: set[str] = set()
        self._hook_failed = False

    async def add(self, finished: Finished[T]) -> None:
        """Count a manifest, and tell the hooks."""
        self._bytes += finished.bytes
        self._processes.add(finished.process)
        for outcome in finished.outcomes:
            if outcome.ok:
                self._succeeded += 1
            else:
                self._failed.append(outcome)
            if self._on_outcome is not None:
                told = self._on_outcome(outcome)
                if inspect.isawaitable(told):
                    await told
        await self._tell_progress()

    async def _tell_progress(self) -> None:
        if self._on_progress is None:
            return
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = self._succeeded + len(self._failed)
        try:
            told = self._on_progress(Progress(self._bytes, None, self._bytes / seconds, items_done=done))
            if inspect.isawaitable(told):
                await told
        except Exception:
            # As everywhere in the SDK: a broken progress bar does not end the work it shows.
            if not self._hook_failed:
                log.exception("storage.progress_hook_failed")
            self._hook_failed = True

    def report(self) -> DistributedReport[T]:
        """The sum so far."""
        seconds = time.monotonic() - self._began
        return DistributedReport(
            self._succeeded, tuple(self._failed), self._bytes, seconds, len(self._processes - {""})
        )
