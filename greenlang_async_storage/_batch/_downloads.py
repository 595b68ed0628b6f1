"""Many downloads into one directory: bounded workers, an outcome for each key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from greenlang_async_storage._concurrency import Items, run_bounded, stream_bounded
from greenlang_async_storage._download_file import download_file
from greenlang_async_storage._local_files import run_local
from greenlang_async_storage._types import BatchReport, ObjectInfo, Outcome, ProgressHook, StrPath

from ._paths import LocalTree, Place
from ._target import BatchTarget, Outcomes, Tally, as_error, many, outcome_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


async def download_many(
    target: BatchTarget,
    keys: Items[str],
    directory: StrPath,
    *,
    concurrency: int | None,
    on_progress: ProgressHook | None,
    fail_fast: bool,
    durable: bool,
) -> BatchReport[ObjectInfo]:
    """One outcome per key, in input order."""
    width = target.width(concurrency)
    tree = LocalTree(directory, remember=True)
    tally: Tally[ObjectInfo] = Tally(keys, on_progress, lambda info: info.size)

    async def work(index: int, key: str) -> Outcome[ObjectInfo]:
        outcome = await _attempt(
            target, index, key, tree, target.parts_of(width), durable=durable, streamed=False
        )
        if fail_fast and outcome.error is not None:
            raise outcome.error
        tally.count(outcome)
        return outcome

    async with tally.progress:
        settled = await run_bounded(many(keys, "keys"), work, width=width, fail_fast=fail_fast)
    return tally.report([outcome_of(each) for each in settled])


@asynccontextmanager
async def stream_downloads(
    target: BatchTarget, keys: Items[str], directory: StrPath, *, concurrency: int | None, durable: bool
) -> AsyncIterator[AsyncIterator[Outcome[ObjectInfo]]]:
    """Outcomes as they finish."""
    target.connection.require_open()
    width = target.width(concurrency)
    tree = LocalTree(directory, remember=False)

    async def work(index: int, key: str) -> Outcome[ObjectInfo]:
        return await _attempt(
            target, index, key, tree, target.parts_of(width), durable=durable, streamed=True
        )

    async with stream_bounded(many(keys, "keys"), work, width=width) as settled:
        yield Outcomes(settled)


async def _attempt(
    target: BatchTarget, index: int, key: str, tree: LocalTree, parts: int, *, durable: bool, streamed: bool
) -> Outcome[ObjectInfo]:
    bucket = target.bucket
    try:
        full = target.full(key)
        scope: AbstractContextManager[None] = (
            target.connection.within(None, "GetObject", bucket, full) if streamed else nullcontext()
        )
        with scope:
            info = await _download(target, full, tree.place(full, key), concurrency=parts, durable=durable)
    except Exception as exc:  # noqa: BLE001  # it is this key's outcome
        return Outcome(
            index, str(key), bucket, error=as_error(exc, "GetObject", bucket, f"{target.prefix}{key}")
        )
    return Outcome(index, key, bucket, result=replace(info, key=key) if target.prefix else info)


async def _download(
    target: BatchTarget, full: str, place: Place, *, concurrency: int, durable: bool
) -> ObjectInfo:
    bucket = target.bucket
    try:
        await run_local(
            "make folders for", place.path, place.enter, operation="GetObject", bucket=bucket, key=full
        )
        return await download_file(
            target.connection,
            bucket,
            full,
            place.path,
            concurrency=concurrency,
            durable=durable,
            at=place.descriptor,
        )
    finally:
        place.close()
