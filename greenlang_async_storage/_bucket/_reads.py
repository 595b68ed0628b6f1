"""The reading half of `Bucket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlang_async_storage import _download_file, _downloads, _listing, _objects
from greenlang_async_storage._errors import S3InvalidRequestError

from ._view import BucketView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from greenlang_async_storage._types import (
        ByteRange,
        ObjectInfo,
        ObjectVersion,
        ProgressHook,
        StrPath,
        Verify,
    )


class BucketReads(BucketView):
    """Downloads, heads and listings."""

    __slots__ = ()

    async def download_bytes(
        self,
        key: str,
        *,
        range: ByteRange | None = None,  # the HTTP word
        max_size: int | None = None,
        version_id: str | None = None,
        timeout: float | None = None,  # a public promise: seconds for the whole call
    ) -> bytes:
        """
        The object's bytes: all of them, or the half-open *range* `(start, stop)`; `stop=None` is the end.

        Whole reads are verified against the stored checksum; a mismatch is read once more. A broken
        connection is resumed from the last good byte, pinned to the same version. Holds the result in
        memory: pass *max_size* (bytes) for objects of strangers, or use `open_download`.

        Raises:
            S3NotFoundError: no such key or version.
            S3InvalidRequestError: larger than *max_size*, or a range that starts behind the end.
            S3IntegrityError: the bytes do not match their checksum.
            S3ObjectChangedError: replaced while it was read, twice in a row.
        """
        full = self._full(key, "GetObject")
        with self._within(timeout, "GetObject", full):
            return await _downloads.download_bytes(
                self._connection, self._name, full, range=range, max_size=max_size, version_id=version_id
            )

    async def download_json(
        self,
        key: str,
        *,
        max_size: int | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> Any:  # noqa: ANN401  # JSON is whatever its writer made it
        """
        The value of a JSON object (RFC 8259, UTF-8), verified like `download_bytes`.

        Parsed by the standard library, whose integers have no limit; that takes about 10 ms per MiB of the
        event loop's time, so limit strangers' objects with *max_size* (bytes).

        Raises:
            S3IntegrityError: the bytes are not valid JSON.
            S3InvalidRequestError: larger than *max_size* bytes.
            S3NotFoundError: no such key or version.
        """
        full = self._full(key, "GetObject")
        with self._within(timeout, "GetObject", full):
            return await _downloads.download_json(
                self._connection, self._name, full, max_size=max_size, version_id=version_id
            )

    async def download_file(
        self,
        key: str,
        path: StrPath,
        *,
        part_size: int | None = None,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        resume: StrPath | None = None,
        durable: bool = True,
        verify: Verify = "if-available",
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> ObjectInfo:
        """
        The object as a file at *path*: the old file or the whole verified new one, never a piece.

        Missing directories are made. Ranges of *part_size* bytes come in parallel, all pinned to the version
        of the first reply, into a temporary file beside *path* (mode 0600), which is checked, synced to
        disk (*durable*) and renamed. A failure or cancel removes it. Holds at most
        4 MiB, and *part_size* bytes, for each of *concurrency* connections.

        *resume* names a small journal file: a later call with the same journal goes on where a killed one
        stopped. `verify="require"` refuses objects stored without a usable checksum; `"if-available"` reads
        them pinned by ETag and size and says `verified=False`.

        Raises:
            S3NotFoundError, S3IntegrityError, S3ObjectChangedError: as `download_bytes`.
            S3LocalFileError: the disk is full, the path is a directory, permissions; `errno` tells.
        """
        full = self._full(key, "GetObject")
        with self._within(timeout, "GetObject", full):
            info = await _download_file.download_file(
                self._connection,
                self._name,
                full,
                path,
                part_size=part_size,
                concurrency=concurrency,
                on_progress=on_progress,
                resume=resume,
                durable=durable,
                verify=verify,
                version_id=version_id,
            )
        return self._relative(info)

    def open_download(
        self,
        key: str,
        *,
        range: ByteRange | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        version_id: str | None = None,
    ) -> AbstractAsyncContextManager[_downloads.Download]:
        """
        The object as a stream: `async with bucket.open_download(key) as body`, `async for chunk in body`.

        `body.info` is known at once; `await body.read()` gives the rest in one piece. Holds one pool slot
        until the block ends, however it ends, and one chunk in memory; a slow reader slows the store
        down. Broken connections are resumed, pinned to the same version. A checksum mismatch is raised at
        the end, after the last chunk.

        Raises:
            S3NotFoundError: no such key or version.
            S3PreconditionFailedError: *if_match* did not hold, or *if_none_match* did (status 304).
            S3ObjectChangedError: replaced or deleted while it was read.
        """
        return _downloads.open_download(
            self._connection,
            self._name,
            self._full(key, "GetObject"),
            range=range,
            if_match=if_match,
            if_none_match=if_none_match,
            version_id=version_id,
            prefix=self._prefix,
        )

    async def head(
        self,
        key: str,
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> ObjectInfo:
        """
        What the store knows of an object, without its bytes.

        Raises:
            S3NotFoundError: no such key or version.
            S3PreconditionFailedError: *if_match* did not hold, or *if_none_match* did (status 304).
        """
        full = self._full(key, "HeadObject")
        with self._within(timeout, "HeadObject", full):
            info = await _objects.head(
                self._connection,
                self._name,
                full,
                if_match=if_match,
                if_none_match=if_none_match,
                version_id=version_id,
            )
        return self._relative(info)

    async def exists(
        self,
        key: str,
        *,
        timeout: float | None = None,
    ) -> bool:
        """
        Whether the key has an object now.

        Raises:
            S3AccessDeniedError: S3 answers so for missing keys too when the role lacks s3:ListBucket.
        """
        full = self._full(key, "HeadObject")
        with self._within(timeout, "HeadObject", full):
            return await _objects.exists(self._connection, self._name, full)

    async def get_tags(
        self,
        key: str,
        *,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, str]:
        """
        The object's tags, empty when it has none.

        Raises:
            S3NotFoundError: no such key or version.
        """
        full = self._full(key, "GetObjectTagging")
        with self._within(timeout, "GetObjectTagging", full):
            return await _objects.get_tags(self._connection, self._name, full, version_id=version_id)

    def list_objects(
        self, prefix: str = "", *, start_after: str | None = None, page_size: int = 1000
    ) -> AsyncIterator[ObjectInfo]:
        """
        Every object whose key starts with *prefix*, in the store's order (UTF-8 bytes on S3): `async for`.

        One page of *page_size* keys (1 to 1,000) in memory, however many there are; *start_after* goes on
        behind a key. `size`, `etag`, `last_modified` and `storage_class` are filled; `head` tells the rest.

        Raises:
            S3NotFoundError: no such bucket.
            S3InvalidRequestError: at once, for another *page_size* or text that is no UTF-8.
        """
        return _listing.list_objects(
            self._connection,
            self._name,
            self._full_prefix(prefix, "ListObjectsV2"),
            start_after=None if start_after is None else self._after(start_after),
            page_size=page_size,
            scope=self._prefix,
        )

    def _after(self, key: str) -> str:
        """Where a listing goes on: any text that has a form in UTF-8, whether or not a key could be so."""
        after = self._prefix + key
        try:
            after.encode()
        except UnicodeEncodeError:
            raise S3InvalidRequestError(
                f"start_after {key!a} holds a lone surrogate, which UTF-8 cannot encode",
                operation="ListObjectsV2",
                bucket=self._name,
                remedy="Pass the key of an earlier item.",
            ) from None
        return after

    def list_prefixes(self, prefix: str = "", delimiter: str = "/") -> AsyncIterator[str]:
        """Every "folder" directly under *prefix*, each ending in *delimiter*; one page in memory."""
        return _listing.list_prefixes(
            self._connection,
            self._name,
            self._full_prefix(prefix, "ListObjectsV2"),
            delimiter,
            scope=self._prefix,
        )

    def list_versions(self, prefix: str = "") -> AsyncIterator[ObjectVersion]:
        """Every version and delete marker of the keys that start with *prefix*, newest first for each key."""
        return _listing.list_versions(
            self._connection,
            self._name,
            self._full_prefix(prefix, "ListObjectVersions"),
            scope=self._prefix,
        )
