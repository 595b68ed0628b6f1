"""What the batch calls share: where keys go, how failures become outcomes, and what is reported."""

from __future__ import annotations

import time
import traceback
from collections.abc import AsyncIterator, Callable, Sized
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from greenlang_async_storage._arguments import checked_bucket, checked_key
from greenlang_async_storage._concurrency import Items, ProgressReporter, Settled
from greenlang_async_storage._error_map import to_s3_error
from greenlang_async_storage._errors import S3Error, S3InvalidRequestError
from greenlang_async_storage._types import BatchReport, Outcome, ProgressHook

if TYPE_CHECKING:
    from greenlang_async_storage._connection import Connection

T = TypeVar("T")

DEFAULT_CONCURRENCY: Final = 32
"""Items worked on at a time, unless told otherwise; never more than the pool has connections."""


class BatchTarget(NamedTuple):
    """The bucket view a batch runs on."""

    connection: Connection
    bucket: str
    prefix: str

    def full(self, key: object) -> str:
        """The key S3 sees; raises for one S3 or this view would refuse."""
        if not isinstance(key, str):
            raise TypeError(f"a key is a str, not {type(key).__name__}: {key!r}")
        return checked_key(self.bucket, key, self.prefix)

    def other_bucket(self, name: str | None) -> str:
        """The bucket an item names, else this one."""
        return self.bucket if name is None else checked_bucket(name)

    def width(self, concurrency: int | None) -> int:
        """The number of workers: *concurrency*, at least 1, else the default."""
        pool = self.connection.settings.max_pool_connections
        if concurrency is None:
            return min(DEFAULT_CONCURRENCY, pool)
        if concurrency < 1:
            raise S3InvalidRequestError(
                f"concurrency={concurrency} is no number of workers",
                bucket=self.bucket,
                remedy="Pass at least 1, or leave concurrency= out.",
            )
        return concurrency

    def parts_of(self, width: int) -> int:
        """Parts one large item may have in flight, so that a batch holds about as much as one transfer."""
        return max(1, self.connection.settings.transfer_concurrency // width)


def many(items: Items[T], what: str) -> Items[T]:
    """*items*, unless it is one string, whose characters would be taken for keys."""
    if isinstance(items, str | bytes | bytearray | memoryview):
        raise TypeError(f"{what} is one {type(items).__name__}, not an iterable of {what}: pass a list")
    return items


def as_error(exc: Exception, operation: str, bucket: str, key: str) -> S3Error:
    """
    An item's failure, whatever it was, in the tree users catch; the original is its cause.

    Neither has a traceback: its frames would keep the item's data in memory as long as the report. Of an
    exception that is not ours, such as one of the item's source, a note says where it was raised.
    """
    error = to_s3_error(exc, operation=operation, bucket=bucket, key=key)
    if error is None:
        exc.add_note("".join(traceback.format_tb(exc.__traceback__)).rstrip())
        error = S3InvalidRequestError(
            f"{type(exc).__name__}: {exc}", operation=operation, bucket=bucket, key=key, attempts=0
        )
    if error is not exc:
        error.__cause__ = exc
    if error.operation is None:
        error.operation = operation
    _drop_frames(error)
    return error


def _drop_frames(error: BaseException) -> None:
    """Take the tracebacks from *error* and all that led to it."""
    todo, seen = [error], {id(error)}
    while todo:
        each = todo.pop()
        each.__traceback__ = None
        for before in (each.__cause__, each.__context__):
            if before is not None and id(before) not in seen:
                seen.add(id(before))
                todo.append(before)


def outcome_of(settled: Settled[Outcome[T]]) -> Outcome[T]:
    """What a worker made of its item; its failures are outcomes already."""
    if settled.value is None:
        assert settled.error is not None  # noqa: S101  # settled means one of the two
        raise settled.error
    return settled.value


class Outcomes(Generic[T]):
    """The outcomes of a streamed batch, as they finish."""

    __slots__ = ("_settled",)

    def __init__(self, settled: AsyncIterator[Settled[Outcome[T]]]) -> None:
        self._settled = settled

    def __aiter__(self) -> AsyncIterator[Outcome[T]]:
        return self

    async def __anext__(self) -> Outcome[T]:
        return outcome_of(await anext(self._settled))


class Tally(Generic[T]):
    """Counts a batch for its progress hook and its report."""

    def __init__(self, items: object, hook: ProgressHook | None, size: Callable[[T], int]) -> None:
        total = len(items) if isinstance(items, Sized) else None
        self.progress = ProgressReporter(hook, items_total=total)
        self._size = size
        self._started = time.monotonic()

    def count(self, outcome: Outcome[T]) -> None:
        """One more item is done."""
        self.progress.add(0 if outcome.result is None else self._size(outcome.result), items=1)

    def report(self, outcomes: list[Outcome[T]]) -> BatchReport[T]:
        """The report, in input order."""
        return BatchReport(
            succeeded=[outcome for outcome in outcomes if outcome.ok],
            failed=[outcome for outcome in outcomes if not outcome.ok],
            bytes=sum(self._size(outcome.result) for outcome in outcomes if outcome.result is not None),
            seconds=time.monotonic() - self._started,
        )
