"""One session per process: opened at start-up, found by handlers, drained at the end; and the probes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from greenlang_async_storage import S3SessionClosedError, StorageSession, StorageSettings
from greenlang_async_storage.fastapi import (
    add_exception_handlers,
    get_storage,
    health_router,
    storage_lifespan,
    storage_of,
)
from greenlang_async_storage.testing import MotoServer

from .serving import ask, serving, until


@contextmanager
def client_of(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of *app*, which is started and ended around it."""
    with serving(app) as service, httpx.Client(base_url=service.url, timeout=20) as client:
        yield client


def seen_by(app: FastAPI) -> list[StorageSession]:
    """The sessions handlers of *app* get, filled by `/look`."""
    found: list[StorageSession] = []

    async def look(request: Request) -> None:
        found.append(await get_storage(request))

    look.__annotations__["request"] = Request
    app.add_api_route("/look", look)
    return found


def test_every_request_gets_the_one_session(settings: StorageSettings) -> None:
    """Handlers and mounted applications share it; it is closed with the application."""
    app, sub = FastAPI(lifespan=storage_lifespan(settings)), FastAPI()
    app.mount("/sub", sub)
    found, below = seen_by(app), seen_by(sub)

    with client_of(app) as client:
        assert client.get("/look").status_code == client.get("/sub/look").status_code == 200
        assert storage_of(app) is found[0]
        assert {id(session) for session in [*found, *below]} == {id(found[0])}
        assert len([*found, *below]) == 2
    assert "closed" in repr(found[0])
    with pytest.raises(S3SessionClosedError, match="storage_lifespan"):
        storage_of(app)


def test_an_inner_lifespan_runs_with_the_session_open(settings: StorageSettings) -> None:
    """It may use the session at both ends, and its state is kept."""
    order: list[str] = []

    @asynccontextmanager
    async def inner(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await storage_of(app).data_lake.upload_bytes("start", b"1")
        order.append("inner starts")
        yield {"own": 7}
        await storage_of(app).data_lake.download_bytes("start")
        order.append("inner ends")

    app = FastAPI(lifespan=storage_lifespan(settings, inner=inner))

    async def own(request: Request) -> int:
        return int(request.state.own)

    own.__annotations__["request"] = Request
    app.add_api_route("/", own)
    with client_of(app) as client:
        assert client.get("/").json() == 7
    assert order == ["inner starts", "inner ends"]


def test_it_fits_into_an_own_lifespan(settings: StorageSettings) -> None:
    """An application may enter it in its own."""

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with storage_lifespan(settings)(app):
            yield

    app = FastAPI(lifespan=own)
    found = seen_by(app)
    for runs in (1, 2):  # an application may be started again, with a new session
        with client_of(app) as client:
            client.get("/look")
        assert len({id(session) for session in found}) == runs


def test_without_the_lifespan_the_error_says_so() -> None:
    """503 with the handlers, and a message that names what to do."""
    app = FastAPI()
    add_exception_handlers(app)
    seen_by(app)
    answer = ask(app, "/look")
    assert (answer.status_code, answer.json()["code"]) == (503, "closing")


def test_calls_in_flight_are_waited_for(settings: StorageSettings) -> None:
    """Background work that a handler started ends before the session does."""
    import asyncio

    app = FastAPI(lifespan=storage_lifespan(settings))
    tasks: list[asyncio.Task[Any]] = []
    going = threading.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        going.set()
        await asyncio.sleep(0.2)
        yield b"end"

    async def begin(request: Request) -> None:
        lake = (await get_storage(request)).data_lake
        tasks.append(asyncio.create_task(lake.upload_stream("key", body())))

    begin.__annotations__["request"] = Request
    app.add_api_route("/", begin)
    with serving(app) as service:
        assert httpx.get(service.url).status_code == 200
        assert going.wait(10)
    [task] = tasks
    assert task.result().size == len(b"beginend")


def test_probes(settings: StorageSettings) -> None:
    """Live while the process answers; ready only while every configured bucket does; nothing is named."""
    app = FastAPI(lifespan=storage_lifespan(settings))
    app.include_router(health_router(max_age=0.0))
    with client_of(app) as client:
        assert client.get("/health/live").json() == {"status": "alive"}
        ready = client.get("/health/ready")
        assert ready.json() == {"status": "ready", "buckets": {"data_lake": True}}
        assert ready.headers["cache-control"] == "no-store"
    missing = settings.model_copy(update={"reports_bucket": "no-such-bucket-anywhere"})
    app = FastAPI(lifespan=storage_lifespan(missing))
    app.include_router(health_router(max_age=0.0))
    with client_of(app) as client:
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "buckets": {"data_lake": True, "reports": False}}
    unstarted = ask(app, "/health/ready")
    assert (unstarted.status_code, unstarted.json()["status"]) == (503, "unavailable")


def test_probes_share_one_check(settings: StorageSettings) -> None:
    """However many ask within its age, the store is asked once."""
    app = FastAPI(lifespan=storage_lifespan(settings))
    app.include_router(health_router(max_age=60))
    with client_of(app) as client:
        for _ in range(20):
            assert client.get("/health/ready").status_code == 200
        assert storage_of(app).statistics().requests == 1


def test_a_store_that_is_gone_is_noticed(tmp_path: Any) -> None:
    """Readiness turns with the store, within its time limit."""
    with MotoServer.start(directory=tmp_path) as server:
        settings = StorageSettings(
            **server.settings_kwargs(), data_lake_bucket="some-lake", fast_path=True, retry_mode="none"
        )
        app = FastAPI(lifespan=storage_lifespan(settings))
        app.include_router(health_router(max_age=0.0, timeout=2.0))
        with serving(app) as service:
            assert httpx.get(f"{service.url}/health/ready").status_code == 503, "no bucket yet"
            server.kill()
            until(lambda: not server.running)
            assert httpx.get(f"{service.url}/health/ready", timeout=20).status_code == 503
            assert httpx.get(f"{service.url}/health/live").status_code == 200
