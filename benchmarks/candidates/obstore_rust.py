"""obstore: the Rust crate object_store behind asynchronous Python functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from . import FILE_PARTS, PART_SIZE, STREAM_PARTS, Target

LIST_CHUNK = 1000


class Obstore:
    """One store."""

    def load(self) -> None:
        """Import obstore."""
        import obstore  # type: ignore[import-not-found]  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the store."""
        from obstore.store import S3Store  # type: ignore[import-not-found]

        self._store = S3Store(
            target.bucket,
            endpoint=target.endpoint_url,
            region=target.region,
            access_key_id=target.access_key,
            secret_access_key=target.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    async def close(self) -> None:
        """Nothing to close: the store has no such call."""

    async def put(self, key: str, data: bytes) -> None:
        """put_async, one request."""
        await self._store.put_async(key, data, use_multipart=False)

    async def get(self, key: str) -> int:
        """get_async and all bytes."""
        return len(await (await self._store.get_async(key)).bytes_async())

    async def head(self, key: str) -> int:
        """head_async."""
        return int((await self._store.head_async(key))["size"])

    async def list_keys(self, prefix: str) -> int:
        """List, by pages of 1,000."""
        count = 0
        async for page in self._store.list(prefix, chunk_size=LIST_CHUNK):
            for _ in page:
                count += 1
        return count

    async def upload_file(self, key: str, path: Path) -> None:
        """put_async of a path."""
        await self._store.put_async(key, path, chunk_size=PART_SIZE, max_concurrency=FILE_PARTS)

    async def download_file(self, key: str, path: Path) -> None:
        """
        Its stream, written in a thread; neither verified nor atomic.

        obstore has no download to a file. Ranges in parallel with get_range_async take twice the CPU, and
        smaller pieces more than these.
        """
        response = await self._store.get_async(key)
        with path.open("wb") as file:
            async for piece in response.stream(min_chunk_size=PART_SIZE):
                await asyncio.to_thread(file.write, piece)

    async def upload_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """put_async of an asynchronous iterator."""
        await self._store.put_async(key, chunks, chunk_size=PART_SIZE, max_concurrency=STREAM_PARTS)
