"""Many deletes: 1,000 keys a request, an outcome for each key."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from greenlang_async_storage._closing import closing_generator
from greenlang_async_storage._concurrency import Items, run_bounded
from greenlang_async_storage._error_map import to_s3_error
from greenlang_async_storage._errors import S3Error
from greenlang_async_storage._types import BatchReport, Outcome, ProgressHook

from ._target import BatchTarget, Tally, as_error, many

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import DeleteObjectsOutputTypeDef

KEYS_PER_REQUEST: Final = 1000
"""S3 API Reference, DeleteObjects."""


class _Wanted(NamedTuple):
    """One input key, as given and as S3 sees it."""

    position: int
    key: str
    full: str


async def delete_many(
    target: BatchTarget,
    keys: Items[str],
    *,
    concurrency: int | None,
    on_progress: ProgressHook | None,
    fail_fast: bool,
) -> BatchReport[None]:
    """One outcome per key, in input order."""
    width = target.width(concurrency)
    tally: Tally[None] = Tally(keys, on_progress, lambda _none: 0)

    async def work(_index: int, batch: list[tuple[int, str]]) -> list[Outcome[None]]:
        outcomes = await _delete(target, batch)
        for outcome in outcomes:
            if fail_fast and outcome.error is not None:
                raise outcome.error
            tally.count(outcome)
        return outcomes

    async with tally.progress:
        settled = await run_bounded(_grouped(many(keys, "keys")), work, width=width, fail_fast=True)
    return tally.report([outcome for each in settled for outcome in each.value or ()])


async def _grouped(keys: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[list[tuple[int, str]]]:
    """The keys with their positions, a request's worth at a time."""
    batch: list[tuple[int, str]] = []
    if isinstance(keys, AsyncIterable):
        iterator = aiter(keys)
        index = 0
        async with closing_generator(iterator):
            async for key in iterator:
                batch.append((index, key))
                index += 1
                if len(batch) == KEYS_PER_REQUEST:
                    yield batch
                    batch = []
    else:
        for index, key in enumerate(keys):
            batch.append((index, key))
            if len(batch) == KEYS_PER_REQUEST:
                yield batch
                batch = []
    if batch:
        yield batch


async def _delete(target: BatchTarget, batch: Sequence[tuple[int, str]]) -> list[Outcome[None]]:
    """The outcomes of one request's worth of keys."""
    bucket = target.bucket
    errors: dict[int, S3Error] = {}
    sent: list[_Wanted] = []
    for index, key in batch:
        try:
            sent.append(_Wanted(index, key, target.full(key)))
        except (TypeError, ValueError) as exc:
            errors[index] = as_error(exc, "DeleteObjects", bucket, f"{target.prefix}{key}")
    if sent:
        request = _Request(target, list(dict.fromkeys(each.full for each in sent)))
        await request.run()
        errors |= {each.position: request.failed[each.full] for each in sent if each.full in request.failed}
    return [Outcome(index, str(key), bucket, error=errors.get(index)) for index, key in batch]


class _Request:
    """One DeleteObjects: its retries send only the keys the store asked to try again."""

    def __init__(self, target: BatchTarget, keys: list[str]) -> None:
        self.failed: dict[str, S3Error] = {}
        self._target = target
        self._pending = keys
        self._refused: dict[str, S3Error] = {}

    async def run(self) -> None:
        """Delete what can be deleted; `failed` holds the rest. Raises nothing but a cancel."""
        try:
            await self._target.connection.call("DeleteObjects", self._send, bucket=self._target.bucket)
        except S3Error as error:
            for key in self._pending:
                self.failed[key] = self._refused.get(key) or _for_key(error, key)

    async def _send(self, s3: S3Client) -> None:
        bucket = self._target.bucket
        self._refused = {}
        reply = await s3.delete_objects(
            Bucket=bucket,
            Delete={"Objects": [{"Key": key} for key in self._pending], "Quiet": False},
            **self._target.connection.owner,
        )
        wrong = _failures(reply, bucket, self._pending)
        self._refused = {key: error for key, error in wrong.items() if error.retryable}
        self.failed |= {key: error for key, error in wrong.items() if not error.retryable}
        self._pending = list(self._refused)
        if self._pending:
            raise next(iter(self._refused.values()))


def _failures(reply: DeleteObjectsOutputTypeDef, bucket: str, keys: Sequence[str]) -> dict[str, S3Error]:
    """A key is deleted when the reply says so, not when it says nothing."""
    deleted = {entry.get("Key") for entry in reply.get("Deleted", [])}
    wrong: dict[str, S3Error] = {}
    for entry in reply.get("Errors", []):
        key = entry.get("Key", "")
        failure = _Entry(
            {"Error": {"Code": entry.get("Code", "Unknown"), "Message": entry.get("Message", "")}}
        )
        error = to_s3_error(failure, operation="DeleteObjects", bucket=bucket, key=key)
        assert error is not None  # noqa: S101  # it carries a response
        wrong[key] = error
    for key in keys:
        if key not in deleted and key not in wrong:
            wrong[key] = S3Error(
                "the reply does not say whether the key was deleted",
                operation="DeleteObjects",
                bucket=bucket,
                key=key,
                attempts=1,
                retryable=True,
                outcome="unknown",
            )
    return wrong


class _Entry(Exception):  # noqa: N818  # never raised: it carries one entry of a reply to the error table
    def __init__(self, response: dict[str, object]) -> None:
        super().__init__()
        self.response = response


def _for_key(error: S3Error, key: str) -> S3Error:
    """The request's error, told of one of its keys."""
    own = type(error)(
        error.message,
        operation=error.operation,
        bucket=error.bucket,
        key=key,
        code=error.code,
        status=error.status,
        request_id=error.request_id,
        attempts=error.attempts,
        retryable=error.retryable,
        outcome=error.outcome,
        remedy=error.remedy,
    )
    own.__cause__ = error
    return own
