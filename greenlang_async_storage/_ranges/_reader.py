"""Bytes of one version of one object, read over as many connections as it takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from greenlang_async_storage._body import Body
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
    S3TimeoutError,
)
from greenlang_async_storage._info import extent, object_info, unquoted
from greenlang_async_storage._log import log
from greenlang_async_storage._retry import BACKOFF_BASE, BACKOFF_CAP
from greenlang_async_storage._types import ByteRange, ObjectInfo

from ._get import Pin, first_args, open_body, range_refused

T = TypeVar("T")

PROGRESS_BYTES: Final = 64 * 1024
"""A connection that brought this many bytes before it broke does not count against `max_attempts`."""
STEP: Final = 1024 * 1024
"""Bytes asked of the transport at once, at first: a stalled connection costs no more than these again."""
LONGEST_STEP: Final = 64 * 1024 * 1024
QUICK_SECONDS: Final = 1.0
"""Steps that take less grow: uvloop reads on between two of them, and that has to be copied."""
READ_AT_ONCE: Final = 256 * 1024
"""Bodies up to this size are read in one step."""
_CHANGED: Final = "the object was replaced or deleted while it was being read"


class RangeReader:
    """
    Bytes `position` to `stop` of one pinned object, in order.

    A connection that breaks or stalls is replaced from the last good byte on, with Range and If-Match; after
    `max_attempts` connections in a row that brought less than `PROGRESS_BYTES` its failure is raised, and
    `S3ObjectChangedError` when the object was replaced or deleted meanwhile. Holds a slot from the first read
    until `close`, and none while it waits to try again.
    """

    __slots__ = ("_body", "_conn", "_failures", "_opened_at", "pin", "position", "step", "stop")

    def __init__(
        self,
        conn: Connection,
        pin: Pin,
        start: int,
        stop: int,
        body: Body | None = None,
        *,
        step: int = STEP,
    ) -> None:
        self.pin = pin
        self.position = start
        self.stop = stop
        self.step = step
        """Bytes `readinto` asks for at once; what one reader found good is good for the next."""
        self._conn = conn
        self._body = body
        self._opened_at = start
        self._failures = 0

    async def chunk(self) -> bytes:
        """What has arrived, or `b""` at the end."""
        while self.position < self.stop:
            body = self._body or await self._open()
            try:
                data = await body.chunk()
                if not data:
                    raise self._ended_early()
            except S3Error as exc:
                await self._broke(exc)
                continue
            if len(data) > self.stop - self.position:
                data = data[: self.stop - self.position]
            self.position += len(data)
            return data
        return b""

    async def read(self) -> bytes:
        """All the rest, in memory twice while it is joined."""
        pieces: list[bytes] = []
        while self.position < self.stop:
            if self.stop - self.position > READ_AT_ONCE or self._body is None:
                pieces.append(await self.chunk())
                continue
            try:
                data = await self._body.read()
                if not data:
                    raise self._ended_early()
            except S3Error as exc:
                await self._broke(exc)
                continue
            data = data[: self.stop - self.position]
            pieces.append(data)
            self.position += len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, view: memoryview) -> None:
        """Fill *view*, which must not be longer than what is left."""
        clock = asyncio.get_running_loop().time
        filled = 0
        while filled < len(view):
            body = self._body or await self._open()
            before, began = body.received, clock()
            try:
                with view[filled : filled + self.step] as piece:
                    count = await body.readinto(piece)
                if not count:
                    raise self._ended_early()
            except S3Error as exc:
                kept = body.received - before
                filled += kept
                self.position += kept
                self.step = STEP
                await self._broke(exc)
                continue
            filled += count
            self.position += count
            if clock() - began > QUICK_SECONDS:
                self.step = STEP
            elif count == self.step:
                self.step = min(2 * count, LONGEST_STEP)

    def close(self) -> None:
        """Give the slot back. Idempotent; a later read opens a new connection where this one stopped."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    async def _open(self) -> Body:
        pin = self.pin
        try:
            body = await open_body(self._conn, pin.bucket, pin.key, pin.args(self.position, self.stop))
        except (S3PreconditionFailedError, S3NotFoundError) as exc:
            return await self._open_by_version(exc)
        except S3InvalidRequestError as exc:
            if exc.status != 416:
                raise
            raise self._changed(exc) from exc
        try:
            self._check(body.response)
        except BaseException:
            body.close()
            raise
        self._body = body
        self._opened_at = self.position
        return body

    async def _open_by_version(self, replaced: S3Error) -> Body:
        """The object is no longer what its key names; in a bucket with versions it may still be read."""
        named = self.pin.by_version()
        if named is None:
            raise self._changed(replaced) from replaced
        self.pin = named
        try:
            return await self._open()
        except S3AccessDeniedError:
            raise self._changed(replaced) from replaced

    def _check(self, reply: Mapping[str, object]) -> None:
        """Refuse what was not asked for: a store or proxy may ignore Range and If-Match."""
        span = extent(reply)
        etag = unquoted(reply.get("ETag"))
        if (etag and etag != self.pin.etag) or (span is not None and span.size != self.pin.size):
            raise self._changed(None)
        if span is None or span.start != self.position or span.stop < self.stop:
            raise S3IntegrityError(
                f"asked for bytes {self.position}-{self.stop} of {self.pin.size}, the store sent "
                + (f"{span.start}-{span.stop}" if span else "a reply without a usable Content-Range"),
                operation="GetObject",
                bucket=self.pin.bucket,
                key=self.pin.key,
                remedy="Use a store, and no proxy on the way, that honours the Range header.",
            )

    async def _broke(self, exc: S3Error) -> None:
        """Put the broken connection away; return when another one should be tried."""
        self.close()
        if exc.code == "Closed":
            self._conn.require_open()
        if not isinstance(exc, S3ConnectionError | S3TimeoutError) or not exc.retryable or not self.pin.etag:
            raise exc
        settings = self._conn.settings
        if self.position - self._opened_at >= PROGRESS_BYTES:
            self._failures = 0
        self._failures += 1
        exc.attempts = self._failures
        if self._failures >= (1 if settings.retry_mode == "none" else settings.max_attempts):
            raise exc
        log.warning(
            "storage.download_resumed",
            bucket=self.pin.bucket,
            key=self.pin.key,
            position=self.position,
            error=type(exc).__name__,
            code=exc.code,
        )
        if self._failures > 1:
            longest = min(BACKOFF_CAP, BACKOFF_BASE * 2**self._failures)
            await asyncio.sleep(random.uniform(0.0, longest))  # noqa: S311  # not a secret

    def _ended_early(self) -> S3ConnectionError:
        return S3ConnectionError(
            f"the reply ended {self.stop - self.position} bytes early, at byte {self.position}",
            operation="GetObject",
            bucket=self.pin.bucket,
            key=self.pin.key,
            code="IncompleteRead",
            attempts=1,
            retryable=True,
        )

    def _changed(self, exc: S3Error | None) -> S3ObjectChangedError:
        return S3ObjectChangedError(
            _CHANGED,
            operation="GetObject",
            bucket=self.pin.bucket,
            key=self.pin.key,
            code=exc.code if exc else None,
            status=exc.status if exc else None,
            request_id=exc.request_id if exc else None,
            attempts=exc.attempts if exc else 1,
            retryable=True,
        )


async def open_reader(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    span: ByteRange | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
    version_id: str | None = None,
) -> tuple[ObjectInfo, RangeReader]:
    """
    The first request of a download: what the object is, and a reader pinned to it that holds a slot.

    `S3InvalidRequestError` names the object's size when *span* begins behind its end.
    """
    start, stop = (0, None) if span is None else span
    try:
        body = await open_body(conn, bucket, key, first_args(key, span, if_match, if_none_match, version_id))
    except S3InvalidRequestError as exc:
        if exc.status == 416:
            raise await range_refused(conn, key, span, version_id, exc) from exc
        raise
    try:
        info = object_info(key, body.response)
        found = extent(body.response)
        wanted = info.size if stop is None else min(stop, info.size)
        if found is None or found.start != start or found.stop != wanted:
            raise S3IntegrityError(
                "the reply does not say which bytes of the object it carries"
                if found is None
                else f"asked for bytes {start}-{wanted}, the store sent {found.start}-{found.stop}",
                operation="GetObject",
                bucket=bucket,
                key=key,
                remedy="Use a store, and no proxy on the way, that keeps Content-Length and honours Range.",
            )
    except BaseException:
        body.close()
        raise
    pin = Pin(bucket, key, info.etag, info.size, version_id, info.version_id)
    return info, RangeReader(conn, pin, start, wanted, body)


async def once_more(conn: Connection, attempt: Callable[[], Awaitable[T]]) -> T:
    """What *attempt* gives; tried a second time when it met damaged bytes or a replaced object."""
    try:
        return await attempt()
    except (S3IntegrityError, S3ObjectChangedError) as exc:
        settings = conn.settings
        if not exc.retryable or settings.retry_mode == "none" or settings.max_attempts < 2:
            raise
        log.warning(
            "storage.download_restarted",
            bucket=exc.bucket,
            key=exc.key,
            error=type(exc).__name__,
            code=exc.code,
        )
    return await attempt()
