"""Many objects at once: `Bucket`'s batch calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlang_async_storage import _batch

from ._view import BucketView

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from contextlib import AbstractAsyncContextManager

    from greenlang_async_storage._types import (
        BatchReport,
        ObjectInfo,
        Outcome,
        ProgressHook,
        StrPath,
        UploadItem,
        UploadResult,
    )


class BucketBatches(BucketView):
    """Bounded batches with an outcome for each item."""

    __slots__ = ()

    async def upload_many(
        self,
        items: Iterable[UploadItem] | AsyncIterable[UploadItem],
        *,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        fail_fast: bool = False,
        timeout: float | None = None,
    ) -> BatchReport[UploadResult]:
        """
        Upload every item, *concurrency* at a time, and report one outcome each, in input order.

        One failed item never sinks the rest; *fail_fast* stops at the first failure and raises it. The report
        holds an outcome per item: for millions use `stream_uploads`.
        """
        with self._within(timeout, "PutObject"):
            return await _batch.upload_many(
                self._batch_view(),
                items,
                concurrency=concurrency,
                on_progress=on_progress,
                fail_fast=fail_fast,
            )

    async def download_many(
        self,
        keys: Iterable[str] | AsyncIterable[str],
        directory: StrPath,
        *,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        fail_fast: bool = False,
        durable: bool = False,
        timeout: float | None = None,
    ) -> BatchReport[ObjectInfo]:
        """
        Download every key into *directory*, its segments as folders; one outcome each, in input order.

        Never writes outside *directory*: keys that would (by `..`, an absolute path, a symlink), that collide
        on a case-insensitive disk, or that are both a file and a folder fail with `S3InvalidRequestError`.
        *durable* syncs each file to disk.
        """
        with self._within(timeout, "GetObject"):
            return await _batch.download_many(
                self._batch_view(),
                keys,
                directory,
                concurrency=concurrency,
                on_progress=on_progress,
                fail_fast=fail_fast,
                durable=durable,
            )

    async def delete_many(
        self,
        keys: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        fail_fast: bool = False,
        timeout: float | None = None,
    ) -> BatchReport[None]:
        """
        Delete every key, 1,000 a request; one outcome each, in input order; missing keys succeed.

        *concurrency* counts requests; *fail_fast* raises the first failure and sends no more.
        """
        with self._within(timeout, "DeleteObjects"):
            return await _batch.delete_many(
                self._batch_view(),
                keys,
                concurrency=concurrency,
                on_progress=on_progress,
                fail_fast=fail_fast,
            )

    def stream_uploads(
        self,
        items: Iterable[UploadItem] | AsyncIterable[UploadItem],
        *,
        concurrency: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Outcome[UploadResult]]]:
        """
        Outcomes as they finish, for inputs of any length: `async with … as outcomes`, then `async for`.

        Memory stays flat: the input is read only as fast as outcomes are taken. Leaving the block ends what
        still runs.
        """
        return _batch.stream_uploads(self._batch_view(), items, concurrency=concurrency)

    def stream_downloads(
        self,
        keys: Iterable[str] | AsyncIterable[str],
        directory: StrPath,
        *,
        concurrency: int | None = None,
        durable: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[Outcome[ObjectInfo]]]:
        """
        The same for downloads into *directory*; never outside it, as in `download_many`.

        Keys are not remembered, so of two keys that meet in one file the later one stays.
        """
        return _batch.stream_downloads(
            self._batch_view(), keys, directory, concurrency=concurrency, durable=durable
        )

    def _batch_view(self) -> _batch.BatchTarget:
        return _batch.BatchTarget(self._connection, self._name, self._prefix)
