"""boto3 behind a pool of 64 threads, as asynchronous programs use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from . import FILE_PARTS, PART_SIZE, Target

THREADS = 64
T = TypeVar("T")


class Threads:
    """One client, which boto3 allows threads to share."""

    _client: Any

    def load(self) -> None:
        """Import boto3."""
        import boto3  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the client, in a thread."""
        self._bucket = target.bucket
        self._pool = ThreadPoolExecutor(THREADS)
        self._client = await self._in_thread(lambda: _client(target))

    async def close(self) -> None:
        """Close the client and end the threads."""
        self._client.close()
        self._pool.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def put(self, key: str, data: bytes) -> None:
        """PutObject."""
        await self._in_thread(lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data))

    async def get(self, key: str) -> int:
        """GetObject and its body."""
        return await self._in_thread(
            lambda: len(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        )

    async def head(self, key: str) -> int:
        """HeadObject."""
        return await self._in_thread(
            lambda: int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        )

    async def list_keys(self, prefix: str) -> int:
        """The paginator of ListObjectsV2."""

        def work() -> int:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return sum(len(page.get("Contents", [])) for page in pages)

        return await self._in_thread(work)

    async def upload_file(self, key: str, path: Path) -> None:
        """upload_file: s3transfer."""
        await self._in_thread(
            lambda: self._client.upload_file(str(path), self._bucket, key, Config=_transfer())
        )

    async def download_file(self, key: str, path: Path) -> None:
        """download_file: s3transfer, ranged, renamed into place."""
        await self._in_thread(
            lambda: self._client.download_file(self._bucket, key, str(path), Config=_transfer())
        )


def _client(target: Target) -> Any:  # noqa: ANN401  # boto3 has no types
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=target.endpoint_url,
        region_name=target.region,
        aws_access_key_id=target.access_key,
        aws_secret_access_key=target.secret_key,
        config=Config(max_pool_connections=target.connections),
    )


def _transfer() -> Any:  # noqa: ANN401  # see above
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_chunksize=PART_SIZE, max_concurrency=FILE_PARTS)
