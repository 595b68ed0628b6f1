"""An application with the routes the tests ask for, served by uvicorn on each storage server."""

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, Request, Response

from greenlang_async_storage import Bucket, StorageSession, StorageSettings
from greenlang_async_storage.fastapi import (
    ReceivedUpload,
    UploadRules,
    add_exception_handlers,
    get_storage,
    health_router,
    object_response,
    receive_upload,
    storage_lifespan,
    upload_router,
)
from tests.support.seeding import Seeder

from .serving import Service, serving

MIB = 1024 * 1024
SECRET = "a secret of the tests, long enough for an HMAC key"
MAX_SIZE = 20 * MIB


async def bucket(storage: Annotated[StorageSession, Depends(get_storage)]) -> Bucket:
    """The test's bucket."""
    return storage.data_lake


async def tenant(x_tenant: Annotated[str, Header()] = "acme") -> str:
    """Who asks: a test says so in a header."""
    return x_tenant


def routes(app: FastAPI) -> None:
    """Every part of the ring, as an application would use it."""
    Lake = Annotated[Bucket, Depends(bucket)]  # noqa: N806  # a type

    @app.api_route("/objects/{key:path}", methods=["GET", "HEAD"])
    async def download(
        key: str,
        request: Request,
        lake: Lake,
        filename: str | None = None,
        *,
        inline: bool = False,
        send_timeout: float = 60.0,
    ) -> Response:
        return object_response(
            lake, key, request, filename=filename, inline=inline, send_timeout=send_timeout
        )

    @app.put("/objects/{key:path}")
    async def upload(key: str, request: Request, lake: Lake, idle: float = 15.0) -> dict[str, Any]:
        allowed = {"text/csv", "image/*"}
        received = await receive_upload(
            request, lake, key, max_size=MAX_SIZE, content_types=allowed, idle_timeout=idle
        )
        return shown(received)

    app.include_router(health_router(max_age=0.0))
    app.include_router(
        upload_router(
            tenant=tenant,
            secret=SECRET,
            bucket=bucket,
            rules=UploadRules(
                max_size=MAX_SIZE, content_types=["text/csv"], post_up_to=5 * MIB, part_size=5 * MIB
            ),
        )
    )


def shown(received: ReceivedUpload) -> dict[str, Any]:
    """What a client is told."""
    return {
        "size": received.size,
        "content_type": received.content_type,
        "filename": received.filename,
        "fields": dict(received.fields),
    }


@pytest.fixture
def app(settings: StorageSettings) -> FastAPI:
    """The application, not started."""
    made = FastAPI(lifespan=storage_lifespan(settings))
    add_exception_handlers(made)
    routes(made)
    return made


@pytest.fixture
def service(app: FastAPI) -> Iterator[Service]:
    """The application, served."""
    with serving(app) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=service.url, timeout=30) as opened:
        yield opened


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket."""
    return Seeder(observer, bucket_name)
