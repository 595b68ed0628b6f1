"""Deleting, copying, tagging and presigning: the rest of `Bucket`'s single-object calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlang_async_storage import _copy, _objects, _presign
from greenlang_async_storage._arguments import checked_bucket

from ._view import BucketView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from greenlang_async_storage._types import (
        MultipartUpload,
        PresignedPost,
        PresignedUpload,
        PresignedUrl,
        UploadResult,
    )


class BucketChanges(BucketView):
    """Calls that change one object, and requests signed for others."""

    __slots__ = ()

    async def delete(
        self,
        key: str,
        *,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """
        Delete an object; a missing key is no error (as in S3).

        In a versioned bucket this adds a delete marker; *version_id* removes that version for good.
        """
        full = self._full(key, "DeleteObject")
        with self._within(timeout, "DeleteObject", full):
            await _objects.delete(self._connection, self._name, full, version_id=version_id)

    async def copy(
        self,
        source: str,
        destination: str,
        *,
        source_bucket: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> UploadResult:
        """
        A copy of *source* under *destination*, made by the store, pinned to the source's ETag.

        Metadata, content headers, tags, storage class and encryption are kept; above 5 GiB the copy goes in
        parts. In a scoped view both keys are scoped, also with *source_bucket*.

        Raises:
            S3NotFoundError: no such source.
            S3ObjectChangedError: the source was replaced meanwhile.
            S3InvalidRequestError: source and destination are the same object.
        """
        origin, full = self._full(source, "CopyObject"), self._full(destination, "CopyObject")
        if source_bucket is not None:
            checked_bucket(source_bucket)
        with self._within(timeout, "CopyObject", full):
            result = await _copy.copy(
                self._connection, self._name, origin, full, source_bucket=source_bucket, version_id=version_id
            )
        return self._relative(result)

    async def move(
        self,
        source: str,
        destination: str,
        *,
        timeout: float | None = None,
    ) -> UploadResult:
        """
        *source* under the name *destination*: copied, then deleted where it is still what was copied.

        Not atomic: both exist for a moment, and both remain when the source was replaced meanwhile.

        Raises:
            S3ObjectChangedError: the source was replaced; the copy exists, the new source was kept.
            S3NotFoundError, S3InvalidRequestError: as `copy`.
        """
        origin, full = self._full(source, "CopyObject"), self._full(destination, "CopyObject")
        with self._within(timeout, "CopyObject", full):
            result = await _copy.move(self._connection, self._name, origin, full)
        return self._relative(result)

    async def set_tags(
        self,
        key: str,
        tags: Mapping[str, str],
        *,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """
        Replace the object's tags by *tags*: at most 10, keys to 128 and values to 256 characters.

        Raises:
            S3InvalidRequestError: too many or too long, or characters S3 refuses; nothing was sent.
            S3NotFoundError: no such key or version.
        """
        full = self._full(key, "PutObjectTagging")
        with self._within(timeout, "PutObjectTagging", full):
            await _objects.set_tags(self._connection, self._name, full, tags, version_id=version_id)

    async def presign_download(
        self,
        key: str,
        *,
        expires_in: float | timedelta = 3600,
        filename: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> PresignedUrl:
        """
        A link that downloads the object without credentials until `expires_at`.

        *filename*, any Unicode, becomes the name a browser saves it under (RFC 6266). *expires_in* is
        seconds, 1 to 604,800 (7 days), cut to the life of the credentials. Nothing is sent, so the key need
        not exist.

        Raises:
            S3InvalidRequestError: *expires_in* out of range.
            S3CredentialsError: no credentials, or they could not be renewed.
        """
        full = self._full(key, "GetObject")
        with self._within(timeout, "GetObject", full):
            return await _presign.presign_download(
                self._connection,
                self._name,
                full,
                expires_in=expires_in,
                filename=filename,
                version_id=version_id,
            )

    async def presign_upload(
        self,
        key: str,
        *,
        content_type: str,
        content_length: int | None = None,
        expires_in: float | timedelta = 3600,
        timeout: float | None = None,
    ) -> PresignedUpload:
        """
        A signed PUT of one object: the holder must send exactly the headers it names, and the body.

        *content_length*, in bytes, is signed too where given; otherwise the size is free, so prefer
        `presign_post` for strangers. *expires_in* as in `presign_download`.
        """
        full = self._full(key, "PutObject")
        with self._within(timeout, "PutObject", full):
            return await _presign.presign_upload(
                self._connection,
                self._name,
                full,
                content_type=content_type,
                content_length=content_length,
                expires_in=expires_in,
            )

    async def presign_post(
        self,
        key: str,
        *,
        content_type: str,
        max_size: int,
        min_size: int = 1,
        expires_in: float | timedelta = 3600,
        timeout: float | None = None,
    ) -> PresignedPost:
        """
        A signed form upload (browser POST) of one key, one content type and *min_size* to *max_size* bytes.

        The store refuses everything else: another key, type or size, an expired or changed form. Send the
        fields first and the file last. *expires_in* as in `presign_download`.
        """
        full = self._full(key, "PostObject")
        with self._within(timeout, "PostObject", full):
            return await _presign.presign_post(
                self._connection,
                self._name,
                full,
                content_type=content_type,
                max_size=max_size,
                min_size=min_size,
                expires_in=expires_in,
            )

    async def presign_part(
        self,
        upload: MultipartUpload,
        number: int,
        *,
        expires_in: float | timedelta = 3600,
        timeout: float | None = None,
    ) -> PresignedUrl:
        """
        A signed PUT of part *number* (1 to 10,000) of *upload*; the reply's `ETag` names the part.

        A browser needs `ETag` in the bucket's CORS `ExposeHeaders` to read it.
        """
        with self._within(timeout, "UploadPart", upload.key):
            return await _presign.presign_part(
                self._connection, self._own(upload), number, expires_in=expires_in
            )
