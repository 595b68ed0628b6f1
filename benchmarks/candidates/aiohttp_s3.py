"""aiohttp-s3-client: a thin signer over aiohttp; statuses are the caller's business."""

from __future__ import annotations

from pathlib import Path

from . import FILE_PARTS, PART_SIZE, Target


class AiohttpS3:
    """One client on one aiohttp session; bodies go unsigned, which is its default."""

    def load(self) -> None:
        """Import the library."""
        import aiohttp_s3_client  # type: ignore[import-not-found]  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the client."""
        import aiohttp
        from aiohttp_s3_client import S3Client

        self._bucket = target.bucket
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=target.connections))
        self._client = S3Client(
            self._session,
            target.endpoint_url,
            access_key_id=target.access_key,
            secret_access_key=target.secret_key,
            region=target.region,
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def put(self, key: str, data: bytes) -> None:
        """A PUT."""
        async with self._client.put(f"{self._bucket}/{key}", data) as response:
            response.raise_for_status()

    async def get(self, key: str) -> int:
        """A GET and its body."""
        async with self._client.get(f"{self._bucket}/{key}") as response:
            response.raise_for_status()
            return len(await response.read())

    async def head(self, key: str) -> int:
        """A HEAD."""
        async with self._client.head(f"{self._bucket}/{key}") as response:
            response.raise_for_status()
            return int(response.headers["Content-Length"])

    async def list_keys(self, prefix: str) -> int:
        """list_objects_v2."""
        count = 0
        async for found, _ in self._client.list_objects_v2(bucket=self._bucket, prefix=prefix):
            count += len(found)
        return count

    async def upload_file(self, key: str, path: Path) -> None:
        """put_file_multipart."""
        await self._client.put_file_multipart(
            f"{self._bucket}/{key}", path, part_size=PART_SIZE, workers_count=FILE_PARTS
        )

    async def download_file(self, key: str, path: Path) -> None:
        """get_file_parallel: ranged, pinned by ETag; neither verified nor atomic."""
        await self._client.get_file_parallel(
            f"{self._bucket}/{key}", path, range_step=PART_SIZE, workers_count=FILE_PARTS
        )
