"""Fixtures for tests of downloads through a proxy that cuts and damages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from greenlang_async_storage import Bucket, StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer, StorageServer
from tests.support.seeding import Seeder
from tests.support.tampering import TamperingProxy


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket, put there past the proxy."""
    return Seeder(observer, bucket_name)


@pytest_asyncio.fixture
async def proxy(server: StorageServer) -> AsyncIterator[TamperingProxy]:
    """A proxy before the server."""
    found = urlsplit(server.endpoint_url)
    async with TamperingProxy(found.hostname or "", found.port or 0) as started:
        yield started


@pytest.fixture
def proxied(settings: StorageSettings, server: StorageServer, proxy: TamperingProxy) -> StorageSettings:
    """Settings for the server behind the proxy; MinIO by the fast path, moto by aiohttp."""
    fast = isinstance(server, MinioServer)
    return settings.model_copy(update={"endpoint_url": proxy.url, "fast_path": fast})


@pytest_asyncio.fixture
async def lake(proxied: StorageSettings) -> AsyncIterator[Bucket]:
    """The test's bucket behind the proxy; nothing may be held at the end."""
    async with StorageSession(proxied) as session:
        yield session.data_lake
        assert session.statistics().in_flight == 0
