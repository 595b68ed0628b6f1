"""One GetObject request: its arguments, and what later requests for the same bytes are held to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from greenlang_async_storage._body import Body
from greenlang_async_storage._conditions import quoted_etag, version_args
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3Error, S3InvalidRequestError
from greenlang_async_storage._types import ByteRange


class GetArgs(TypedDict, total=False):
    """The arguments of GetObject that differ between requests."""

    ChecksumMode: Literal["ENABLED"]
    Range: str
    IfMatch: str
    IfNoneMatch: str
    VersionId: str


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one object: what every request after the first is held to."""

    bucket: str
    key: str
    etag: str
    size: int
    version_id: str | None
    """Asked for by the caller."""
    seen_version: str | None
    """Named by the first reply; reading it may need another permission, so it is the second choice."""

    def args(self, start: int, stop: int) -> GetArgs:
        """GetObject's arguments for bytes *start* to *stop* of exactly this version."""
        args: GetArgs = {"Range": f"bytes={start}-{stop - 1}", "IfMatch": f'"{self.etag}"'}
        if self.version_id is not None:
            args["VersionId"] = self.version_id
        return args

    def by_version(self) -> Pin | None:
        """The same, held by its version, which outlives an overwrite; `None` where there is none to try."""
        if self.version_id is not None or self.seen_version in {None, "", "null"}:
            return None
        return replace(self, version_id=self.seen_version)


def first_args(
    key: str, span: ByteRange | None, if_match: str | None, if_none_match: str | None, version_id: str | None
) -> GetArgs:
    """GetObject's arguments for what the caller asked for."""
    args: GetArgs = {"ChecksumMode": "ENABLED"}
    start, stop = (0, None) if span is None else span
    if start or stop is not None:
        args["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
    if if_match is not None:
        args["IfMatch"] = quoted_etag("if_match", if_match, key=key)
    if if_none_match is not None:
        args["IfNoneMatch"] = quoted_etag("if_none_match", if_none_match, key=key)
    if version_id is not None:
        args["VersionId"] = version_id
    return args


def check_range(span: object) -> ByteRange | None:
    """A half-open `(start, stop)` as it is, once it is known to hold a byte; else it raises."""
    if span is None:
        return None
    if not isinstance(span, tuple) or len(span) != 2:
        raise TypeError(f"range must be a tuple (start, stop), not {span!r}")
    start, stop = span
    if not _is_int(start) or not (stop is None or _is_int(stop)):
        raise TypeError(f"range {span!r} must hold bytes as int; only stop may be None, for the end")
    if start < 0 or (stop is not None and stop <= start):
        raise S3InvalidRequestError(f"range {span!r} holds no byte", remedy="Pass 0 <= start < stop.")
    return start, stop


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


async def open_body(conn: Connection, bucket: str, key: str, args: GetArgs) -> Body:
    """A GetObject reply that holds a slot until its `close()`."""
    context = conn.open_body(
        lambda s3: s3.get_object(Bucket=bucket, Key=key, **args, **conn.owner), bucket=bucket, key=key
    )
    return await context.__aenter__()


async def range_refused(
    conn: Connection, key: str, span: ByteRange | None, version_id: str | None, refused: S3Error
) -> S3InvalidRequestError:
    """The 416 *refused* as an error that names the object's size, asked for when S3 did not tell."""
    bucket = refused.bucket or ""
    try:
        head = await conn.call(
            "HeadObject",
            lambda s3: s3.head_object(Bucket=bucket, Key=key, **version_args(version_id), **conn.owner),
            bucket=bucket,
            key=key,
        )
        has = f"the object has {head['ContentLength']} bytes"
    except S3Error:
        has = "the object ends before it"
    return S3InvalidRequestError(
        f"the range starts at byte {span[0] if span else 0}, {has}",
        operation="GetObject",
        bucket=bucket,
        key=key,
        code=refused.code,
        status=refused.status,
        request_id=refused.request_id,
        attempts=refused.attempts,
        remedy="Ask head() for the size, and start the range before it.",
    )
