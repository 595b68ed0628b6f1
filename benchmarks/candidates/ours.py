"""The SDK, through `Bucket`'s public methods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import FILE_PARTS, PART_SIZE, STREAM_PARTS, Target

if TYPE_CHECKING:
    from greenlang_async_storage import Bucket, StorageSession

BATCH_WIDTH = 32


class Ours:
    """One session; checksums on as by default, encryption off because the peers have none."""

    _session: StorageSession
    _bucket: Bucket

    def __init__(self, *, fast_path: bool) -> None:
        self._fast_path = fast_path

    def load(self) -> None:
        """Import the package."""
        import greenlang_async_storage  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Open the session."""
        from greenlang_async_storage import StorageSession, StorageSettings

        settings = StorageSettings(
            endpoint_url=target.endpoint_url,
            region=target.region,
            access_key_id=target.access_key,
            secret_access_key=target.secret_key,
            encryption="none",
            max_pool_connections=target.connections,
            fast_path=self._fast_path,
        )
        self._session = await StorageSession(settings).__aenter__()
        self._bucket = self._session.bucket(target.bucket)

    async def close(self) -> None:
        """Close the session."""
        await self._session.aclose()

    async def put(self, key: str, data: bytes) -> None:
        """Bucket.upload_bytes."""
        await self._bucket.upload_bytes(key, data)

    async def get(self, key: str) -> int:
        """Bucket.download_bytes: verified."""
        return len(await self._bucket.download_bytes(key))

    async def head(self, key: str) -> int:
        """Bucket.head."""
        return (await self._bucket.head(key)).size

    async def list_keys(self, prefix: str) -> int:
        """Bucket.list_objects."""
        count = 0
        async for _ in self._bucket.list_objects(prefix):
            count += 1
        return count

    async def upload_file(self, key: str, path: Path) -> None:
        """Bucket.upload_file."""
        await self._bucket.upload_file(key, path, part_size=PART_SIZE, concurrency=FILE_PARTS)

    async def download_file(self, key: str, path: Path) -> None:
        """Bucket.download_file: verified and renamed into place; not synced to disk, as nobody else does."""
        await self._bucket.download_file(
            key, path, part_size=PART_SIZE, concurrency=FILE_PARTS, durable=False
        )

    async def upload_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Bucket.upload_stream."""
        await self._bucket.upload_stream(key, chunks, part_size=PART_SIZE, concurrency=STREAM_PARTS)

    async def batch(self, items: AsyncIterator[tuple[str, bytes]]) -> int:
        """Bucket.stream_uploads."""
        from greenlang_async_storage import UploadItem

        stored = 0
        wanted = (UploadItem(key, data) async for key, data in items)
        async with self._bucket.stream_uploads(wanted, concurrency=BATCH_WIDTH) as outcomes:
            async for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                stored += 1
        return stored
