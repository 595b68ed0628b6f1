"""What became of the items of a command: counted, told one by one to machines, in one line to people."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeVar

import anyio

from greenlang_async_storage import StorageSession

from ._command import Command
from ._errors import ExitCode, common_code, facts_of
from ._format import count_text, seconds_text, size_text
from ._progress import Meter

T = TypeVar("T")
ERRORS_SHOWN = 20
"""Failures told one by one on a terminal; the rest are counted. `--json` tells all."""


class Tally:
    """Successes and failures of *action* ("upload"), and the exit code they come to."""

    def __init__(self, run: Command, action: str, past: str, noun: str = "object") -> None:
        self.count = 0
        self.bytes = 0
        self.codes: Counter[ExitCode] = Counter()
        self.meter: Meter | None = None
        self._run = run
        self._action = action
        self._past = past
        self._noun = noun
        self._started = time.monotonic()

    async def done(self, *, size: int | None = None, **facts: object) -> None:
        """One item worked."""
        self.count += 1
        self.bytes += size or 0
        if self.meter is not None:
            self.meter.item_done()
        await self._run.record({"action": self._action, "ok": True, **facts, "size": size})

    async def failed(self, error: BaseException, **facts: object) -> None:
        """One item did not; the others go on."""
        told = self.codes.total()
        if self._run.as_json:
            self.codes[ExitCode(int(str(facts_of(error)["exit_code"])))] += 1
            await self._run.record({"action": self._action, "ok": False, **facts, "error": facts_of(error)})
        elif told < ERRORS_SHOWN:
            self.codes[self._run.failed(error)] += 1
        else:
            self.codes[ExitCode(int(str(facts_of(error)["exit_code"])))] += 1

    async def finish(self, where: str = "") -> ExitCode:
        """Say how it went; the exit code of it all."""
        seconds = time.monotonic() - self._started
        failures = self.codes.total()
        text = f"{self._past} {count_text(self.count, self._noun)}"
        if self.bytes:
            text += f" ({size_text(self.bytes)} in {seconds_text(seconds)})"
        if where:
            text += f" {where}"
        if failures:
            text += f"; {count_text(failures, 'failure')}"
        if failures > ERRORS_SHOWN and not self._run.as_json:
            self._run.note(f"... and {failures - ERRORS_SHOWN:,} more failures; --json tells all")
        if not self._run.options.quiet:
            await self._run.text(text)
        await self._run.record(
            {
                "summary": {
                    "action": self._action,
                    "done": self.count,
                    "failed": failures,
                    "bytes": self.bytes,
                    "seconds": round(seconds, 3),
                }
            }
        )
        return common_code(self.codes)


def default_width(session: StorageSession, concurrency: int | None) -> int:
    """How many items at once: what was asked, else 16, within the pool."""
    return max(1, min(concurrency or 16, session.settings.max_pool_connections))


async def for_each(items: AsyncIterable[T], work: Callable[[T], Awaitable[None]], *, width: int) -> None:
    """
    *work* for every item, *width* at a time, read only as fast as they are done.

    What *work* or *items* raises ends it all, and is raised as it is.
    """
    send, receive = anyio.create_memory_object_stream[T](0)

    async def worker() -> None:
        async with receive.clone() as own:
            async for item in own:
                await work(item)

    try:
        async with anyio.create_task_group() as group, send, receive:
            for _ in range(width):
                group.start_soon(worker)
            await asyncio.sleep(0)  # the workers hold clones before the original is closed
            async for item in items:
                await send.send(item)
            await send.aclose()
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure in a group of groups."""
    found = group.exceptions[0]
    return first_of(found) if isinstance(found, BaseExceptionGroup) else found
