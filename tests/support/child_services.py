"""Processes that work until they are told to stop: a worker, and a service under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request, Response

from greenlang_async_storage import Bucket, StorageSession, StorageSettings
from greenlang_async_storage.fastapi import (
    add_exception_handlers,
    get_storage,
    object_response,
    receive_upload,
    storage_lifespan,
    storage_of,
)
from tests.support.child_jobs import content
from tests.support.children import Tell
from tests.support.faults import MIB, PART

ENDLESS: Final = 4
DRAINED: Final = 3
QUICK: Final = 8
DRAIN_SECONDS: Final = 5.0
"""Enough for a part and a Complete on a busy machine; what never ends takes all of it."""


def drained_content(number: int) -> bytes:
    """What an upload that is drained stores."""
    return content(number, PART + MIB)


class Worker:
    """Uploads and downloads at once: some quick, some that end when told to stop, some that never do."""

    def __init__(self, tell: Tell, lake: Bucket, folder: Path) -> None:
        self._tell, self._lake, self._folder = tell, lake, folder
        self.stop = asyncio.Event()
        self.acknowledged: list[str] = []

    async def endless(self) -> AsyncIterator[bytes]:
        """A part, and then nothing for ever."""
        yield bytes(PART + 1)
        self._tell("begun")
        await asyncio.Event().wait()

    async def until_told(self, number: int) -> AsyncIterator[bytes]:
        """A part, the rest once the process is told to stop."""
        data = drained_content(number)
        yield data[:PART]
        self._tell("begun")
        await self.stop.wait()
        yield data[PART:]

    async def quick(self, name: int) -> None:
        """One small object after the other; returns at the first that is refused."""
        for turn in range(1_000_000):
            key = f"quick/{name}/{turn}"
            await self._lake.upload_bytes(key, key.encode())
            self.acknowledged.append(key)
            if turn == 0:
                self._tell("begun")

    def works(self) -> list[Awaitable[object]]:
        """Everything it does."""
        lake = self._lake
        return [
            *(lake.upload_stream(f"endless/{number}", self.endless()) for number in range(ENDLESS)),
            *(lake.upload_stream(f"drained/{number}", self.until_told(number)) for number in range(DRAINED)),
            *(lake.download_file("large", self._folder / f"file-{number}") for number in range(ENDLESS)),
            *(self.quick(name) for name in range(QUICK)),
        ]


async def worker(tell: Tell, settings: dict[str, Any], folder: str) -> None:
    """A program that drains on SIGTERM; tells what became of its calls."""
    async with StorageSession(StorageSettings(**settings)) as session:
        job = Worker(tell, session.data_lake, Path(folder))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, job.stop.set)
        calls = [asyncio.ensure_future(work) for work in job.works()]
        await job.stop.wait()
        await session.aclose(drain=DRAIN_SECONDS)
        await asyncio.wait(calls)
        ends = Counter(type(call.exception()).__name__ for call in calls)
        statistics = session.statistics()
        tell({"ends": ends, "acknowledged": job.acknowledged})
        tell([statistics.in_flight, statistics.cleanups_pending, statistics.possible_orphans])


def service(tell: Tell, settings: StorageSettings) -> FastAPI:
    """An application that stores what it gets and sends what it has."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with storage_lifespan(settings, drain=DRAIN_SECONDS)(app):
            session = storage_of(app)
            yield
        statistics = session.statistics()
        tell([statistics.in_flight, statistics.cleanups_pending, statistics.possible_orphans])

    app = FastAPI(lifespan=lifespan)
    add_exception_handlers(app)

    @app.put("/{key}")
    async def put(request: Request, key: str) -> dict[str, int]:
        lake = (await get_storage(request)).data_lake
        stored = await receive_upload(
            request, lake, key, max_size=100 * MIB, content_types=None, part_size=PART
        )
        return {"size": stored.size}

    @app.get("/{key}")
    async def get(request: Request, key: str) -> Response:
        return object_response((await get_storage(request)).data_lake, key, request)

    for route in (put, get):
        route.__annotations__["request"] = Request
    return app


async def served(tell: Tell, settings: dict[str, Any]) -> None:
    """The application under uvicorn; tells its port."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        tell(listener.getsockname()[1])
        app = service(tell, StorageSettings(**settings))
        config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])
