"""
Listings as plain page loops: one page in memory, nothing running and nothing held between two items.

Each page is one request, retried on its own, so a failing page never repeats keys already given. Keys and
prefixes travel percent-encoded (`encoding-type=url`, which botocore asks for and undoes). Source: S3 API
reference, ListObjectsV2, ListObjectVersions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, Generic, TypedDict, TypeVar

from ._connection import Connection
from ._errors import S3Error, S3InvalidRequestError
from ._info import listed, unquoted, utc
from ._types import ObjectInfo, ObjectVersion

if TYPE_CHECKING:
    from datetime import datetime

    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import (
        DeleteMarkerEntryTypeDef,
        ListObjectsV2OutputTypeDef,
        ListObjectVersionsOutputTypeDef,
        ObjectVersionTypeDef,
    )

P = TypeVar("P")

MAX_PAGE: Final = 1000


class _PageArgs(TypedDict, total=False):
    Delimiter: str
    MaxKeys: int
    StartAfter: str
    ContinuationToken: str


class _VersionArgs(TypedDict, total=False):
    KeyMarker: str
    VersionIdMarker: str


def list_objects(
    conn: Connection,
    bucket: str,
    prefix: str = "",
    *,
    start_after: str | None = None,
    page_size: int = MAX_PAGE,
    scope: str = "",
) -> AsyncGenerator[ObjectInfo, None]:
    """
    Every object whose key starts with *prefix*, in the store's order; keys are given without *scope*.

    Holds one page of *page_size* entries, 1 to 1,000. Keys written or removed meanwhile may or may not show.
    Raises `S3InvalidRequestError` at once for another *page_size*.
    """
    if not 1 <= page_size <= MAX_PAGE:
        raise S3InvalidRequestError(
            f"page_size {page_size} is not within 1 to {MAX_PAGE}",
            operation="ListObjectsV2",
            bucket=bucket,
            remedy="Leave page_size out unless pages of 1,000 keys are too large.",
        )
    args: _PageArgs = {"MaxKeys": page_size}
    if start_after is not None:
        args["StartAfter"] = start_after
    return _objects(conn, bucket, prefix, args, len(scope))


def list_prefixes(
    conn: Connection, bucket: str, prefix: str = "", delimiter: str = "/", *, scope: str = ""
) -> AsyncGenerator[str, None]:
    """
    What the keys under *prefix* have up to and including the next *delimiter*, each once; without *scope*.

    These are the "folders" of one level; keys without a further delimiter are not shown.
    """
    if not delimiter:
        raise S3InvalidRequestError(
            "delimiter is empty",
            operation="ListObjectsV2",
            bucket=bucket,
            remedy="Pass what ends a level, such as '/', or use list_objects().",
        )
    return _prefixes(conn, bucket, prefix, {"Delimiter": delimiter}, len(scope))


async def list_versions(
    conn: Connection, bucket: str, prefix: str = "", *, scope: str = ""
) -> AsyncGenerator[ObjectVersion, None]:
    """
    Every version and delete marker of the keys that start with *prefix*: by key, the latest first.

    S3 lists versions and markers apart and may date them to the second only, so older ones of one key and
    one second may come in either order; `is_latest` is S3's word. In a bucket that never had versions each
    object is one version, `null`.
    """
    args: _VersionArgs = {}
    guard: _RepeatGuard[tuple[str, str]] = _RepeatGuard("ListObjectVersions", bucket)
    while True:
        reply = await _version_page(conn, bucket, prefix, args)
        found = [_version(entry, len(scope)) for entry in reply.get("Versions", ())]
        found += [_marker(entry, len(scope)) for entry in reply.get("DeleteMarkers", ())]
        for item in sorted(found, key=_by_key_then_age):
            yield item
        if not reply.get("IsTruncated"):
            return
        key, version = guard.checked(
            (reply.get("NextKeyMarker", ""), reply.get("NextVersionIdMarker", "")), ("", "")
        )
        args = {"KeyMarker": key}
        if version:
            args["VersionIdMarker"] = version


class _RepeatGuard(Generic[P]):
    """Stops a listing that goes round in circles of any length; constant memory (Brent's algorithm)."""

    __slots__ = ("_bucket", "_last", "_left", "_operation", "_saved", "_span")

    def __init__(self, operation: str, bucket: str) -> None:
        self._operation = operation
        self._bucket = bucket
        self._last: P | None = None
        self._saved: P | None = None
        self._span = self._left = 1

    def checked(self, position: P, nowhere: P) -> P:
        """*position*, where the next page starts, unless the store names none or one it named before."""
        if position == nowhere:
            raise self._error("says there is more but not where")
        if position in (self._last, self._saved):
            raise self._error(f"repeats the page after {position!r}")
        self._last = position
        self._left -= 1
        if not self._left:
            self._saved = position
            self._span *= 2
            self._left = self._span
        return position

    def _error(self, what: str) -> S3Error:
        return S3Error(
            f"the store {what}: the listing would never end",
            operation=self._operation,
            bucket=self._bucket,
            remedy="This is a fault of the store, or of a cache in front of it: report it to its operator.",
        )


async def _objects(
    conn: Connection, bucket: str, prefix: str, args: _PageArgs, cut: int
) -> AsyncGenerator[ObjectInfo, None]:
    guard: _RepeatGuard[str] = _RepeatGuard("ListObjectsV2", bucket)
    more = True
    while more:
        reply = await _page(conn, bucket, prefix, args)
        for info in listed(reply.get("Contents", ()), cut):
            yield info
        more = reply.get("IsTruncated", False)
        if more:
            args["ContinuationToken"] = guard.checked(reply.get("NextContinuationToken", ""), "")


async def _prefixes(
    conn: Connection, bucket: str, prefix: str, args: _PageArgs, cut: int
) -> AsyncGenerator[str, None]:
    guard: _RepeatGuard[str] = _RepeatGuard("ListObjectsV2", bucket)
    more = True
    while more:
        reply = await _page(conn, bucket, prefix, args)
        for entry in reply.get("CommonPrefixes", ()):
            yield entry.get("Prefix", "")[cut:]
        more = reply.get("IsTruncated", False)
        if more:
            args["ContinuationToken"] = guard.checked(reply.get("NextContinuationToken", ""), "")


async def _page(conn: Connection, bucket: str, prefix: str, args: _PageArgs) -> ListObjectsV2OutputTypeDef:
    with conn.within(None, "ListObjectsV2", bucket):
        return await conn.call(
            "ListObjectsV2",
            lambda s3: _send(s3)(Bucket=bucket, Prefix=prefix, **args, **conn.owner),
            bucket=bucket,
        )


def _send(s3: S3Client) -> Callable[..., Awaitable[ListObjectsV2OutputTypeDef]]:
    """The client's call; on the fast path it may give `Contents` as columns, which `listed` takes too."""
    send: Callable[..., Awaitable[ListObjectsV2OutputTypeDef]]
    send = getattr(s3, "_list_objects_in_columns", s3.list_objects_v2)
    return send


async def _version_page(
    conn: Connection, bucket: str, prefix: str, args: _VersionArgs
) -> ListObjectVersionsOutputTypeDef:
    with conn.within(None, "ListObjectVersions", bucket):
        return await conn.call(
            "ListObjectVersions",
            lambda s3: s3.list_object_versions(Bucket=bucket, Prefix=prefix, **args, **conn.owner),
            bucket=bucket,
        )


def _version(entry: ObjectVersionTypeDef, cut: int) -> ObjectVersion:
    return ObjectVersion(
        key=entry.get("Key", "")[cut:],
        version_id=entry.get("VersionId", "null"),
        is_latest=entry.get("IsLatest", False),
        is_delete_marker=False,
        last_modified=_moment(entry.get("LastModified")),
        size=entry.get("Size", 0),
        etag=unquoted(entry.get("ETag")),
        storage_class=entry.get("StorageClass"),
    )


def _marker(entry: DeleteMarkerEntryTypeDef, cut: int) -> ObjectVersion:
    return ObjectVersion(
        key=entry.get("Key", "")[cut:],
        version_id=entry.get("VersionId", "null"),
        is_latest=entry.get("IsLatest", False),
        is_delete_marker=True,
        last_modified=_moment(entry.get("LastModified")),
    )


def _moment(value: datetime | None) -> datetime:
    moment = utc(value)
    if moment is None:
        raise S3Error("the store lists a version without a date", operation="ListObjectVersions")
    return moment


def _by_key_then_age(item: ObjectVersion) -> tuple[str, bool, float]:
    """Code point order is the order of UTF-8 bytes."""
    return item.key, not item.is_latest, -item.last_modified.timestamp()
