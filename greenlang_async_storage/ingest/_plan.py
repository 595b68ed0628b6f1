"""`Plan`: what was found, as counts and actions, and the runs that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from greenlang_async_storage import S3InvalidRequestError, Statistics

from ._apply import Run
from ._planner import Tally
from ._progress import Reporter
from ._senders import Sender
from ._store import Store
from ._threads import SerialThread
from ._types import LISTED_FAILURES, Action, IngestFailure, IngestHook, IngestSummary, PlanCounts

CONCURRENCY: Final = 32
"""Transfers at a time, unless told otherwise; the session's pool bounds the requests below them."""
MAX_DELETES: Final = 0.5
"""Share of the target's entries one run may delete, unless told otherwise."""
PAGE: Final = 500


class Plan:
    """
    What `plan_upload`, `plan_download` and `plan_copy` found: look at it (dry run), then `apply()` it.

    The actions lie in a private temporary file, so memory stays flat for millions of them; close the plan
    (`async with`, or `aclose()`) to give it and the journal back. It belongs to one event loop.
    """

    def __init__(
        self, spool: tuple[SerialThread, Store], sender: Sender, tally: Tally, counts: PlanCounts
    ) -> None:
        self._thread, self._store = spool
        self._sender = sender
        self._tally = tally
        self._counts = counts
        self._busy = self._closed = False

    @property
    def counts(self) -> PlanCounts:
        """What was found and would be done, as it was when the plan was made."""
        return self._counts

    async def __aiter__(self) -> AsyncIterator[Action]:
        """Every action in the order of keys, a page at a time; may be read again, also during `apply()`."""
        after = 0
        while page := await self._thread.call(self._store.actions, after, PAGE):
            after = page[-1].seq
            for row in page:
                yield Action(row.kind, row.key, self._sender.path(row.key), row.size, row.reason)

    async def failures(self) -> AsyncIterator[IngestFailure]:
        """Everything that failed and has not succeeded since, while planning and while applying."""
        after = 0
        while page := await self._thread.call(self._store.failures, after, PAGE):
            after = page[-1][0]
            for _, failure in page:
                yield failure

    async def apply(
        self,
        *,
        concurrency: int | None = None,
        on_progress: IngestHook | None = None,
        max_deletes: float = MAX_DELETES,
        allow_empty_source: bool = False,
        fail_fast: bool = False,
        statistics: Callable[[], Statistics] | None = None,
    ) -> IngestSummary:
        """
        Do what is not done yet: *concurrency* transfers at a time (default 32), then the deletes.

        One failure never sinks the rest: it is listed, and another `apply()` tries it again; *fail_fast*
        raises the first one. Deletes wait until a run whose transfers all succeeded. They are refused
        altogether beyond *max_deletes*: an int is a number, a float from 0 to 1 a share of what the target
        held. While the store throttles, fewer transfers run at a time, for each first segment of the keys on
        its own, and what it refused is tried again behind the others, twice; with *statistics*
        (`session.statistics`) throttling that retries have hidden counts too.

        Holds at most 256 MiB of file content with the default part size and threshold, or one larger file's
        parts. A cancel leaves no open multipart upload and no temporary file; what was done stays done, and
        is in the journal.

        Raises:
            S3InvalidRequestError: more deletes than *max_deletes*, or any from an empty source without
                *allow_empty_source*; nothing was done.
            S3LocalFileError: the disk of the journal or of the plan refused.
            S3CredentialsError, S3SessionClosedError, S3WrongLoopError: at once, as nothing else could work.
            S3Error: the first failure, with *fail_fast*.
        """
        width = CONCURRENCY if concurrency is None else concurrency
        if type(width) is not int or width < 1:
            raise ValueError(f"concurrency is {concurrency!r}; pass an int from 1 up, or leave it out")
        if self._busy:
            raise RuntimeError("this plan is being applied already; wait for that run to end")
        self._busy = True
        try:
            await self._thread.call(self._store.restart)
            transfers, deletes, size = await self._thread.call(self._store.left)
            self._guard(deletes, max_deletes, allow_empty_source=allow_empty_source)
            report = Reporter(on_progress, "apply", items_total=transfers + deletes, bytes_total=size)
            run = Run(
                self._sender,
                (self._thread, self._store),
                report,
                concurrency=width,
                fail_fast=fail_fast,
                statistics=statistics,
            )
            async with report:
                if transfers:
                    await run.transfers(transfers)
                held_back = deletes if run.failed else 0
                if not run.failed:
                    await run.deletes()
                if not run.failed:
                    await self._sender.finish()
            return await self._summary(run, report.seconds, transfers + deletes, held_back)
        finally:
            self._busy = False

    async def _summary(self, run: Run, seconds: float, pending: int, held_back: int) -> IngestSummary:
        listed = await self._thread.call(self._store.failures, 0, LISTED_FAILURES)
        earlier = self._counts.transfers + self._counts.deletes - pending
        return IngestSummary(
            done=run.done,
            skipped=self._counts.unchanged + earlier,
            deleted=run.deleted,
            failed=self._counts.failed + run.failed,
            bytes=run.bytes,
            seconds=seconds,
            failures=tuple(failure for _, failure in listed),
            held_back=held_back,
        )

    def _guard(self, deletes: int, most: float, *, allow_empty_source: bool) -> None:
        """Refuse a run that would delete too much."""
        allowed = _allowed_deletes(most, self._tally.targets)
        if not deletes:
            return
        if not self._tally.sources and not allow_empty_source:
            raise S3InvalidRequestError(
                f"the source is empty, and the plan would delete {deletes:,} entries of the target",
                remedy="Check that the source is the right one, or pass allow_empty_source=True.",
            )
        if deletes > allowed:
            raise S3InvalidRequestError(
                f"the plan would delete {deletes:,} of the target's {self._tally.targets:,} entries, "
                f"more than the {allowed:,} that max_deletes={most!r} allows",
                remedy="Look at the plan, then pass max_deletes= as a number or a share (a float up to 1.0).",
            )

    async def aclose(self) -> None:
        """Close the journal and remove the spooled actions; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            await self._thread.aclose(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Plan: {self._counts}>"


def _allowed_deletes(most: float, targets: int) -> int:
    if type(most) not in (int, float) or most < 0:
        raise ValueError(f"max_deletes is {most!r}; pass a number (int), or a share from 0.0 to 1.0 (float)")
    if isinstance(most, int):
        return most
    if not most <= 1:
        raise ValueError(f"max_deletes is {most!r}; a float is a share from 0.0 to 1.0, a number is an int")
    return int(most * targets)
