"""The tests of this folder run on uvloop, and on MinIO only: the other loop and server have them already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from greenlang_async_storage.testing import MinioServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The runs of the built wheel do without."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow("the same tests as elsewhere, on another loop"))


@pytest.fixture
def server(minio_server: MinioServer) -> MinioServer:
    """One server."""
    return minio_server
