"""Clients that leave or read slowly, a store that fails half-way: slots come back, nothing is short."""

from __future__ import annotations

import asyncio
import http.client
import random
import selectors
import socket
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from greenlang_async_storage import StorageSettings
from greenlang_async_storage.fastapi import add_exception_handlers, storage_lifespan
from greenlang_async_storage.testing import MotoServer, StorageServer
from tests.support import servers
from tests.support.seeding import Seeder
from tests.support.tampering import Fault, TamperingProxy

from .conftest import routes
from .serving import Service, read_all, reset, serving, until

MIB = 1024 * 1024
DATA = random.Random(6).randbytes(8 * MIB)


def get(path: str, extra: str = "") -> bytes:
    """A GET request that asks for nothing after it."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n".encode()


def split(reply: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a raw reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body


def application(settings: StorageSettings) -> FastAPI:
    """The tests' application on other settings."""
    app = FastAPI(lifespan=storage_lifespan(settings))
    add_exception_handlers(app)
    routes(app)
    return app


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_client_that_leaves_gives_the_slot_back(service: Service, seed: Seeder, how: str) -> None:
    """However the connection ends in the middle of a body, the slot is free and the rest is not read."""
    whole = DATA * 4  # libuv gives up to 32 reads in one turn of the loop: 8 MiB
    seed.put("key", whole)
    connection = service.connect(receive_buffer=8192)
    try:
        connection.sendall(get("/objects/key"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        until(lambda: service.in_flight() == 1)
        if how == "reset":
            reset(connection)
        else:
            connection.close()
        until(lambda: service.in_flight() == 0)
    finally:
        connection.close()
    assert service.session.statistics().bytes_received < len(whole)


def test_a_client_that_leaves_the_queue_is_forgotten(settings: StorageSettings, seed: Seeder) -> None:
    """A client that goes away while it waits for a slot never takes one."""
    seed.put("key", DATA)
    with serving(application(settings.model_copy(update={"max_pool_connections": 1}))) as service:
        first, second = (service.connect(receive_buffer=8192) for _ in range(2))
        with first, second:
            first.sendall(get("/objects/key"))
            until(lambda: service.in_flight() == 1)
            second.sendall(get("/objects/key"))
            until(lambda: service.session.statistics().pool_waiting == 1)
            reset(second)
            until(lambda: service.session.statistics().pool_waiting == 0)
            assert split(read_all(first))[2] == DATA
        until(lambda: service.in_flight() == 0)
        assert service.session.statistics().requests == 2


def test_many_slow_readers_share_few_slots(settings: StorageSettings, seed: Seeder) -> None:
    """64 downloads through 4 slots: never more than 4 at once, and every one arrives whole."""
    seed.put("key", DATA[:MIB])
    few = settings.model_copy(update={"max_pool_connections": 4})
    with serving(application(few)) as service, selectors.DefaultSelector() as selector:
        received = {service.connect(receive_buffer=16_384): bytearray() for _ in range(64)}
        most = 0
        try:
            for connection in received:
                connection.sendall(get("/objects/key"))
                selector.register(connection, selectors.EVENT_READ)
            while selector.get_map():
                most = max(most, service.in_flight())
                for key, _ in selector.select(timeout=20):
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket)
                    piece = ready.recv(16_384)
                    received[ready] += piece
                    if not piece:
                        selector.unregister(ready)
        finally:
            for connection in received:
                connection.close()
        assert 0 < most <= 4
        for reply in received.values():
            status, _, body = split(bytes(reply))
            assert (status, body) == (200, DATA[:MIB])
        assert service.in_flight() == 0


def test_a_busy_pool_is_503_with_a_time_to_come_back(settings: StorageSettings, seed: Seeder) -> None:
    """Who waits too long for a slot is told so, in problem JSON."""
    seed.put("key", DATA)
    busy = settings.model_copy(update={"max_pool_connections": 1, "pool_timeout": 0.05})
    with serving(application(busy)) as service, service.connect(receive_buffer=8192) as first:
        first.sendall(get("/objects/key"))
        until(lambda: service.in_flight() == 1)
        answer = httpx.get(f"{service.url}/objects/key")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_client_that_takes_nothing_is_let_go(service: Service, seed: Seeder) -> None:
    """A reader that stopped loses its slot after `send_timeout`."""
    seed.put("key", DATA)
    with service.connect(receive_buffer=8192) as stopped:
        stopped.sendall(get("/objects/key?send_timeout=0.2"))
        until(lambda: service.in_flight() == 1)
        until(lambda: service.in_flight() == 0)
        assert service.session.statistics().bytes_received < len(DATA)


def test_a_store_that_dies_half_way_breaks_the_connection(tmp_path: Path) -> None:
    """The client sees that bytes are missing: never a short body that looks whole."""
    whole = DATA * 4  # more than the kernel keeps between the store and us
    with MotoServer.start(directory=tmp_path) as server:
        observer = servers.observer_client(server)
        observer.create_bucket(Bucket="lake")
        Seeder(observer, "lake").put("key", whole)
        observer.close()
        settings = StorageSettings(
            **server.settings_kwargs(), data_lake_bucket="lake", retry_mode="none", fast_path=True
        )
        with serving(application(settings)) as service, service.connect(receive_buffer=8192) as client:
            client.sendall(get("/objects/key"))
            begun = client.recv(1000)
            server.kill()
            status, headers, body = split(begun + read_all(client))
            assert (status, headers["content-length"]) == (200, str(len(whole)))
            assert body == whole[: len(body)]
            assert len(body) < len(whole)
            until(lambda: service.in_flight() == 0)
            answer = httpx.get(f"{service.url}/objects/key")
            assert (answer.status_code, answer.json()["code"]) == (503, "unreachable")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_damaged_bytes_are_never_a_whole_answer(
    server: StorageServer, settings: StorageSettings, seed: Seeder, size: int
) -> None:
    """A wrong checksum is 502 when the object fits into one chunk; else the last bytes are held back."""
    seed.put("key", DATA[:size])
    faults = [Fault(flip_at=size - 1) for _ in range(8)]
    async with TamperingProxy("127.0.0.1", server.port) as proxy:
        proxy.faults.extend(faults)
        tampered = settings.model_copy(update={"endpoint_url": proxy.url})

        def ask() -> tuple[int, bytes, int]:
            with serving(application(tampered)) as service:
                host = service.url.removeprefix("http://")
                connection = http.client.HTTPConnection(host, timeout=20)
                try:
                    connection.request("GET", "/objects/key")
                    reply = connection.getresponse()
                    try:
                        return reply.status, reply.read(), int(reply.headers["content-length"])
                    except http.client.IncompleteRead as exc:
                        return reply.status, exc.partial, size
                finally:
                    connection.close()

        status, body, length = await asyncio.to_thread(ask)
    if size == 1000:
        assert (status, length) == (502, len(body))
    else:
        assert status == 200
        assert len(body) < size
        assert body == DATA[: len(body)]
