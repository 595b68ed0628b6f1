"""The application: what it is made of, and what its page may load."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import FileResponse
from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.staticfiles import StaticFiles

from greenlang_async_storage import S3SessionClosedError, StorageSession, StorageSettings
from greenlang_async_storage.artifacts import EmissionFactorCache, ModelStore, ReportStore
from greenlang_async_storage.fastapi import (
    UploadRules,
    add_exception_handlers,
    health_router,
    storage_lifespan,
    storage_of,
    upload_router,
)
from greenlang_async_storage.metrics import StorageCollector

from . import factors, files, models, reports
from .dependencies import data_lake, tenant

STATIC = Path(__file__).parent / "static"
MIB = 1024 * 1024
RULES = UploadRules(
    max_size=1024 * MIB,
    content_types=[
        "text/csv",
        "text/plain",
        "application/json",
        "application/pdf",
        "application/zip",
        "application/vnd.apache.parquet",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "image/*",
    ],
    post_up_to=8 * MIB,
    part_size=8 * MIB,
)


def create_app(
    settings: StorageSettings | None = None, *, rules: UploadRules = RULES, secret: str | None = None
) -> FastAPI:
    """
    The application, for uvicorn and for tests.

    With several processes give all the same *secret*, or set EXAMPLE_UPLOAD_SECRET: upload handles made by
    one must open in another.
    """
    app = FastAPI(title="GreenLang artifacts", lifespan=storage_lifespan(settings, inner=_prepare))
    add_exception_handlers(app)
    app.include_router(health_router())
    app.include_router(
        upload_router(
            tenant=tenant,
            bucket=data_lake,
            rules=rules,
            prefix="/api/uploads",
            secret=secret or os.environ.get("EXAMPLE_UPLOAD_SECRET") or secrets.token_hex(32),
        )
    )
    for part in (files, reports, models, factors):
        app.include_router(part.router)
    app.state.rules = rules
    registry = CollectorRegistry()
    registry.register(StorageCollector(lambda: _session(app)))
    app.mount("/metrics", make_asgi_app(registry))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=_page_headers(app.state.store_origin))

    return app


@asynccontextmanager
async def _prepare(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
    """What needs the open session: the development buckets, the stores, and the address browsers send to."""
    session = storage_of(app)
    if session.settings.endpoint is not None:
        await session.ensure_buckets()
    app.state.reports = ReportStore(session.reports)
    app.state.models = ModelStore(session.models, application="example")
    app.state.factors = EmissionFactorCache(session.cache)
    await factors.seed(app.state.factors)
    app.state.store_origin = await _store_origin(session)
    yield {}


async def _store_origin(session: StorageSession) -> str:
    form = await session.data_lake.presign_post("probe", content_type="text/plain", max_size=1)
    parts = urlsplit(form.url)
    return f"{parts.scheme}://{parts.netloc}"


def _session(app: FastAPI) -> StorageSession | None:
    try:
        return storage_of(app)
    except S3SessionClosedError:
        return None


def _page_headers(store_origin: str) -> dict[str, str]:
    """The page runs its own scripts only, and talks to this service and the store only."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {store_origin}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
