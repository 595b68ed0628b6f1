"""The jobs: upload, copy, verify. Each reads its input in pieces and gives every piece to one actor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, TypeVar

from greenlang_async_storage import (
    ObjectInfo,
    ProgressHook,
    S3InvalidRequestError,
    StorageSession,
    StorageSettings,
    UploadItem,
    UploadResult,
)

from ._pool import ActorPool, Manifest, check_count, connect
from ._report import DistributedReport, OutcomeHook, Tally

T = TypeVar("T")
MANIFEST_SIZE = 200
MAX_INLINE = 8 * 1024 * 1024
"""Bytes of a buffer that may travel inside a manifest; larger sources are paths every machine can read."""


async def upload_distributed(
    items: Iterable[UploadItem] | AsyncIterable[UploadItem],
    *,
    bucket: str,
    settings: StorageSettings | None = None,
    actors: int | None = None,
    concurrency: int = 32,
    manifest_size: int = MANIFEST_SIZE,
    restarts: int = 3,
    address: str | None = None,
    on_outcome: OutcomeHook[UploadResult] | None = None,
    on_progress: ProgressHook | None = None,
) -> DistributedReport[UploadResult]:
    """
    Upload every item on Ray actors, and count what became of them; one outcome for each item.

    Sources are paths, which every machine of the cluster must see, or buffers of at most 8 MiB. *settings*
    (default: this process's environment) go to the actors, keys given in code included. *actors* defaults to
    the cluster's CPUs; each has *concurrency* items in flight and two manifests of *manifest_size* items.
    A manifest whose actor dies is done again, up to *restarts* times: uploads repeat safely, except that an
    `if_none_match` item stored just before the death then meets itself and fails.

    Raises:
        S3InvalidRequestError: an item whose source cannot travel; nothing of its manifest was sent.
    """

    def manifest(start: int, chunk: list[UploadItem]) -> Manifest:
        for item in chunk:
            _check_source(item, bucket)
        return Manifest("upload", start, bucket, [item.key for item in chunk], bucket, chunk)

    await connect(address)
    tally = Tally(on_outcome, on_progress)
    async with ActorPool[UploadResult](settings or StorageSettings(), actors, concurrency, restarts) as pool:
        await pool.run(_manifests(_iterate(items), manifest_size, manifest), tally)
    return tally.report()


async def copy_prefix_distributed(
    source_bucket: str,
    source_prefix: str,
    target_bucket: str,
    target_prefix: str,
    *,
    settings: StorageSettings | None = None,
    actors: int | None = None,
    concurrency: int = 32,
    manifest_size: int = MANIFEST_SIZE,
    restarts: int = 3,
    address: str | None = None,
    on_outcome: OutcomeHook[ObjectInfo] | None = None,
    on_progress: ProgressHook | None = None,
) -> DistributedReport[ObjectInfo]:
    """
    Copy every object under *source_prefix* to *target_prefix*, inside the store; one outcome for each object.

    No byte passes through this process or the actors. Metadata, tags and encryption are kept as by
    `Bucket.copy`. The other arguments are those of `upload_distributed`.

    Raises:
        S3InvalidRequestError: both prefixes overlap in one bucket: the copy would list its own results.
        S3NotFoundError: no such source bucket.
    """
    if source_bucket == target_bucket and (
        target_prefix.startswith(source_prefix) or source_prefix.startswith(target_prefix)
    ):
        raise S3InvalidRequestError(
            f"prefixes {source_prefix!r} and {target_prefix!r} of bucket {source_bucket!r} overlap",
            operation="CopyObject",
            bucket=target_bucket,
            remedy="Copy to a prefix that neither holds the other nor lies in it.",
        )

    def manifest(start: int, keys: list[str]) -> Manifest:
        pairs = [(key, target_prefix + key.removeprefix(source_prefix)) for key in keys]
        targets = [target for _, target in pairs]
        return Manifest("copy", start, target_bucket, targets, source_bucket, target_bucket, pairs)

    await connect(address)
    chosen = settings or StorageSettings()
    tally = Tally(on_outcome, on_progress)
    async with (
        StorageSession(chosen) as session,
        ActorPool[ObjectInfo](chosen, actors, concurrency, restarts) as pool,
    ):
        keys = _keys(session, source_bucket, source_prefix)
        await pool.run(_manifests(keys, manifest_size, manifest), tally)
    return tally.report()


async def verify_distributed(
    bucket: str,
    prefix: str = "",
    *,
    settings: StorageSettings | None = None,
    actors: int | None = None,
    concurrency: int = 32,
    manifest_size: int = MANIFEST_SIZE,
    restarts: int = 3,
    address: str | None = None,
    on_outcome: OutcomeHook[ObjectInfo] | None = None,
    on_progress: ProgressHook | None = None,
) -> DistributedReport[ObjectInfo]:
    """
    Read every object under *prefix* to its end against its checksum; one outcome for each object.

    An object that others stored without a checksum succeeds with `verified=False`. The other arguments are
    those of `upload_distributed`.

    Raises:
        S3NotFoundError: no such bucket.
    """

    def manifest(start: int, keys: list[str]) -> Manifest:
        return Manifest("verify", start, bucket, keys, bucket, keys)

    await connect(address)
    chosen = settings or StorageSettings()
    tally = Tally(on_outcome, on_progress)
    async with (
        StorageSession(chosen) as session,
        ActorPool[ObjectInfo](chosen, actors, concurrency, restarts) as pool,
    ):
        await pool.run(_manifests(_keys(session, bucket, prefix), manifest_size, manifest), tally)
    return tally.report()


def _check_source(item: UploadItem, bucket: str) -> None:
    source: Any = item.source
    if isinstance(source, (str, os.PathLike)):
        return
    if isinstance(source, (bytes, bytearray)) and len(source) <= MAX_INLINE:
        return
    kind = f"{len(source)} bytes" if isinstance(source, (bytes, bytearray)) else f"a {type(source).__name__}"
    raise S3InvalidRequestError(
        f"the source of {item.key!r} is {kind}, which does not travel to another process",
        operation="PutObject",
        bucket=item.bucket or bucket,
        key=item.key,
        remedy=f"Pass a path every machine can read, or at most {MAX_INLINE} bytes.",
    )


async def _manifests(items: AsyncIterator[T], size: int, make: Any) -> AsyncIterator[Manifest]:  # noqa: ANN401  # see Manifest
    check_count("manifest_size", size, 10_000)
    start, chunk = 0, list[T]()
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield make(start, chunk)
            start, chunk = start + size, []
    if chunk:
        yield make(start, chunk)


async def _iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for item in items:
        yield item


async def _keys(session: StorageSession, bucket: str, prefix: str) -> AsyncIterator[str]:
    async for info in session.bucket(bucket).list_objects(prefix):
        yield info.key
