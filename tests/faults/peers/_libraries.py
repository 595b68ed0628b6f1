"""The libraries, each through its best public API and with the time-outs it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Protocol

MIB: Final = 1024 * 1024
PART: Final = 5 * MIB
PARTS: Final = 3
BUCKET: Final = "lake"
REGION: Final = "us-east-1"
SECONDS: Final = 2.0
"""To connect, and of silence, wherever a library takes a time-out."""
CALL_SECONDS: Final = 12.0
"""Of a whole call, where a library takes that."""


class Library(Protocol):
    """What the table asks of one library."""

    def errors(self) -> tuple[type[BaseException], ...]:
        """What it says that its calls raise."""
        ...

    async def open(self, url: str) -> None:
        """A client of the store at *url*."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def put_file(self, key: str, path: Path) -> None: ...

    async def get(self, key: str) -> bytes: ...

    async def get_file(self, key: str, path: Path) -> None: ...

    async def list(self, prefix: str) -> list[str]: ...

    async def copy(self, source: str, key: str) -> None: ...

    async def delete(self, key: str) -> None: ...


class Ours:
    """`Bucket`."""

    fast_path = True

    def errors(self) -> tuple[type[BaseException], ...]:
        from greenlang_async_storage import S3Error

        return (S3Error,)

    async def open(self, url: str) -> None:
        from greenlang_async_storage import StorageSession, StorageSettings

        settings = StorageSettings(
            endpoint_url=url,
            region=REGION,
            access_key_id="peer",
            secret_access_key="peer",
            encryption="none",
            fast_path=self.fast_path,
            connect_timeout=SECONDS,
            read_timeout=SECONDS,
            attempt_timeout=SECONDS,
            stall_timeout=SECONDS,
            call_timeout=CALL_SECONDS,
            part_size=PART,
            multipart_threshold=PART,
            transfer_concurrency=PARTS,
        )
        self._session = await StorageSession(settings).__aenter__()
        self._bucket = self._session.bucket(BUCKET)

    async def close(self) -> None:
        await self._session.aclose()

    async def put(self, key: str, data: bytes) -> None:
        await self._bucket.upload_bytes(key, data, timeout=CALL_SECONDS)

    async def put_file(self, key: str, path: Path) -> None:
        await self._bucket.upload_file(key, path, timeout=CALL_SECONDS)

    async def get(self, key: str) -> bytes:
        return await self._bucket.download_bytes(key, timeout=CALL_SECONDS)

    async def get_file(self, key: str, path: Path) -> None:
        await self._bucket.download_file(key, path, timeout=CALL_SECONDS)

    async def list(self, prefix: str) -> list[str]:
        return [found.key async for found in self._bucket.list_objects(prefix)]

    async def copy(self, source: str, key: str) -> None:
        await self._bucket.copy(source, key, timeout=CALL_SECONDS)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key, timeout=CALL_SECONDS)


class OursPlain(Ours):
    """The same, on botocore's own pipeline."""

    fast_path = False


def _config(kind: Any) -> Any:
    return kind(
        connect_timeout=SECONDS,
        read_timeout=SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=32,
    )


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=PARTS)


def _boto_errors() -> tuple[type[BaseException], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


_KEYS: Final = {"aws_access_key_id": "peer", "aws_secret_access_key": "peer", "region_name": REGION}


class Aioboto3:
    """One shared client."""

    def errors(self) -> tuple[type[BaseException], ...]:
        return _boto_errors()

    async def open(self, url: str) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        self._stack = AsyncExitStack()
        made = aioboto3.Session(**_KEYS).client("s3", endpoint_url=url, config=_config(AioConfig))
        self._client: Any = await self._stack.enter_async_context(made)

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, key: str, data: bytes) -> None:
        await self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    async def put_file(self, key: str, path: Path) -> None:
        await self._client.upload_file(str(path), BUCKET, key, Config=_transfer())

    async def get(self, key: str) -> bytes:
        reply = await self._client.get_object(Bucket=BUCKET, Key=key)
        # Not `async with`, whose target is aiohttp's response: reading that compares no checksum.
        return bytes(await reply["Body"].read())

    async def get_file(self, key: str, path: Path) -> None:
        await self._client.download_file(BUCKET, key, str(path), Config=_transfer())

    async def list(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] async for page in pages for found in page.get("Contents", [])]

    async def copy(self, source: str, key: str) -> None:
        await self._client.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})

    async def delete(self, key: str) -> None:
        await self._client.delete_object(Bucket=BUCKET, Key=key)


class Boto3Threads:
    """One client, its calls in threads."""

    def errors(self) -> tuple[type[BaseException], ...]:
        return _boto_errors()

    async def open(self, url: str) -> None:
        import boto3
        from botocore.config import Config

        self._client: Any = await asyncio.to_thread(
            lambda: boto3.Session(**_KEYS).client("s3", endpoint_url=url, config=_config(Config))
        )

    async def close(self) -> None:
        self._client.close()

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(lambda: self._client.put_object(Bucket=BUCKET, Key=key, Body=data))

    async def put_file(self, key: str, path: Path) -> None:
        await asyncio.to_thread(lambda: self._client.upload_file(str(path), BUCKET, key, Config=_transfer()))

    async def get(self, key: str) -> bytes:
        def work() -> bytes:
            return bytes(self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

        return await asyncio.to_thread(work)

    async def get_file(self, key: str, path: Path) -> None:
        await asyncio.to_thread(
            lambda: self._client.download_file(BUCKET, key, str(path), Config=_transfer())
        )

    async def list(self, prefix: str) -> list[str]:
        def work() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return [found["Key"] for page in pages for found in page.get("Contents", [])]

        return await asyncio.to_thread(work)

    async def copy(self, source: str, key: str) -> None:
        place = {"Bucket": BUCKET, "Key": source}
        await asyncio.to_thread(lambda: self._client.copy_object(Bucket=BUCKET, Key=key, CopySource=place))

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(lambda: self._client.delete_object(Bucket=BUCKET, Key=key))


class S3fs:
    """One asynchronous file system; its errors are `OSError`s."""

    def errors(self) -> tuple[type[BaseException], ...]:
        return (OSError, *_boto_errors())

    async def open(self, url: str) -> None:
        import s3fs  # type: ignore[import-not-found]

        self._fs: Any = s3fs.S3FileSystem(
            asynchronous=True,
            key="peer",
            secret="peer",
            endpoint_url=url,
            client_kwargs={"region_name": REGION},
            config_kwargs={
                "connect_timeout": SECONDS,
                "read_timeout": SECONDS,
                "retries": {"mode": "standard", "total_max_attempts": 3},
                "max_pool_connections": 32,
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._client = await self._fs.set_session()

    async def close(self) -> None:
        await self._client.close()

    async def put(self, key: str, data: bytes) -> None:
        await self._fs._pipe_file(f"{BUCKET}/{key}", data)

    async def put_file(self, key: str, path: Path) -> None:
        await self._fs._put_file(str(path), f"{BUCKET}/{key}", chunksize=PART, max_concurrency=PARTS)

    async def get(self, key: str) -> bytes:
        return bytes(await self._fs._cat_file(f"{BUCKET}/{key}"))

    async def get_file(self, key: str, path: Path) -> None:
        await self._fs._get_file(f"{BUCKET}/{key}", str(path), chunksize=PART, max_concurrency=PARTS)

    async def list(self, prefix: str) -> list[str]:
        found = await self._fs._find(f"{BUCKET}/{prefix}")
        return [name.removeprefix(f"{BUCKET}/") for name in found]

    async def copy(self, source: str, key: str) -> None:
        await self._fs._cp_file(f"{BUCKET}/{source}", f"{BUCKET}/{key}")

    async def delete(self, key: str) -> None:
        await self._fs._rm_file(f"{BUCKET}/{key}")


class Obstore:
    """One store, with checksums on; it has no download to a file, so that is its documented loop."""

    def errors(self) -> tuple[type[BaseException], ...]:
        from obstore.exceptions import BaseError  # type: ignore[import-not-found]

        # Which of these its documentation names depends on the version: not found, refused, exists.
        return BaseError, OSError

    async def open(self, url: str) -> None:
        from datetime import timedelta

        from obstore.store import S3Store  # type: ignore[import-not-found]

        self._store: Any = S3Store(
            BUCKET,
            endpoint=url,
            region=REGION,
            access_key_id="peer",
            secret_access_key="peer",
            virtual_hosted_style_request=False,
            checksum_algorithm="SHA256",
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=SECONDS),
                "timeout": timedelta(seconds=2 * SECONDS),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=CALL_SECONDS)},
        )

    async def close(self) -> None:
        pass

    async def put(self, key: str, data: bytes) -> None:
        await self._store.put_async(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        await self._store.put_async(key, path, chunk_size=PART, max_concurrency=PARTS)

    async def get(self, key: str) -> bytes:
        return bytes(await (await self._store.get_async(key)).bytes_async())

    async def get_file(self, key: str, path: Path) -> None:
        reply = await self._store.get_async(key)
        with path.open("wb") as file:
            async for piece in reply.stream(min_chunk_size=PART):
                await asyncio.to_thread(file.write, piece)

    async def list(self, prefix: str) -> list[str]:
        return [str(found["path"]) async for page in self._store.list(prefix) for found in page]

    async def copy(self, source: str, key: str) -> None:
        await self._store.copy_async(source, key)

    async def delete(self, key: str) -> None:
        await self._store.delete_async(key)


LIBRARIES: Final[Mapping[str, Callable[[], Library]]] = {
    "greenlang_async_storage": Ours,
    "greenlang_async_storage, fast path off": OursPlain,
    "aioboto3": Aioboto3,
    "boto3 in threads": Boto3Threads,
    "s3fs": S3fs,
    "obstore": Obstore,
}
