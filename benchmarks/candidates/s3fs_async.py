"""s3fs in asynchronous mode, whose coroutines begin with an underscore."""

from __future__ import annotations

from pathlib import Path

from . import FILE_PARTS, PART_SIZE, Target


class FileSystem:
    """One file system, its listing cache off: it would answer from memory."""

    def load(self) -> None:
        """Import s3fs."""
        import s3fs  # type: ignore[import-not-found]  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the file system and its client."""
        import s3fs

        self._bucket = target.bucket
        self._fs = s3fs.S3FileSystem(
            asynchronous=True,
            key=target.access_key,
            secret=target.secret_key,
            endpoint_url=target.endpoint_url,
            client_kwargs={"region_name": target.region},
            config_kwargs={"max_pool_connections": target.connections},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._client = await self._fs.set_session()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def put(self, key: str, data: bytes) -> None:
        """_pipe_file."""
        await self._fs._pipe_file(f"{self._bucket}/{key}", data)  # noqa: SLF001  # s3fs's asynchronous API

    async def get(self, key: str) -> int:
        """_cat_file without its parallel mode, which asks for the size first."""
        return len(await self._fs._cat_file(f"{self._bucket}/{key}", max_concurrency=1))  # noqa: SLF001  # see put

    async def head(self, key: str) -> int:
        """_info."""
        return int((await self._fs._info(f"{self._bucket}/{key}"))["size"])  # noqa: SLF001  # see put

    async def list_keys(self, prefix: str) -> int:
        """_find."""
        return len(await self._fs._find(f"{self._bucket}/{prefix}"))  # noqa: SLF001  # see put

    async def upload_file(self, key: str, path: Path) -> None:
        """_put_file."""
        await self._fs._put_file(  # noqa: SLF001  # see put
            str(path), f"{self._bucket}/{key}", chunksize=PART_SIZE, max_concurrency=FILE_PARTS
        )

    async def download_file(self, key: str, path: Path) -> None:
        """_get_file, ranged; neither verified nor atomic."""
        await self._fs._get_file(  # noqa: SLF001  # see put
            f"{self._bucket}/{key}", str(path), chunksize=PART_SIZE, max_concurrency=FILE_PARTS
        )
