"""aioboto3 as the integration guide shows it: a session kept, a client made for every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Target

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from types_aiobotocore_s3 import S3Client


class ClientPerCall:
    """Small objects only: the client costs more than any of them."""

    def load(self) -> None:
        """Import aioboto3."""
        import aioboto3  # noqa: F401  # imported for what it costs

    async def open(self, target: Target) -> None:
        """Make the session."""
        import aioboto3

        self._target = target
        self._session = aioboto3.Session(
            aws_access_key_id=target.access_key,
            aws_secret_access_key=target.secret_key,
            region_name=target.region,
        )

    async def close(self) -> None:
        """Nothing is open between calls."""

    def _client(self) -> AbstractAsyncContextManager[S3Client]:
        client: AbstractAsyncContextManager[S3Client] = self._session.client(
            "s3", endpoint_url=self._target.endpoint_url
        )
        return client

    async def put(self, key: str, data: bytes) -> None:
        """A client, and PutObject."""
        async with self._client() as client:
            await client.put_object(Bucket=self._target.bucket, Key=key, Body=data)

    async def get(self, key: str) -> int:
        """A client, and GetObject."""
        async with self._client() as client:
            response = await client.get_object(Bucket=self._target.bucket, Key=key)
            return len(await response["Body"].read())

    async def head(self, key: str) -> int:
        """A client, and HeadObject."""
        async with self._client() as client:
            return (await client.head_object(Bucket=self._target.bucket, Key=key))["ContentLength"]
