"""One run of a plan: transfers by a crew of workers at the pace the store takes, then the deletes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from greenlang_async_storage import (
    S3CredentialsError,
    S3Error,
    S3SessionClosedError,
    S3ThrottlingError,
    S3WrongLoopError,
    Statistics,
)

from ._budget import ByteBudget, weight
from ._feed import Feed
from ._pace import Pace
from ._progress import Reporter
from ._senders import Sender, Sent
from ._store import DELETES, Planned, Settled, Store
from ._threads import SerialThread, run_crew, was_cancelled

DELETE_BATCH: Final = 1000
"""Keys of one DeleteObjects (S3 API Reference)."""
PASSES: Final = 3
"""Times a transfer is given to the store that goes on throttling it, each behind all others."""

FATAL: Final = (S3CredentialsError, S3SessionClosedError, S3WrongLoopError)
"""What would fail every other action too; it ends the run."""


class Run:
    """Carries out what is pending, and writes down each result before it counts as done."""

    def __init__(
        self,
        sender: Sender,
        spool: tuple[SerialThread, Store],
        report: Reporter,
        *,
        concurrency: int,
        fail_fast: bool,
        statistics: Callable[[], Statistics] | None,
    ) -> None:
        self.done = self.deleted = self.failed = self.bytes = 0
        self._sender = sender
        self._thread, self._store = spool
        self._report = report
        self._concurrency = concurrency
        self._fail_fast = fail_fast
        self._statistics = statistics
        self._throttles = statistics().throttles if statistics else 0
        self._pace = Pace(concurrency)
        self._feed = Feed(self._thread, self._store, self._pace)
        self._deferred = 0
        """Transfers throttled in this pass."""
        self._last = True
        self._budget = ByteBudget()
        self._settled: list[Settled] = []
        self._writing = False
        report.concurrency = self._pace.lowest

    async def transfers(self, count: int) -> None:
        """Everything but the deletes; what the store throttled again, when the rest is through."""
        self._deferred = count
        try:
            for left in reversed(range(PASSES)):
                waiting, self._deferred, self._last = self._deferred, 0, not left
                if waiting:
                    self._feed = Feed(self._thread, self._store, self._pace)
                    await run_crew(min(self._concurrency, waiting), self._work)
                    await self._write()
        finally:
            # On a failure or cancel nobody waits any more, and yet it is written.
            if self._settled:
                self._thread.post(self._store.settle, self._settled)

    async def deletes(self) -> None:
        """The deletes, a request's worth at a time."""
        after = -1
        while actions := await self._thread.call(self._store.pending, DELETES, after, DELETE_BATCH):
            after = actions[-1].seq
            failed = await self._sender.delete(actions)
            settled = [Settled(each.seq, each.kind, each.key, failed.get(each.seq), None) for each in actions]
            await self._thread.call(self._store.settle, settled)
            self.deleted += len(actions) - len(failed)
            self._count_failures(len(failed))
            self._report.add(0, items=len(actions))
            if failed and self._fail_fast:
                raise next(iter(failed.values()))

    async def _work(self) -> None:
        while (found := await self._feed.next()) is not None:
            action, ticket = found
            throttled = False
            try:
                error = await self._settle(action)
                throttled = isinstance(error, S3ThrottlingError) or self._was_throttled()
            finally:
                self._feed.finish(ticket, throttled=throttled)
            if error is not None and self._fail_fast and not self._later(error):
                raise error
            await self._write()

    def _later(self, error: S3Error) -> bool:
        """Whether what failed with *error* is tried again in another pass."""
        return isinstance(error, S3ThrottlingError) and not self._last

    async def _settle(self, action: Planned) -> S3Error | None:
        """Carry out one transfer; its failure, which is one line of the summary."""
        moved = 0

        def on_bytes(count: int) -> None:
            nonlocal moved
            moved += count
            self._report.add(count)

        known, error = None, None
        try:
            async with self._budget.hold(weight(action.size)):
                sent = await _own_cancel(action, self._sender.send(action, on_bytes))
        except S3Error as exc:
            error = exc
            self._report.add(-moved)
            if isinstance(exc, FATAL):
                raise
            if self._later(exc):
                self._deferred += 1
                return exc
        else:
            known = sent.known
            self.done += 1
            self.bytes += sent.size
        self._settled.append(Settled(action.seq, action.kind, action.key, error, known))
        return error

    async def _write(self) -> None:
        """Write down what has settled; while one worker does, the others go on."""
        if self._writing:
            return
        self._writing = True
        try:
            while self._settled:
                settled, self._settled = self._settled, []
                await self._thread.call(self._store.settle, settled)
                # Only now: what was told as done is not sent again, even if this process is killed.
                self._count_failures(sum(each.error is not None for each in settled))
                self._report.add(0, items=len(settled))
        finally:
            self._writing = False

    def _count_failures(self, count: int) -> None:
        self.failed += count
        for _ in range(count):
            self._report.fail()

    def _was_throttled(self) -> bool:
        """Whether the session met throttling since the last time, which its own retries may have hidden."""
        if self._statistics is None:
            return False
        before, self._throttles = self._throttles, self._statistics().throttles
        return self._throttles > before


async def _own_cancel(action: Planned, sending: Coroutine[object, object, Sent]) -> Sent:
    """The result of *sending*; a cancel that nobody asked for is a failure of this one action."""
    try:
        return await sending
    except asyncio.CancelledError as exc:
        if was_cancelled():
            raise
        raise S3Error(f"the {action.kind} was cancelled from inside", key=action.key) from exc
