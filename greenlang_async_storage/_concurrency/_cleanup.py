"""Clean-up that neither a second cancel nor a failure of its own can spoil."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from greenlang_async_storage._log import log

from ._groups import wait_through_cancels

CANCEL_GRACE_SECONDS: Final = 1.0
"""What a clean-up that was cancelled at its deadline gets to end; after it, nobody waits for it any more."""


class CleanupTasks:
    """Runs clean-ups in tasks of their own, holds them strongly, and can wait for all of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[bool]] = set()

    @property
    def pending(self) -> int:
        """Clean-ups not ended yet."""
        return len(self._tasks)

    async def run(self, operation: str, action: Callable[[], Awaitable[object]], *, timeout: float) -> bool:
        """
        Whether *action* succeeded within *timeout* seconds; to be awaited where a failure or cancel is
        handled.

        Cancels of the caller do not reach *action*: they are raised as one CancelledError when it has
        ended. Its own failure is never raised; it is logged, and noted on the exception being handled.
        """
        cause = sys.exception()
        task = asyncio.create_task(_perform(operation, action, timeout, cause), name=f"clean-up {operation}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        cancelled = await wait_through_cancels(task, timeout=timeout + CANCEL_GRACE_SECONDS)
        if cancelled:
            raise asyncio.CancelledError
        return task.done() and not task.cancelled() and task.result()

    async def join(self, timeout: float) -> int:
        """Wait for every clean-up, *timeout* seconds at most, then cancel the rest; how many had to be."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCEL_GRACE_SECONDS)
        return len(late)


async def _perform(
    operation: str, action: Callable[[], Awaitable[object]], timeout: float, cause: BaseException | None
) -> bool:
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            await action()
    except asyncio.CancelledError:
        _report(operation, "it was cancelled", cause)
        raise
    except Exception as exc:  # noqa: BLE001  # it must not hide the cause
        _report(operation, f"not done within {timeout:g} s" if deadline.expired() else repr(exc), cause)
        return False
    return True


def _report(operation: str, why: str, cause: BaseException | None) -> None:
    log.warning("storage.cleanup_failed", operation=operation, error=why)
    if cause is not None:
        cause.add_note(f"clean-up {operation} failed as well: {why}")
