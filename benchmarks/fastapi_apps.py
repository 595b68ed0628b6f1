"""
One download route, written three times; `benchmarks.fastapi_load` runs each in a process of its own.

    uvicorn --factory benchmarks.fastapi_apps:sdk
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request, Response

from greenlang_async_storage import StorageSession
from greenlang_async_storage.fastapi import ObjectResponse, get_storage, object_response, storage_lifespan

KEY: Final = "download.bin"


def sdk() -> FastAPI:
    """The SDK's route: one session, the body streamed and verified."""
    app = FastAPI(lifespan=storage_lifespan())

    @app.get("/download")
    async def download(
        request: Request, storage: Annotated[StorageSession, Depends(get_storage)]
    ) -> ObjectResponse:
        return object_response(storage.data_lake, KEY, request)

    return app


def guide() -> FastAPI:
    """Plain aioboto3 as the guide shows it: a client for each request, the body in memory."""
    import aioboto3

    app = FastAPI()
    session = aioboto3.Session()

    @app.get("/download")
    async def download() -> Response:
        async with session.client("s3", **_address()) as client:
            return await _whole(client)

    return app


def shared() -> FastAPI:
    """Plain aioboto3 with one client for all requests, the body in memory."""
    import aioboto3

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aioboto3.Session().client("s3", **_address()) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/download")
    async def download(request: Request) -> Response:
        return await _whole(request.app.state.client)

    return app


def _address() -> dict[str, Any]:
    return {
        "endpoint_url": os.environ["GREENLANG_STORAGE_ENDPOINT_URL"],
        "region_name": os.environ["AWS_REGION"],
    }


async def _whole(client: Any) -> Response:  # noqa: ANN401  # aioboto3 publishes no types
    reply = await client.get_object(Bucket=os.environ["GREENLANG_DATA_LAKE_BUCKET"], Key=KEY)
    return Response(await reply["Body"].read(), media_type="application/octet-stream")
