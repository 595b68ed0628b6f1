"""`Plan`: what was found, as counts and actions, and the run that does it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from greenlang_async_storage import Statistics

from ._types import Action, IngestFailure, IngestHook, IngestSummary, PlanCounts

MAX_DELETES: Final = 0.5
"""Share of the target's objects one run may delete, unless told otherwise."""


class Plan:
    """
    What `plan_upload`, `plan_download` and `plan_copy` found: look at it (dry run), then `apply()` it.

    The actions lie in a private temporary file, so memory stays flat for millions of them; close the plan
    (`async with`, or `aclose()`) to give it back.
    """

    @property
    def counts(self) -> PlanCounts:
        """What was found and would be done."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[Action]:
        """Every action in the order of keys, a page at a time; may be read again."""
        raise NotImplementedError

    def failures(self) -> AsyncIterator[IngestFailure]:
        """Everything that failed so far, while planning and while applying."""
        raise NotImplementedError

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
        """Do it: *concurrency* transfers at a time (default 32), then the deletes."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the journal and remove the spooled actions; calling it again does nothing."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
