"""The actor: one process, one event loop, one storage session."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    Outcome,
    S3Error,
    StorageSession,
    StorageSettings,
    UploadItem,
    UploadResult,
)

from ._report import Finished

T = TypeVar("T")


class StorageWorker:
    """Does manifests: lists of items whose first one has the index *start* in the whole input."""

    def __init__(self, settings: StorageSettings, concurrency: int) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._process = uuid.uuid4().hex
        self._session: StorageSession | None = None
        self._opening = asyncio.Lock()

    async def ready(self) -> None:
        """Answer once Ray found room for the process."""

    async def upload(self, start: int, bucket: str, items: Sequence[UploadItem]) -> Finished[UploadResult]:
        """Upload every item; those of other buckets name them."""
        session = await self._opened()
        report = await session.bucket(bucket).upload_many(items, concurrency=self._concurrency)
        outcomes = [*report.succeeded, *report.failed]
        placed = [
            Outcome(start + outcome.index, outcome.key, outcome.bucket, outcome.result, outcome.error)
            for outcome in outcomes
        ]
        return Finished(placed, report.bytes, self._process)

    async def copy(
        self, start: int, source: str, target: str, pairs: Sequence[tuple[str, str]]
    ) -> Finished[ObjectInfo]:
        """Copy each (source key, target key) inside the store."""
        destination = (await self._opened()).bucket(target)

        async def copy_one(pair: tuple[str, str]) -> ObjectInfo:
            await destination.copy(*pair, source_bucket=source)
            return await destination.head(pair[1])

        return await self._each(start, target, pairs, copy_one, key_of=lambda pair: pair[1])

    async def verify(self, start: int, bucket: str, keys: Sequence[str]) -> Finished[ObjectInfo]:
        """Read every object to its end; `verified` of each result says whether a checksum proved it."""
        found = (await self._opened()).bucket(bucket)

        async def read(key: str) -> ObjectInfo:
            return await _read_through(found, key)

        return await self._each(start, bucket, keys, read, key_of=lambda key: key)

    async def close(self) -> None:
        """Wait for what is in flight and close the session."""
        if self._session is not None:
            await self._session.aclose()

    async def _opened(self) -> StorageSession:
        async with self._opening:
            if self._session is None:
                session = StorageSession(self._settings)
                self._session = await session.__aenter__()
        return self._session

    async def _each(
        self,
        start: int,
        bucket: str,
        items: Sequence[T],
        work: Callable[[T], Awaitable[ObjectInfo]],
        *,
        key_of: Callable[[T], str],
    ) -> Finished[ObjectInfo]:
        """One outcome for each item, a bounded number at a time."""
        outcomes: list[Outcome[ObjectInfo]] = []
        numbered = iter(enumerate(items, start))

        async def lane() -> None:
            for index, item in numbered:
                try:
                    info = await work(item)
                except S3Error as error:
                    outcomes.append(Outcome(index, key_of(item), bucket, error=error))
                else:
                    outcomes.append(Outcome(index, key_of(item), bucket, result=info))

        async with anyio.create_task_group() as lanes:
            for _ in range(min(self._concurrency, len(items))):
                lanes.start_soon(lane)
        size = sum(outcome.result.size for outcome in outcomes if outcome.result is not None)
        return Finished(outcomes, size, self._process)


async def _read_through(bucket: Bucket, key: str) -> ObjectInfo:
    async with bucket.open_download(key) as body:
        async for _ in body:
            pass
        return body.info
