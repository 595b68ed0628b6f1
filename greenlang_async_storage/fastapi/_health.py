"""Liveness and readiness, for load balancers and orchestrators."""

import asyncio
import time
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from greenlang_async_storage import S3Error, S3SessionClosedError, StorageSession

from ._lifespan import get_storage

MAX_AGE: Final = 1.0
CHECK_TIMEOUT: Final = 5.0


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ReadinessReport(BaseModel):
    """Whether requests that need the storage can work; names no bucket and no address."""

    status: Literal["ready", "unavailable"]
    buckets: dict[str, bool] = {}
    """By purpose, such as `data_lake`."""


class _Checks:
    """The latest check, shared by everyone who asks within its age: probes must not become a load."""

    def __init__(self, max_age: float, timeout: float) -> None:
        self._max_age, self._timeout = max_age, timeout
        self._session: StorageSession | None = None
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._report = ReadinessReport(status="unavailable")

    async def report(self, session: StorageSession) -> ReadinessReport:
        if session is not self._session:  # another run of the application, perhaps in another event loop
            self._session, self._lock, self._until = session, asyncio.Lock(), 0.0
        async with self._lock:
            if time.monotonic() >= self._until:
                self._report = await self._ask(session)
                self._until = time.monotonic() + self._max_age
            return self._report

    async def _ask(self, session: StorageSession) -> ReadinessReport:
        try:
            found = await session.check(timeout=self._timeout)
        except S3Error:
            return ReadinessReport(status="unavailable")
        buckets = {purpose: bucket.ok for purpose, bucket in found.buckets.items()}
        return ReadinessReport(status="ready" if found.ok else "unavailable", buckets=buckets)


def health_router(
    prefix: str = "/health", *, max_age: float = MAX_AGE, timeout: float = CHECK_TIMEOUT
) -> APIRouter:
    """
    `GET {prefix}/live`, 200 while the process answers, and `GET {prefix}/ready`, 200 or 503.

    Readiness asks every configured bucket (`StorageSession.check`) within *timeout* seconds, at most once
    every *max_age* seconds however many ask. A starting or closing session is not ready.
    """
    router = APIRouter(prefix=prefix, tags=["health"])
    checks = _Checks(max_age, timeout)

    @router.get("/live")
    async def live() -> Liveness:
        return Liveness()

    @router.get("/ready", responses={503: {"model": ReadinessReport}})
    async def ready(
        response: Response, session: Annotated[StorageSession | None, Depends(_session_or_none)]
    ) -> ReadinessReport:
        report = ReadinessReport(status="unavailable")
        if session is not None:
            report = await checks.report(session)
        response.status_code = 200 if report.status == "ready" else 503
        response.headers["Cache-Control"] = "no-store"
        return report

    return router


async def _session_or_none(connection: HTTPConnection) -> StorageSession | None:
    try:
        return await get_storage(connection)
    except S3SessionClosedError:
        return None
