"""aioboto3 with one client for all calls; with `enabled`, the same code after `fastpath.enable()`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from . import FILE_PARTS, PART_SIZE, STREAM_PARTS, Target

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

QUEUED_CHUNKS = 1
"""aioboto3 reads this many parts ahead of its uploaders; its default is 100."""


class SharedClient:
    """What an application should do with aioboto3."""

    _client: S3Client
    _bucket: str

    def __init__(self, *, enabled: bool = False) -> None:
        self._enabled = enabled

    def load(self) -> None:
        """Import aioboto3."""
        import aioboto3  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the client."""
        import aioboto3
        from aiobotocore.config import AioConfig

        session = aioboto3.Session(
            aws_access_key_id=target.access_key,
            aws_secret_access_key=target.secret_key,
            region_name=target.region,
        )
        if self._enabled:
            from greenlang_async_storage import fastpath

            fastpath.enable(session)
        self._bucket = target.bucket
        self._stack = AsyncExitStack()
        self._client = await self._stack.enter_async_context(
            session.client(
                "s3",
                endpoint_url=target.endpoint_url,
                config=AioConfig(max_pool_connections=target.connections),
            )
        )

    async def close(self) -> None:
        """Close the client."""
        await self._stack.aclose()

    async def put(self, key: str, data: bytes) -> None:
        """PutObject."""
        await self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    async def get(self, key: str) -> int:
        """GetObject and its body."""
        response = await self._client.get_object(Bucket=self._bucket, Key=key)
        return len(await response["Body"].read())

    async def head(self, key: str) -> int:
        """HeadObject."""
        return (await self._client.head_object(Bucket=self._bucket, Key=key))["ContentLength"]

    async def list_keys(self, prefix: str) -> int:
        """The paginator of ListObjectsV2."""
        count = 0
        paginator = self._client.get_paginator("list_objects_v2")
        async for page in paginator.paginate(Bucket=self._bucket, Prefix=prefix):
            count += len(page.get("Contents", []))
        return count

    async def upload_file(self, key: str, path: Path) -> None:
        """upload_file: aioboto3's own."""
        await self._client.upload_file(str(path), self._bucket, key, Config=_config(FILE_PARTS))

    async def download_file(self, key: str, path: Path) -> None:
        """download_file: aioboto3's own, ranged; neither verified nor atomic."""
        await self._client.download_file(self._bucket, key, str(path), Config=_config(FILE_PARTS))

    async def upload_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """upload_fileobj with an object that has an asynchronous `read`."""
        await self._client.upload_fileobj(
            _Reader(chunks),
            self._bucket,
            key,
            Config=_config(STREAM_PARTS),
        )


def _config(parts: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # boto3 has no types
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_chunksize=PART_SIZE, max_concurrency=parts, max_io_queue=QUEUED_CHUNKS)


class _Reader:
    """An asynchronous file of what an iterator gives, its pieces at most as long as they are read."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    async def read(self, size: int) -> bytes:
        """At most *size* bytes; none at the end."""
        if not self._left:
            self._left = await anext(self._chunks, b"")
        piece, self._left = self._left[:size], self._left[size:]
        return piece
