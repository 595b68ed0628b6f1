"""What every part of `Bucket` shares: the name, the connection, and a prefix no call can leave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from greenlang_async_storage._arguments import checked_bucket, checked_key, checked_prefix
from greenlang_async_storage._errors import S3InvalidRequestError

if TYPE_CHECKING:
    from greenlang_async_storage._connection import Connection
    from greenlang_async_storage._lifecycle import CallScope
    from greenlang_async_storage._types import MultipartUpload


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=_Keyed)


class BucketView:
    """A bucket, or the part of it under one prefix; holds nothing open and costs nothing to make."""

    __slots__ = ("_connection", "_name", "_prefix")

    def __init__(self, connection: Connection, name: str, prefix: str = "") -> None:
        self._connection = connection
        self._name = checked_bucket(name)
        self._prefix = prefix

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._name

    @property
    def prefix(self) -> str:
        """What every key of this view starts with; empty, or ending in `/`."""
        return self._prefix

    def scoped(self, prefix: str) -> Self:
        """
        A view of this bucket that can never leave *prefix*: keys go in and come out without it.

        Listing, copy sources, batches and presigned requests are scoped too. A missing `/` at the end is
        added, so `scoped("t1")` never reaches `t10/`. Views nest.

        Raises:
            S3InvalidRequestError: an empty prefix, or one with a segment such as `..`.
        """
        self._full_prefix(prefix)
        ended = prefix if prefix.endswith("/") else f"{prefix}/"
        if ended == "/":
            raise S3InvalidRequestError(
                f"prefix {prefix!r} is empty: it would scope nothing",
                bucket=self._name,
                remedy="Pass a prefix such as 'tenant-123/'.",
            )
        return type(self)(self._connection, self._name, self._full_prefix(ended))

    def __repr__(self) -> str:
        where = f", prefix={self._prefix!r}" if self._prefix else ""
        return f"{type(self).__name__}({self._name!r}{where})"

    def _within(self, timeout: float | None, operation: str, key: str | None = None) -> CallScope:
        return self._connection.within(timeout, operation, self._name, key)

    def _full(self, key: str, operation: str) -> str:
        """The key S3 sees, checked before anything is sent; *operation* is what a refusal names."""
        return checked_key(self._name, key, self._prefix, operation)

    def _full_prefix(self, prefix: str, operation: str | None = None) -> str:
        return checked_prefix(self._name, prefix, self._prefix, operation)

    def _relative(self, found: K) -> K:
        """*found* as a user of this view names it."""
        if not self._prefix:
            return found
        return replace(found, key=found.key.removeprefix(self._prefix))  # type: ignore[type-var]  # all are dataclasses

    def _own(self, upload: MultipartUpload) -> MultipartUpload:
        """*upload*, checked to be in this view: it may come from a stranger, with `..` in its key."""
        if upload.bucket == self._name and upload.key.startswith(self._prefix):
            checked_key(self._name, upload.key)
            return upload
        raise S3InvalidRequestError(
            f"the multipart upload of s3://{upload.bucket}/{upload.key} does not belong to {self!r}",
            bucket=self._name,
            key=upload.key,
            remedy="Call this on the bucket and scope that created the upload.",
        )
