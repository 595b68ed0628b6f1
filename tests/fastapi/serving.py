"""A real uvicorn in a thread of this process, and clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from fastapi import FastAPI

from greenlang_async_storage import StorageSession

PATIENCE = 45.0
"""Seconds a state may take to come about on a busy machine."""


@dataclass(frozen=True)
class Service:
    """An application that answers at `url`."""

    app: FastAPI
    url: str

    @property
    def session(self) -> StorageSession:
        """Its storage session, which lives in the server's thread: for `statistics()` only."""
        session: StorageSession = self.app.state.greenlang_storage
        return session

    def in_flight(self) -> int:
        """Pool slots in use."""
        return self.session.statistics().in_flight

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A raw connection; *receive_buffer* bounds what the kernel takes for a client that does not read."""
        address = urlsplit(self.url)
        made = socket.socket()
        made.settimeout(PATIENCE)
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect((str(address.hostname), int(address.port or 0)))
        return made


@contextmanager
def serving(app: FastAPI, **config: Any) -> Iterator[Service]:
    """*app* on a free port of loopback, its lifespan run; stopped gracefully at the end."""
    with closing(socket.socket()) as listener:
        # Small buffers, so that a slow reader is slow and not served by the kernel.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        options = {"log_config": None, "lifespan": "on", "timeout_graceful_shutdown": 5, **config}
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started, "the application did not start"
            yield Service(app, f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()


def ask(app: FastAPI, path: str = "/") -> httpx.Response:
    """What an application that was not started answers to one GET, without a server."""

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(get())


def until(true: Callable[[], bool], *, patience: float = PATIENCE) -> None:
    """Return when *true* holds; fail when it does not come about."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def reset(connection: socket.socket) -> None:
    """Close at once, as a client that crashed: what it has not read is thrown away."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    pieces = []
    try:
        while piece := connection.recv(256 * 1024):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)
