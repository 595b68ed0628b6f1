"""The tests of this folder run on uvloop, and on MinIO only: the other loop and server have them already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from greenlang_async_storage.testing import MinioServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def server(minio_server: MinioServer) -> MinioServer:
    """One server."""
    return minio_server
