"""miniopy-async."""

from __future__ import annotations

import io
from pathlib import Path

from . import FILE_PARTS, PART_SIZE, Target


class Miniopy:
    """One client on an aiohttp session of ours: its own allows ten connections."""

    def load(self) -> None:
        """Import miniopy-async."""
        import miniopy_async  # type: ignore[import-not-found]  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the client."""
        import aiohttp
        from miniopy_async import Minio

        self._bucket = target.bucket
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=target.connections))
        self._client = Minio(
            target.endpoint_url.removeprefix("http://"),
            access_key=target.access_key,
            secret_key=target.secret_key,
            secure=False,
            region=target.region,
            session=self._session,
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def put(self, key: str, data: bytes) -> None:
        """put_object, one part."""
        await self._client.put_object(self._bucket, key, io.BytesIO(data), len(data))

    async def get(self, key: str) -> int:
        """get_object and its body."""
        response = await self._client.get_object(self._bucket, key)
        size = len(await response.read())
        response.release()
        return size

    async def head(self, key: str) -> int:
        """stat_object."""
        return int((await self._client.stat_object(self._bucket, key)).size)

    async def list_keys(self, prefix: str) -> int:
        """list_objects."""
        count = 0
        async for _ in self._client.list_objects(self._bucket, prefix, recursive=True):
            count += 1
        return count

    async def upload_file(self, key: str, path: Path) -> None:
        """fput_object."""
        await self._client.fput_object(
            self._bucket, key, str(path), part_size=PART_SIZE, num_parallel_uploads=FILE_PARTS
        )

    async def download_file(self, key: str, path: Path) -> None:
        """fget_object: one stream, renamed into place."""
        await self._client.fget_object(self._bucket, key, str(path))
