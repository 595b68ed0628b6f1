"""Row of the fault matrix about names: resolvers that fail, for a while or for good."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from greenlang_async_storage import S3ConnectionError, StorageSession, StorageSettings
from greenlang_async_storage.testing import FaultProxy, MemoryS3
from tests.support.faults import BUCKET

pytestmark = pytest.mark.asyncio

HOST = "store.invalid"


class Resolver:
    """Knows `HOST` after *failures* questions."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    async def __call__(self, host: Any, port: Any, **_: Any) -> list[Any]:
        self.asked += 1
        if self.asked <= self.failures:
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        address = ("127.0.0.1", int(port))
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("failures", [0, 1, 2, 99])
async def test_f17_a_resolver_that_fails(
    monkeypatch: pytest.MonkeyPatch, failures: int, fast_path: bool
) -> None:
    """Tried again like any lost connection; told as one, with the name, when it stays so."""
    resolver = Resolver(failures)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
    store = MemoryS3()
    store.create_bucket(BUCKET)
    async with FaultProxy(store) as proxy:
        port = proxy.url.rpartition(":")[2]
        arguments: dict[str, Any] = {**store.settings_kwargs(), "endpoint_url": f"http://{HOST}:{port}"}
        async with StorageSession(StorageSettings(**arguments, fast_path=fast_path)) as session:
            lake = session.bucket(BUCKET)
            if failures < 3:
                await lake.upload_bytes("key", b"data")
                assert store.get(BUCKET, "key") == b"data"
                return
            with pytest.raises(S3ConnectionError, match=HOST) as caught:
                await lake.upload_bytes("key", b"data")
            assert (caught.value.attempts, caught.value.outcome) == (3, "not_applied")
