"""Objects read with what is known of them, and the values stores give back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3IntegrityError,
    S3InvalidRequestError,
    S3ObjectChangedError,
)

from ._threads import sha256_of


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact as it was stored."""

    bucket: str
    key: str
    content_hash: str
    """The SHA-256 of its bytes, in hex."""
    size: int
    etag: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """A calculation result or a report as a listing shows it."""

    key: str
    tenant_id: str
    name: str
    """The id of a calculation; the last segment of a report's key."""
    day: date
    """In UTC."""
    size: int
    etag: str
    last_modified: datetime | None


async def read(bucket: Bucket, key: str, *, max_size: int | None = None) -> tuple[ObjectInfo, bytes]:
    """An object of at most *max_size* bytes, verified; read once more when damaged or replaced meanwhile."""
    with suppress(S3IntegrityError, S3ObjectChangedError):
        return await _read(bucket, key, max_size)
    return await _read(bucket, key, max_size)


async def _read(bucket: Bucket, key: str, max_size: int | None) -> tuple[ObjectInfo, bytes]:
    async with bucket.open_download(key) as body:
        if max_size is not None and body.info.size > max_size:
            raise S3InvalidRequestError(
                f"the object has {body.info.size} bytes and max_size is {max_size}",
                operation="GetObject",
                bucket=bucket.name,
                key=key,
                remedy="Raise max_size=, or read it as a file.",
            )
        data = await body.read()
        return body.info, data


async def check_hash(bucket: Bucket, key: str, data: bytes, expected: str) -> str:
    """The SHA-256 of *data*, which begins with *expected*; `S3IntegrityError` when it does not."""
    found = await sha256_of(data)
    require_hash(bucket, key, found, expected)
    return found


def require_hash(bucket: Bucket, key: str, found: str, expected: str) -> None:
    """`S3IntegrityError` unless *found* begins with *expected*, which older code cut to 8 digits."""
    if len(expected) < 8 or not found.startswith(expected.lower()):
        raise S3IntegrityError(
            f"the content has the SHA-256 {found} and was recorded with {expected[:64]!a}",
            operation="GetObject",
            bucket=bucket.name,
            key=key,
            code="ContentHashMismatch",
            remedy="Do not use it: it was changed after it was stored. Restore it from a backup.",
        )
