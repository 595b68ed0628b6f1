"""Objects as bytes, as JSON and as a stream of chunks: verified, and pinned to one version."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

from ._body import Body, Whole
from ._connection import Connection
from ._errors import S3IntegrityError, S3InvalidRequestError
from ._info import object_info, unquoted, whole_checksum
from ._ranges import Pin, RangeReader, check_range, once_more, open_reader, version_args
from ._types import ByteRange, ObjectInfo
from ._verify import Check, Verifier, matches_at_once

READ_AT_ONCE: Final = 256 * 1024
"""Bodies up to this size have mostly arrived when they are read."""
IN_PLACE: Final = 64 * 1024 * 1024
"""Largest object whose announced size is allocated before its bytes arrive."""


class Download:
    """
    An object being read: `info` tells what it is, `async for` and `read()` give its bytes, once and in order.

    For one task at a time. Chunks have the size in which they arrived, 256 KiB where the transport cannot
    tell. A broken connection is resumed on the same version; a checksum mismatch is raised after the last
    chunk.
    """

    __slots__ = ("_check", "_ended", "_info", "_open", "_reader", "_verifier")

    def __init__(self, info: ObjectInfo, reader: RangeReader, verifier: Verifier) -> None:
        self._info = info
        self._reader = reader
        self._verifier = verifier
        self._check: Check | None = None
        self._ended = False
        self._open = True

    @property
    def info(self) -> ObjectInfo:
        """What the store said of the object; `verified` is true once the whole of it was read and matched."""
        return self._info

    def __aiter__(self) -> Self:
        self._require_open()
        if self._ended:
            raise self._refused("was read to its end")
        return self

    async def __anext__(self) -> bytes:
        self._require_open()
        data = await self._next()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self) -> bytes:
        """The rest of the bytes, in memory; `b""` at the end. For more than a few MiB iterate instead."""
        self._require_open()
        pieces = []
        while data := await self._next():
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _prepare(self) -> None:
        """Learn how to verify what is about to be read."""
        reader = self._reader
        whole = reader.position == 0 and reader.stop == self._info.size
        checksum = self._info.checksum
        if not whole or checksum is None:
            return
        if checksum.type == "COMPOSITE":
            # Its parts are asked for first, and nobody asks for a slot while holding one.
            reader.close()
        self._check = await self._verifier.check()

    def _close(self) -> None:
        self._open = False
        self._reader.close()

    async def _next(self) -> bytes:
        reader = self._reader
        data = await reader.chunk()
        if data:
            if self._check is not None:
                self._check.update(data)
            return data
        if not self._ended:
            self._ended = True
            reader.close()
            if self._check is not None:
                self._verifier.demand(matches=self._check.matches())
                self._info = replace(self._info, verified=True)
        return b""

    def _require_open(self) -> None:
        if not self._open:
            raise self._refused("is closed")

    def _refused(self, why: str) -> S3InvalidRequestError:
        pin = self._reader.pin
        return S3InvalidRequestError(
            f"this download {why}",
            operation="GetObject",
            bucket=pin.bucket,
            key=pin.key,
            remedy="Read it once, inside its `async with` block; call open_download() to read again.",
        )


@asynccontextmanager
async def open_download(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    range: ByteRange | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
    version_id: str | None = None,
    prefix: str = "",
) -> AsyncIterator[Download]:
    """
    The object, or a half-open *range* of it, as a `Download` that holds a slot until the block ends.

    Memory: one chunk, and what the transport has buffered. *prefix* is cut from the key in `info`. Raises
    `S3PreconditionFailedError` when *if_match* does not hold or *if_none_match* does (status 304), and
    `S3InvalidRequestError` with the object's size for a range that starts behind it.
    """
    with conn.within(None, "GetObject", bucket, key):
        info, reader = await open_reader(
            conn,
            bucket,
            key,
            span=check_range(range),
            if_match=if_match,
            if_none_match=if_none_match,
            version_id=version_id,
        )
        verifier = Verifier(conn, reader.pin, info.checksum)
        download = Download(replace(info, key=key.removeprefix(prefix)), reader, verifier)
        try:
            await download._prepare()  # noqa: SLF001  # made here, for the reader's eyes only
        except BaseException:
            download._close()  # noqa: SLF001  # as above
            raise
    try:
        yield download
    finally:
        download._close()  # noqa: SLF001  # as above


async def download_bytes(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    range: ByteRange | None = None,
    max_size: int | None = None,
    version_id: str | None = None,
) -> bytes:
    """
    The object's bytes, or those of a half-open *range*; above 64 MiB in memory twice while they are joined.

    A whole object is verified against its stored checksum. Damaged bytes, and an object that was replaced
    while it was read, are read once more. *max_size* in bytes is checked before anything is read.
    """
    span = check_range(range)
    if max_size is not None and (isinstance(max_size, bool) or max_size < 0):
        raise S3InvalidRequestError(
            f"max_size is {max_size!r}, no number of bytes", remedy="Pass 0 or more, or None for no limit."
        )
    return await once_more(
        conn, partial(_read, conn, bucket, key, span, max_size=max_size, version_id=version_id)
    )


async def download_json(
    conn: Connection, bucket: str, key: str, *, max_size: int | None = None, version_id: str | None = None
) -> Any:  # noqa: ANN401  # JSON is whatever its writer made it
    """
    The value of the JSON text stored at *key*, read as `download_bytes` does.

    Parsed by the standard library, also where orjson is installed: that would turn integers beyond 64 bits
    into floats. UTF-8, or UTF-16 and UTF-32 told by their first bytes; `NaN` and `Infinity` are read as
    Python's `json` writes them. Raises `S3IntegrityError` for what is not JSON or is nested too deeply. Holds
    up the loop for some 10 ms per MiB, so limit strangers' objects with *max_size*.
    """
    data = await download_bytes(conn, bucket, key, max_size=max_size, version_id=version_id)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        why = "is nested too deeply" if isinstance(exc, RecursionError) else f"is not JSON: {exc}"
        raise S3IntegrityError(
            f"the object {why}",
            operation="GetObject",
            bucket=bucket,
            key=key,
            code="InvalidJson",
            remedy="Read it with download_bytes(), and correct what writes this key.",
        ) from exc


async def _read(
    conn: Connection,
    bucket: str,
    key: str,
    span: ByteRange | None,
    *,
    max_size: int | None,
    version_id: str | None,
) -> bytes:
    found = None if span is not None else await _fetch(conn, bucket, key, version_id)
    if isinstance(found, Whole):
        _refuse_larger(len(found.data), max_size, bucket, key)
        return await _verified(conn, bucket, key, version_id, found)
    if found is None:
        info, reader = await open_reader(conn, bucket, key, span=span, version_id=version_id)
    else:
        info = object_info(key, found.response)
        pin = Pin(bucket, key, info.etag, info.size, version_id, info.version_id)
        reader = RangeReader(conn, pin, 0, info.size, found)
    try:
        size = reader.stop - reader.position
        _refuse_larger(size, max_size, bucket, key)
        data = await _all_of(reader, size)
    finally:
        reader.close()
    if size == info.size:
        await Verifier(conn, reader.pin, info.checksum).data(data)
    return data


async def _fetch(conn: Connection, bucket: str, key: str, version_id: str | None) -> Whole | Body | None:
    """
    The reply to a plain GetObject.

    `None` for one that does not carry the whole object: `open_reader`, which asks again, says what is wrong.
    """
    found = await conn.fetch(
        lambda s3: s3.get_object(
            Bucket=bucket, Key=key, ChecksumMode="ENABLED", **version_args(version_id), **conn.owner
        ),
        bucket=bucket,
        key=key,
    )
    if not found.response.get("ContentRange") and "ContentLength" in found.response:
        return found
    if isinstance(found, Body):
        found.close()
    return None


async def _verified(conn: Connection, bucket: str, key: str, version_id: str | None, found: Whole) -> bytes:
    reply, data = found
    checksum = whole_checksum(reply)
    if checksum is not None and not matches_at_once(checksum, data):
        pin = Pin(bucket, key, unquoted(reply.get("ETag")), len(data), version_id, reply.get("VersionId"))
        await Verifier(conn, pin, checksum).data(data)
    return data


async def _all_of(reader: RangeReader, size: int) -> bytes:
    if not READ_AT_ONCE < size <= IN_PLACE:
        return await reader.read()
    # A bytes object nobody else holds is filled in place and handed out again without a copy.
    sink = io.BytesIO(bytes(size))
    with sink.getbuffer() as view:
        await reader.readinto(view)
    return sink.getvalue()


def _refuse_larger(size: int, max_size: int | None, bucket: str, key: str) -> None:
    if max_size is not None and size > max_size:
        raise S3InvalidRequestError(
            f"the object has {size} bytes to read and max_size is {max_size}",
            operation="GetObject",
            bucket=bucket,
            key=key,
            remedy="Raise max_size=, read a range=, or use open_download() or download_file().",
        )
