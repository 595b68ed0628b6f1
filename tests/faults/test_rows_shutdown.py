"""Row of the fault matrix about processes that are told to stop while they work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from greenlang_async_storage.testing import Fault, FaultProxy
from tests.support import child_jobs, child_services
from tests.support.child_services import DRAINED, ENDLESS, QUICK
from tests.support.children import Child, Nursery
from tests.support.faults import BUCKET, MIB, PART
from tests.support.killing import Scene

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

LARGE = child_jobs.content(35, 6 * MIB)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children for all tests of this module."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def scene(request: pytest.FixtureRequest, nursery: Nursery, tmp_path: Path) -> Scene:
    """A store whose large object never arrives whole, and a folder to download to; through both paths."""
    made = Scene(nursery, tmp_path / "work", request.param)
    made.store.put(BUCKET, "large", LARGE)
    return made


@asynccontextmanager
async def behind_a_proxy(scene: Scene) -> AsyncIterator[tuple[FaultProxy, Child]]:
    """A child, and a proxy that stalls every download half-way."""
    async with FaultProxy(scene.store) as proxy, scene.nursery.child() as child:
        proxy.faults.plan(Fault("GetObject", 0, "reply_body", "stall", at=2 * MIB))
        yield proxy, child


async def reached(proxy: FaultProxy, operation: str, count: int) -> None:
    """Wait until so many requests of *operation* have come."""
    while proxy.faults.count(operation) < count:  # noqa: ASYNC110  # another process sends them
        await asyncio.sleep(0.01)


async def test_f35_a_worker_told_to_stop(scene: Scene) -> None:
    """Drains what can end, ends what cannot by the deadline, aborts it, and exits with 0; nothing is left."""
    async with behind_a_proxy(scene) as (proxy, child):
        folder = str(scene.folder)
        await child.begin(child_services.worker, settings=scene.settings(proxy.url), folder=folder)
        for _ in range(ENDLESS + DRAINED + QUICK):
            assert await child.told() == "begun"
        await reached(proxy, "GetObject", ENDLESS)
        await reached(proxy, "UploadPart", ENDLESS + DRAINED)
        child.signal(signal.SIGTERM)
        assert await child.ended() == 0
        told, at_rest = child.heard[-2:]
    assert told["ends"] == {"NoneType": DRAINED, "S3SessionClosedError": 2 * ENDLESS + QUICK}
    assert at_rest == [0, 0, 0]
    store = scene.store
    assert all(store.get(BUCKET, key) == key.encode() for key in told["acknowledged"])
    for number in range(DRAINED):
        assert store.get(BUCKET, f"drained/{number}") == child_services.drained_content(number)
    assert not [key for key in store.keys(BUCKET) if key.startswith("endless/")]
    assert store.open_uploads(BUCKET) == []
    assert list(scene.folder.iterdir()) == []


async def test_f35_uvicorn_told_to_stop(scene: Scene) -> None:
    """Under load: requests that never end are ended by the deadline, and their uploads aborted."""
    async with behind_a_proxy(scene) as (proxy, child):
        await child.begin(child_services.served, settings=scene.settings(proxy.url))
        port = await child.told()
        clients = [
            *(asyncio.create_task(upload(port, f"endless-{number}")) for number in range(ENDLESS)),
            *(asyncio.create_task(download(port)) for _ in range(ENDLESS)),
            *(asyncio.create_task(quick(port, f"quick-{number}")) for number in range(QUICK)),
        ]
        await reached(proxy, "UploadPart", ENDLESS)
        await reached(proxy, "GetObject", ENDLESS)
        await reached(proxy, "PutObject", QUICK)
        child.signal(signal.SIGTERM)
        # uvicorn, once all is closed, lets the signal end the process as it would have without it.
        assert await child.ended() == -signal.SIGTERM
        results = await asyncio.gather(*clients)
        assert child.heard[1:] == [[0, 0, 0]]
    store = scene.store
    for acknowledged in results:
        assert all(store.get(BUCKET, key) == key.encode() for key in acknowledged)
    assert store.open_uploads(BUCKET) == []
    assert not [key for key in store.keys(BUCKET) if key.startswith("endless-")]


async def exchange(port: int, request: bytes) -> bytes:
    """What the service answers before it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(request)
        while data := await reader.read(65536):
            answer = (answer + data)[:4096]
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


async def upload(port: int, key: str) -> list[str]:
    """A part of what was announced, and then nothing."""
    head = f"PUT /{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * PART}\r\n\r\n".encode()
    answer = await exchange(port, head + bytes(PART + MIB))
    assert not answer.startswith(b"HTTP/1.1 200")
    return []


async def download(port: int) -> list[str]:
    """An object that never arrives whole."""
    await exchange(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    return []


async def quick(port: int, name: str) -> list[str]:
    """Keys that were acknowledged, until the service is gone."""
    acknowledged: list[str] = []
    for turn in range(1_000_000):
        key = f"{name}-{turn}"
        head = f"PUT /{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(key)}\r\n\r\n"
        try:
            answer = await exchange(port, head.encode() + key.encode())
        except ConnectionError:
            break
        if not answer.startswith(b"HTTP/1.1 200"):
            break
        acknowledged.append(key)
    return acknowledged
