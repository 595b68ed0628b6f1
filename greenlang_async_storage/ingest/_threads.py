"""Threads and workers of a plan: one thread for what must happen in order, a bounded crew for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn, TypeVar

import anyio

T = TypeVar("T")


class SerialThread:
    """Runs functions in one thread of its own, in the order they were given; one event loop."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closed = False

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """
        The result of `function(*arguments)`.

        A cancel of the caller is raised at once; the function still runs, before whatever is given next.
        """
        if self._closed:
            raise RuntimeError("the plan is closed; make a new one")
        waiting = asyncio.wrap_future(self._executor.submit(function, *arguments))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Run it too, without anybody waiting."""
        self._executor.submit(function, *arguments)

    async def aclose(self, last: Callable[[], object]) -> None:
        """Run *last* behind everything given so far and end the thread; cancels are raised after that."""
        self._closed = True
        waiting = asyncio.wrap_future(self._executor.submit(last))
        self._executor.shutdown(wait=False)
        cancelled = False
        with anyio.CancelScope(shield=True):
            while not waiting.done():
                try:
                    await asyncio.wait([waiting])
                except asyncio.CancelledError:
                    cancelled = True
        waiting.result()
        if cancelled:
            raise asyncio.CancelledError


async def through_cancels(work: Coroutine[object, object, None], *, timeout: float = 10.0) -> None:
    """Do *work* to its end, *timeout* seconds at most, whoever cancels the caller; then that is raised."""
    task = asyncio.create_task(_within(work, timeout), name="ingest-clean-up")
    cancelled = False
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _within(work: Coroutine[object, object, None], timeout: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await work


async def run_crew(width: int, worker: Callable[[], Coroutine[object, object, None]]) -> None:
    """*width* tasks of *worker*, all ended on return; the first failure ends the others and is raised."""
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        async with anyio.create_task_group() as group:
            for _ in range(width):
                group.start_soon(worker)
    except BaseExceptionGroup as failures:
        _raise_first(failures, cancelled=task is not None and task.cancelling() > cancels)


def was_cancelled() -> bool:
    """Whether somebody cancelled the task that runs; a CancelledError without that came from inside."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _raise_first(failures: BaseExceptionGroup[BaseException], *, cancelled: bool) -> NoReturn:
    """Raise one failure as it was, not the group around it; a cancel of the caller goes first."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if cancelled:
        raise asyncio.CancelledError from first
    # With its own cause, and without the group as its context.
    raise first from first.__cause__
