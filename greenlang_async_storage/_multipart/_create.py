"""Multipart uploads opened, and aborted again when nobody waits for them any more."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from greenlang_async_storage._connection import Connection
from greenlang_async_storage._error_map import to_s3_error
from greenlang_async_storage._errors import S3Error
from greenlang_async_storage._options import UPLOAD_TOKEN, WriteRequest, new_upload_token
from greenlang_async_storage._types import ChecksumChoice, MultipartUpload

from ._abort import abort_or_count
from ._arguments import algorithm_args

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import CreateMultipartUploadOutputTypeDef


async def create(
    conn: Connection, bucket: str, write: WriteRequest, *, checksum: ChecksumChoice = "none"
) -> MultipartUpload:
    """
    A new multipart upload for `write.key`, marked with a random upload token in its metadata.

    With a *checksum* other than `none`, every part must be sent with one of that algorithm (MinIO refuses
    parts without). The conditions of *write* are not sent here: S3 evaluates them at Complete.

    A cancel waits for the reply to a request that was sent, within the clean-up deadline, and aborts what it
    opened. An upload that S3 may have opened without our learning its id counts as a possible orphan.
    """
    token = new_upload_token()
    opening = _Opening(conn, bucket, write.with_metadata({UPLOAD_TOKEN: token}), token, checksum)
    task = asyncio.ensure_future(opening.run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if opening.sent:
            await conn.clean_up("AbortMultipartUpload", partial(opening.take_back, task))
        else:
            task.cancel()
        raise


class _Opening:
    """One CreateMultipartUpload, which remembers whether S3 may have opened more uploads than it told of."""

    def __init__(
        self, conn: Connection, bucket: str, write: WriteRequest, token: str, checksum: ChecksumChoice
    ) -> None:
        self._conn, self._bucket, self._write = conn, bucket, write
        self._token, self._checksum = token, checksum
        self.sent = False
        self._lost = 0

    async def run(self) -> MultipartUpload:
        """The open upload."""
        key = self._write.key
        try:
            reply = await self._conn.call("CreateMultipartUpload", self._send, bucket=self._bucket, key=key)
        finally:
            for _ in range(self._lost):
                self._conn.count_orphan()
        return MultipartUpload(self._bucket, key, reply["UploadId"], self._checksum, self._token)

    async def take_back(self, task: asyncio.Future[MultipartUpload]) -> None:
        """Abort the upload *task* is about to open."""
        try:
            upload = await task
        except S3Error:
            return  # nothing to abort, and `run` has counted what may be open
        await abort_or_count(self._conn, upload)

    async def _send(self, s3: S3Client) -> CreateMultipartUploadOutputTypeDef:
        self.sent = True
        try:
            return await s3.create_multipart_upload(
                Bucket=self._bucket,
                Key=self._write.key,
                **self._write.create_args(),
                **algorithm_args(self._checksum),
                **self._conn.owner,
            )
        except BaseException as exc:
            error = (
                to_s3_error(exc, operation="CreateMultipartUpload") if isinstance(exc, Exception) else None
            )
            if error is None or error.outcome == "unknown":
                self._lost += 1
            raise
