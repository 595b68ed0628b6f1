"""Task groups whose single failure is the failure, and waiting that a cancel does not end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import Context
from typing import Any, NoReturn, TypeVar

from greenlang_async_storage._errors import S3Error

T = TypeVar("T")


class TaskGroup(asyncio.TaskGroup):
    """
    An `asyncio.TaskGroup` that can be waited for inside its block, and that a task cancelled alone fails.

    asyncio takes such a task for done: an upload would be completed without the part it was sending.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ending = False
        """Whether the group ends its tasks: one of them, or its block, has failed."""
        self._running: set[asyncio.Task[Any]] = set()
        self._owner = asyncio.current_task()
        self._cancels = self._owner.cancelling() if self._owner else 0

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start *coro*; its failure cancels the block and the other tasks."""
        task = super().create_task(coro, name=name, context=context)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            self.ending = self.ending or task.exception() is not None
        elif not (self.ending or self._owner_cancelled()):
            # Somebody cancelled this one, or shut down the threads it waited for. A task can fail the group.
            self.create_task(_fail(task.get_name()))

    def _owner_cancelled(self) -> bool:
        return self._owner is not None and self._owner.cancelling() > self._cancels

    async def wait(self) -> None:
        """Return when no task is left."""
        while self._running:
            await asyncio.wait(self._running)


async def _fail(name: str) -> NoReturn:
    raise S3Error(
        f"the work of {name} was cancelled from outside, alone of all that belongs to the call",
        remedy="Cancel the call itself, and keep the loop's default executor until the session is closed.",
    )


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """
    A `TaskGroup` whose block ends with its last task, and that raises the failure itself, not a group
    around it.

    The block's own failure goes first, else the first task's; a note counts the others. A cancel of the
    caller goes before both. KeyboardInterrupt and SystemExit come out bare.
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    block_failure: BaseException | None = None
    try:
        async with TaskGroup() as group:
            try:
                yield group
                # On Python 3.11 a failure while the group's own exit waits leaves a cancel counted on the
                # caller for ever.
                await group.wait()
            except BaseException as exc:
                group.ending = True
                block_failure = exc
                if task and not isinstance(exc, asyncio.CancelledError):
                    cancels = task.cancelling()
                raise
    except BaseExceptionGroup as failures:
        cancelled = task is not None and task.cancelling() > cancels
        _raise_single(failures, block_failure, cancelled=cancelled)
    finally:
        del block_failure  # held here, a failure would hold itself, and all its frames hold, alive


async def wait_through_cancels(future: asyncio.Future[T], *, timeout: float | None = None) -> bool:
    """
    Wait until *future* is done, or *timeout* seconds, however often the caller is cancelled meanwhile.

    Gives whether it was: then raise CancelledError when the wait is over. *future* itself is not cancelled,
    and its result is not looked at.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    cancelled = False
    with _anyio_shield():
        while not future.done():
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                break
            try:
                await asyncio.wait([future], timeout=left)
            except asyncio.CancelledError:
                cancelled = True
    return cancelled


def _anyio_shield() -> AbstractContextManager[object]:
    """
    Keep a cancelled anyio scope (Starlette's, say) from repeating its cancel at every turn of the loop.

    Where nobody imported anyio there is no such scope, and its import would hold up the loop.
    """
    if "anyio" not in sys.modules:
        return nullcontext()
    import anyio

    return anyio.CancelScope(shield=True)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found.extend(_leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    return found


def _raise_single(
    group: BaseExceptionGroup[BaseException], preferred: BaseException | None, *, cancelled: bool
) -> NoReturn:
    """Raise one of *group* as it was, with its own context instead of the group it was taken from."""
    leaves = _leaves(group)
    failure = next((leaf for leaf in leaves if leaf is preferred), leaves[0])
    if len(leaves) > 1:
        failure.add_note(f"{len(leaves) - 1} more of the tasks that ran beside it failed")
    context = failure.__context__
    try:
        if cancelled:
            # Python < 3.13 lets the failure win, and the cancel would be lost.
            raise asyncio.CancelledError from failure
        raise failure
    finally:
        failure.__context__ = context
        del group, preferred, leaves, failure, context
