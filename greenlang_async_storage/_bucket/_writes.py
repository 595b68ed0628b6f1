"""The writing half of `Bucket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from greenlang_async_storage import _multipart, _uploads

from ._view import BucketView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from greenlang_async_storage._types import (
        Buffer,
        ByteSource,
        MultipartUpload,
        ProgressHook,
        StaleUpload,
        StrPath,
        UploadedPart,
        UploadResult,
        WriteOptions,
    )


class BucketWrites(BucketView):
    """Uploads, in one piece or in parts."""

    __slots__ = ()

    async def upload_bytes(
        self,
        key: str,
        data: Buffer,
        *,
        timeout: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """
        Store *data* under *key*; readers see the old object or the whole new one.

        The configured checksum and, as metadata `content-hash`, the SHA-256 go with it. Buffers from the
        multipart threshold on are sent in parts. *options* are those of `WriteOptions`.

        Raises:
            S3PreconditionFailedError: `if_none_match=True` and the key exists, or `if_match` did not hold.
            S3InvalidRequestError: a bad key, metadata, tag or option; nothing was sent.
            S3Error: with `outcome` `not_applied`, or `unknown` when the reply was lost for good.
        """
        full = self._full(key, "PutObject")
        with self._within(timeout, "PutObject", full):
            result = await _uploads.upload_bytes(self._connection, self._name, full, data, options)
        return self._relative(result)

    async def upload_json(
        self,
        key: str,
        value: object,
        *,
        timeout: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """
        Store *value* as compact UTF-8 JSON, by orjson where it is installed, else by the standard library.

        Raises:
            TypeError: a value JSON cannot express, such as a `Decimal`; nothing was sent.
            S3PreconditionFailedError, S3InvalidRequestError: as `upload_bytes`.
        """
        full = self._full(key, "PutObject")
        with self._within(timeout, "PutObject", full):
            result = await _uploads.upload_json(self._connection, self._name, full, value, options)
        return self._relative(result)

    async def upload_file(
        self,
        key: str,
        path: StrPath,
        *,
        part_size: int | None = None,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        resume: StrPath | None = None,
        timeout: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """
        Store the file at *path*, in parts of *part_size* bytes from the multipart threshold on.

        Holds at most `concurrency * part_size` bytes. The file must not change meanwhile. A failure or cancel
        aborts the upload, unless *resume* names a journal file: then a later call goes on where this one
        stopped, also in another process.

        Raises:
            S3LocalFileError: the file cannot be read; `errno` tells.
            S3SourceChangedError: the file was modified, truncated or replaced; nothing was stored.
            S3PreconditionFailedError, S3InvalidRequestError: as `upload_bytes`.
        """
        full = self._full(key, "PutObject")
        with self._within(timeout, "PutObject", full):
            result = await _uploads.upload_file(
                self._connection,
                self._name,
                full,
                path,
                options,
                part_size=part_size,
                concurrency=concurrency,
                on_progress=on_progress,
                resume=resume,
            )
        return self._relative(result)

    async def upload_stream(
        self,
        key: str,
        chunks: ByteSource,
        *,
        part_size: int | None = None,
        concurrency: int | None = None,
        on_progress: ProgressHook | None = None,
        fixed_parts: bool = False,
        timeout: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """
        Store whatever *chunks* gives (see `ByteSource`), of any piece size and unknown total, up to 5 TiB.

        Holds at most `(concurrency + 1) * part_size` bytes: a fast producer waits. Parts grow after number
        1,000 so that 10,000 are enough; *fixed_parts* keeps them equal, for stores that ask for it. A small
        stream becomes one put. A failure, a cancel or an exception of the producer aborts the upload.

        Raises:
            TypeError: a piece that is no bytes; the message says which.
            S3InvalidRequestError: more than 10,000 *fixed_parts*, or as `upload_bytes`.
            S3Error: with `outcome` `unknown` when the reply to the completion was lost and cannot be settled.
        """
        full = self._full(key, "PutObject")
        with self._within(timeout, "PutObject", full):
            result = await _uploads.upload_stream(
                self._connection,
                self._name,
                full,
                chunks,
                options,
                part_size=part_size,
                concurrency=concurrency,
                on_progress=on_progress,
                fixed_parts=fixed_parts,
            )
        return self._relative(result)

    async def create_multipart(
        self,
        key: str,
        *,
        timeout: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> MultipartUpload:
        """
        An open multipart upload for a browser or another process: plain data that can be pickled or sent on.

        Its parts stay stored, and billed, until `complete_multipart` or `abort_multipart`; its `key` is the
        whole one, also in a scoped view. `if_none_match` and `if_match` belong to `complete_multipart`.
        """
        full = self._full(key, "CreateMultipartUpload")
        with self._within(timeout, "CreateMultipartUpload", full):
            return await _multipart.create_for_others(self._connection, self._name, full, options)

    async def list_parts(
        self,
        upload: MultipartUpload,
        *,
        timeout: float | None = None,
    ) -> list[UploadedPart]:
        """
        The parts S3 holds for *upload*, by number; at most 10,000.

        Raises:
            S3NotFoundError: completed, aborted or expired.
        """
        with self._within(timeout, "ListParts", upload.key):
            return await _multipart.list_parts(self._connection, self._own(upload))

    async def complete_multipart(
        self,
        upload: MultipartUpload,
        parts: Sequence[UploadedPart],
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
        timeout: float | None = None,
    ) -> UploadResult:
        """
        The finished object of *upload*, made of *parts* in the order of their numbers.

        Checksums the parts do not name are read from the store. A lost reply is settled by reading the object
        back. Conditions are checked here, when the object appears.

        Raises:
            S3InvalidRequestError: no parts, a number twice or outside 1 to 10,000, a part below 5 MiB.
            S3NotFoundError: completed by someone else, aborted or expired.
        """
        with self._within(timeout, "CompleteMultipartUpload", upload.key):
            result = await _multipart.complete_for_others(
                self._connection,
                self._own(upload),
                parts,
                {"if_none_match": if_none_match, "if_match": if_match},
            )
        return self._relative(result)

    async def abort_multipart(
        self,
        upload: MultipartUpload,
        *,
        timeout: float | None = None,
    ) -> None:
        """Drop *upload* and its parts; returns when the store confirms that it is gone."""
        with self._within(timeout, "AbortMultipartUpload", upload.key):
            await _multipart.abort(self._connection, self._own(upload))

    async def abort_stale_uploads(
        self,
        prefix: str = "",
        *,
        older_than: timedelta,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> list[StaleUpload]:
        """
        The multipart uploads under *prefix* begun over *older_than* ago: aborted, or with *dry_run* listed.

        Such uploads stay behind when a process is killed; a lifecycle rule does the same on the server. MinIO
        does not list all of them after a kill of its own.
        """
        full = self._full_prefix(prefix, "ListMultipartUploads")
        with self._within(timeout, "ListMultipartUploads"):
            found = await _multipart.abort_stale_uploads(
                self._connection, self._name, full, older_than=older_than, dry_run=dry_run
            )
        return [self._relative(upload) for upload in found]
