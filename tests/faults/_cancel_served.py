"""Clients of a served application that leave: at every so many bytes of a request, and of a reply."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response

from greenlang_async_storage import StorageSettings
from greenlang_async_storage.fastapi import (
    add_exception_handlers,
    object_response,
    receive_upload,
    storage_lifespan,
)
from greenlang_async_storage.testing import FaultProxy, MemoryS3
from tests.fastapi.serving import Service, reset, serving, until
from tests.faults._cancel_lab import LARGE, OLD, PART, SMALL, seeded
from tests.support.cancel import Tally
from tests.support.faults import BUCKET

HUGE: Final = LARGE * 60
"""More than the kernel keeps for a client that does not read."""
BOUNDARY: Final = "greenlang"
FORM_HEAD: Final = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    "Content-Type: text/csv\r\n\r\n"
).encode()
FORM: Final = FORM_HEAD + LARGE + f"\r\n--{BOUNDARY}--\r\n".encode()
PIECE: Final = 4096


def _request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _chunked(body: bytes) -> bytes:
    pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


_LENGTH = {"Content-Type": "text/csv", "Content-Length": str(len(LARGE))}
_FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(FORM))}
_CHUNKS = {"Content-Type": "text/csv", "Transfer-Encoding": "chunked"}
UPLOADS: Final[Mapping[str, bytes]] = {
    "upload": _request("PUT", "/objects/key", _LENGTH, LARGE),
    "chunked upload": _request("PUT", "/objects/key", _CHUNKS, _chunked(LARGE)),
    "form": _request("PUT", "/objects/key", _FORM, FORM),
}
DOWNLOAD: Final = _request("GET", "/objects/huge", {"Connection": "close"})
KNOWN: Final = _request("GET", "/objects/small", {"Connection": "close"})


def application(store: MemoryS3, *, fast_path: bool) -> FastAPI:
    """One route each way, on a session of its own; the store has an address in the same loop."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with FaultProxy(store) as proxy:
            options: dict[str, Any] = {**store.settings_kwargs(), "endpoint_url": proxy.url}
            settings = StorageSettings(
                **options, data_lake_bucket=BUCKET, fast_path=fast_path, retry_mode="standard"
            )
            settings.__dict__.update(part_size=PART, multipart_threshold=PART)
            async with storage_lifespan(settings)(app) as state:
                yield state or {}

    app = FastAPI(lifespan=lifespan)
    add_exception_handlers(app)

    @app.get("/objects/{key}")
    async def download(key: str, request: Request) -> Response:
        return object_response(app.state.greenlang_storage.data_lake, key, request)

    @app.put("/objects/{key}")
    async def upload(key: str, request: Request) -> dict[str, int]:
        lake = app.state.greenlang_storage.data_lake
        received = await receive_upload(request, lake, key, max_size=len(HUGE), content_types={"text/csv"})
        return {"size": received.size}

    return app


@dataclass
class Served:
    """The running application and its store."""

    service: Service
    store: MemoryS3

    def leave(self, sent: bytes, *, reads: int, abruptly: bool, tally: Tally) -> None:
        """A client that sends this much, reads that much, and is gone; then all has to be as before."""
        connection = self.service.connect(receive_buffer=8192)
        try:
            connection.sendall(sent)
            if reads:
                _read(connection, reads)
            gone = time.monotonic()
            if abruptly:
                reset(connection)
        finally:
            connection.close()
        until(self._at_rest)
        tally.add("client gone", time.monotonic() - gone)
        self.check()

    def _at_rest(self) -> bool:
        statistics = self.service.session.statistics()
        busy = statistics.in_flight or statistics.pool_waiting or statistics.cleanups_pending
        return not busy and not self.store.open_uploads(BUCKET)

    def check(self) -> None:
        """The old object or the whole new one, and the next reply is that of the next request."""
        address = urlsplit(self.service.url)
        with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=20) as client:
            client.sendall(KNOWN)
            reply = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert body == SMALL, "out of step: the reply is another's"
        assert self.store.get(BUCKET, "key") in (OLD, LARGE), "half an object"
        assert self.service.session.statistics().possible_orphans == 0


def _read(connection: socket.socket, count: int) -> None:
    while count > 0 and (piece := connection.recv(min(count, 65536))):
        count -= len(piece)


@contextmanager
def served(*, fast_path: bool) -> Iterator[Served]:
    """The application on a free port; call it inside `small_parts()`."""
    store = seeded()
    store.put(BUCKET, "huge", HUGE)
    with serving(application(store, fast_path=fast_path)) as service:
        yield Served(service, store)


def clients_leave(at: Served, tally: Tally, *, places: int) -> None:
    """At about *places* bytes of each kind of request and of a reply, by RST and by FIN."""
    for request in UPLOADS.values():
        for number in range(places):
            # Half of the places are in the head and the first bytes of the body.
            scale = 400 if number % 2 else len(request)
            cut = 1 + (number // 2) * scale // max(1, places // 2)
            at.leave(request[:cut], reads=0, abruptly=number % 4 < 2, tally=tally)
    for number in range(places):
        reads = 1 + number * (len(HUGE) if number % 2 else 1000) // places
        at.leave(DOWNLOAD, reads=reads, abruptly=number % 4 < 2, tally=tally)
    for request in UPLOADS.values():
        # All of it was sent, and nobody waits for the answer.
        at.leave(request, reads=0, abruptly=True, tally=tally)
