"""
Object storage in FastAPI: one session per process, streamed downloads and uploads, direct uploads, problems.

    app = FastAPI(lifespan=storage_lifespan())
    add_exception_handlers(app)
    app.include_router(health_router())

    @app.get("/reports/{name}")
    async def report(name: str, request: Request, storage: StorageSession = Depends(get_storage)) -> Response:
        return object_response(storage.reports, f"reports/{name}", request, filename=name)

Needs the extra `[fastapi]`.
"""

from __future__ import annotations

from ._direct import ConfirmHook, upload_router
from ._download import ObjectResponse, object_response
from ._health import health_router
from ._lifespan import InnerLifespan, Lifespan, get_storage, storage_lifespan, storage_of
from ._models import ConfirmedUpload
from ._problems import UploadRefusedError, add_exception_handlers, problem_response, status_for
from ._receive import ReceivedUpload, receive_upload
from ._rules import UploadRules

__all__ = [
    "ConfirmHook",
    "ConfirmedUpload",
    "InnerLifespan",
    "Lifespan",
    "ObjectResponse",
    "ReceivedUpload",
    "UploadRefusedError",
    "UploadRules",
    "add_exception_handlers",
    "get_storage",
    "health_router",
    "object_response",
    "problem_response",
    "receive_upload",
    "status_for",
    "storage_lifespan",
    "storage_of",
    "upload_router",
]
