"""Many uploads: bounded workers, an outcome for each item."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from greenlang_async_storage import _uploads
from greenlang_async_storage._concurrency import Items, run_bounded, stream_bounded
from greenlang_async_storage._types import (
    BatchReport,
    Outcome,
    ProgressHook,
    UploadItem,
    UploadResult,
    WriteOptions,
)

from ._target import BatchTarget, Outcomes, Tally, as_error, many, outcome_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


async def upload_many(
    target: BatchTarget,
    items: Items[UploadItem],
    *,
    concurrency: int | None,
    on_progress: ProgressHook | None,
    fail_fast: bool,
) -> BatchReport[UploadResult]:
    """One outcome per item, in input order."""
    width = target.width(concurrency)
    tally: Tally[UploadResult] = Tally(items, on_progress, lambda result: result.size)

    async def work(index: int, item: UploadItem) -> Outcome[UploadResult]:
        outcome = await _attempt(target, index, item, target.parts_of(width), streamed=False)
        if fail_fast and outcome.error is not None:
            raise outcome.error
        tally.count(outcome)
        return outcome

    async with tally.progress:
        settled = await run_bounded(many(items, "items"), work, width=width, fail_fast=fail_fast)
    return tally.report([outcome_of(each) for each in settled])


@asynccontextmanager
async def stream_uploads(
    target: BatchTarget, items: Items[UploadItem], *, concurrency: int | None
) -> AsyncIterator[AsyncIterator[Outcome[UploadResult]]]:
    """Outcomes as they finish."""
    target.connection.require_open()
    width = target.width(concurrency)

    async def work(index: int, item: UploadItem) -> Outcome[UploadResult]:
        return await _attempt(target, index, item, target.parts_of(width), streamed=True)

    async with stream_bounded(many(items, "items"), work, width=width) as settled:
        yield Outcomes(settled)


async def _attempt(
    target: BatchTarget, index: int, item: UploadItem, parts: int, *, streamed: bool
) -> Outcome[UploadResult]:
    key = str(getattr(item, "key", item))
    bucket = target.bucket
    try:
        if not isinstance(item, UploadItem):
            raise TypeError(f"item {index} is no UploadItem but {type(item).__name__}")
        bucket = target.other_bucket(item.bucket)
        full = target.full(item.key)
        # A streamed batch has no call around it that a closing session could wait for: each item is one.
        scope: AbstractContextManager[None] = (
            target.connection.within(None, "PutObject", bucket, full) if streamed else nullcontext()
        )
        with scope:
            result = await _send(target, bucket, full, item, parts)
    except Exception as exc:  # noqa: BLE001  # it is this item's outcome
        return Outcome(index, key, bucket, error=as_error(exc, "PutObject", bucket, target.prefix + key))
    return Outcome(index, key, bucket, result=replace(result, key=item.key) if target.prefix else result)


async def _send(target: BatchTarget, bucket: str, key: str, item: UploadItem, parts: int) -> UploadResult:
    connection, source, options = target.connection, item.source, _options(item)
    if isinstance(source, bytes | bytearray | memoryview):
        return await _uploads.upload_bytes(connection, bucket, key, source, options)
    if isinstance(source, str | os.PathLike):
        return await _uploads.upload_file(connection, bucket, key, source, options, concurrency=parts)
    return await _uploads.upload_stream(connection, bucket, key, source, options, concurrency=parts)


def _options(item: UploadItem) -> WriteOptions:
    """The item's write options; what was left alone is left out."""
    return {
        "metadata": item.metadata,
        "tags": item.tags,
        "content_type": item.content_type,
        "content_disposition": item.content_disposition,
        "cache_control": item.cache_control,
        "encryption": item.encryption,
        "if_none_match": item.if_none_match,
        "if_match": item.if_match,
        "storage_class": item.storage_class,
    }
