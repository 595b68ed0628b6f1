"""Closing what somebody else made, on every exit, without hiding why the block was left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from ._log import log


@asynccontextmanager
async def closing_with(close: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """
    Await *close* on every exit.

    After a failure, what *close* raises becomes a note on that failure; after a cancel, which ends where
    nobody reads its notes, it is logged.
    """
    try:
        yield
    except BaseException as cause:
        try:
            await close()
        except Exception as exc:  # noqa: BLE001  # it must not hide the cause
            cause.add_note(f"closing it failed as well: {exc!r}")
            if isinstance(cause, asyncio.CancelledError):
                log.warning("storage.close_failed", error=repr(exc))
        raise
    await close()


def closing_generator(iterator: object) -> AbstractAsyncContextManager[None]:
    """Close *iterator* on exit if it is an async generator: its `finally` runs now, not when collected."""
    return closing_with(iterator.aclose) if isinstance(iterator, AsyncGenerator) else nullcontext()
