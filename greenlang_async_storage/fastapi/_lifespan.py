"""One session for each process of an application: opened at its start-up, drained at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from greenlang_async_storage import S3SessionClosedError, StorageSession, StorageSettings

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, object]]]
"""What `FastAPI(lifespan=...)` takes."""
InnerLifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, object] | None]]
"""An application's own lifespan, with or without a state."""

DRAIN_SECONDS: Final = 30.0
_STATE: Final = "greenlang_storage"


def storage_lifespan(
    settings: StorageSettings | None = None,
    *,
    inner: InnerLifespan | None = None,
    drain: float = DRAIN_SECONDS,
) -> Lifespan:
    """
    A lifespan that opens one `StorageSession` per process: `FastAPI(lifespan=storage_lifespan())`.

    Settings are read when the application starts, from the environment unless *settings* is given. *inner*
    is the application's own lifespan: it runs inside, with the session open, and its state is kept. An own
    lifespan may as well enter this one: `async with storage_lifespan()(app): ...`. At the end calls in
    flight get *drain* seconds, then they are ended and clean up after themselves.

    Raises at start-up: `StorageSettingsError`, `S3CredentialsError`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        session = StorageSession(settings)
        async with session:
            setattr(app.state, _STATE, session)
            try:
                if inner is None:
                    yield {_STATE: session}
                else:
                    async with inner(app) as state:
                        yield {**(state or {}), _STATE: session}
                # Only a clean end has time to wait; a failure leaves by the session's own exit.
                await session.aclose(drain=drain)
            finally:
                if getattr(app.state, _STATE, None) is session:
                    delattr(app.state, _STATE)

    return lifespan


async def get_storage(connection: HTTPConnection) -> StorageSession:
    """
    The process's open session, for handlers: `storage: Annotated[StorageSession, Depends(get_storage)]`.

    Works in routers, mounted applications and websockets; costs an attribute look-up.

    Raises:
        S3SessionClosedError: the application has no `storage_lifespan`, or it was not started.
    """
    session = getattr(connection.state, _STATE, None)
    return session if isinstance(session, StorageSession) else storage_of(connection.app)


def storage_of(app: Starlette) -> StorageSession:
    """
    The open session of *app*, for an inner lifespan and for background work; handlers use `get_storage`.

    Raises:
        S3SessionClosedError: as `get_storage`.
    """
    session = getattr(app.state, _STATE, None)
    if not isinstance(session, StorageSession):
        raise S3SessionClosedError(
            "this application has no open storage session",
            remedy="Make it with FastAPI(lifespan=storage_lifespan()), and let tests start its lifespan.",
        )
    return session
