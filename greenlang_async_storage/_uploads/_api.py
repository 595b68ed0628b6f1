"""What `Bucket` calls: options and limits are checked here, before anything is read or sent."""

from __future__ import annotations

import os

from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3InvalidRequestError
from greenlang_async_storage._types import (
    Buffer,
    ByteSource,
    ProgressHook,
    StrPath,
    UploadResult,
    WriteOptions,
)

from ._bytes import send_bytes
from ._common import prepare_transfer
from ._file import send_file
from ._json import encode_json
from ._stream import send_stream


async def upload_bytes(
    conn: Connection, bucket: str, key: str, data: Buffer, options: WriteOptions
) -> UploadResult:
    """The object of *data*: bytes, a bytearray or a memoryview, which must not change meanwhile."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(
            f"data is {type(data).__name__}, not bytes-like: encode text, or use upload_json, upload_file "
            "or upload_stream"
        )
    return await send_bytes(prepare_transfer(conn, bucket, key, options), data)


async def upload_json(
    conn: Connection, bucket: str, key: str, value: object, options: WriteOptions
) -> UploadResult:
    """The object of *value* as compact UTF-8 JSON; its content type is `application/json` unless given."""
    transfer = prepare_transfer(conn, bucket, key, options, default_content_type="application/json")
    return await send_bytes(transfer, encode_json(value))


async def upload_file(
    conn: Connection,
    bucket: str,
    key: str,
    path: StrPath,
    options: WriteOptions,
    *,
    part_size: int | None = None,
    concurrency: int | None = None,
    on_progress: ProgressHook | None = None,
    resume: StrPath | None = None,
) -> UploadResult:
    """The object of the file at *path*. A pipe or a device is read as a stream, which cannot be resumed."""
    transfer = prepare_transfer(conn, bucket, key, options, part_size=part_size, concurrency=concurrency)
    result = await send_file(transfer, path, on_progress=on_progress, resume=resume)
    if result is not None:
        return result
    if resume is not None:
        raise S3InvalidRequestError(
            f"{os.fspath(path)!r} is no regular file, so its upload cannot be resumed",
            operation="PutObject",
            bucket=bucket,
            key=key,
            remedy="Leave resume out, or write the data to a file first.",
        )
    return await send_stream(transfer, path, fixed_parts=False, on_progress=on_progress)


async def upload_stream(
    conn: Connection,
    bucket: str,
    key: str,
    chunks: ByteSource,
    options: WriteOptions,
    *,
    part_size: int | None = None,
    concurrency: int | None = None,
    on_progress: ProgressHook | None = None,
    fixed_parts: bool = False,
) -> UploadResult:
    """The object of everything *chunks* gives; buffers and paths go their own ways."""
    if isinstance(chunks, str | os.PathLike):
        return await upload_file(
            conn,
            bucket,
            key,
            chunks,
            options,
            part_size=part_size,
            concurrency=concurrency,
            on_progress=on_progress,
        )
    transfer = prepare_transfer(conn, bucket, key, options, part_size=part_size, concurrency=concurrency)
    if isinstance(chunks, bytes | bytearray | memoryview):
        return await send_bytes(transfer, chunks, on_progress=on_progress)
    return await send_stream(transfer, chunks, fixed_parts=fixed_parts, on_progress=on_progress)
