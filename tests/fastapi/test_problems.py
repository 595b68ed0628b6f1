"""Errors as answers: every class has its status, and nothing of the store is told."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import greenlang_async_storage
from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3SessionClosedError,
    S3SourceChangedError,
    S3ThrottlingError,
    S3TimeoutError,
    S3WrongLoopError,
)
from greenlang_async_storage.fastapi import (
    UploadRefusedError,
    add_exception_handlers,
    problem_response,
    status_for,
)

from .serving import ask

STATUS: dict[type[S3Error], int] = {
    S3Error: 500,
    S3NotFoundError: 404,
    S3AccessDeniedError: 403,
    S3ThrottlingError: 429,
    S3PreconditionFailedError: 412,
    S3ObjectChangedError: 409,
    S3SourceChangedError: 500,
    S3IntegrityError: 502,
    S3TimeoutError: 504,
    S3PoolTimeoutError: 503,
    S3ConnectionError: 503,
    S3CredentialsError: 503,
    S3InvalidRequestError: 400,
    S3LocalFileError: 500,
    S3SessionClosedError: 503,
    S3WrongLoopError: 500,
}


def secret(cls: type[S3Error], **fields: object) -> S3Error:
    """An error full of what no client may learn."""
    told: dict[str, object] = {
        "bucket": "hidden-bucket",
        "key": "hidden/key",
        "operation": "GetObject",
        **fields,
    }
    return cls("hidden message of http://10.1.2.3:9000", **told)  # type: ignore[arg-type]


def test_every_class_has_its_status() -> None:
    """The table is complete: a new class of errors must be entered."""
    names = [name for name in greenlang_async_storage.__all__ if name.startswith("S3")]
    classes = {getattr(greenlang_async_storage, name) for name in names}
    assert classes == set(STATUS)
    for cls, status in STATUS.items():
        assert status_for(secret(cls)) == status, cls


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (secret(S3PreconditionFailedError, code="ConditionalRequestConflict", status=409), 409),
        (secret(S3Error, code="OperationAborted", status=409), 409),
        (secret(S3Error, code="InternalError", status=500), 502),
        (secret(S3InvalidRequestError, code="InvalidRange", status=416), 416),
        (secret(S3InvalidRequestError, code="EntityTooLarge", status=400), 413),
        (secret(S3InvalidRequestError, code="InvalidPart", status=400), 400),
        (secret(S3InvalidRequestError, code="NotImplemented", status=501), 500),
        (UploadRefusedError(415, "type-not-allowed", "no"), 415),
    ],
)
def test_codes_that_mean_something_else(error: S3Error, status: int) -> None:
    """Conflicts, failures inside the store, limits and refusals of our own."""
    assert status_for(error) == status


def test_s20_nothing_of_the_store_is_told_but_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The body and headers name no bucket, key, address or message; the log has all under the instance."""
    for cls in STATUS:
        error = secret(cls)
        caplog.clear()
        with caplog.at_level(logging.DEBUG, logger="greenlang_async_storage.fastapi"):
            answer = problem_response(error)
        body = bytes(answer.body).decode()
        problem = json.loads(body)
        assert problem["status"] == answer.status_code
        assert problem["type"] == "about:blank"
        for text in (body, str(answer.headers)):
            assert "hidden" not in text
            assert "10.1.2.3" not in text
        assert problem["instance"] in caplog.text
        assert "hidden/key" in caplog.text


def test_retry_after_is_the_store_s_own_where_it_said() -> None:
    """Whole seconds, rounded up, within a second and an hour."""
    for told, expected in ((None, "1"), (0.2, "1"), (7.1, "8"), (9e9, "3600")):
        error = secret(S3ThrottlingError)
        error.retry_after = told
        assert problem_response(error).headers["retry-after"] == expected
    assert "retry-after" not in problem_response(secret(S3NotFoundError)).headers


def application(error: Exception, *, handlers: bool) -> FastAPI:
    """An application whose only route raises *error*."""
    app = FastAPI()
    if handlers:
        add_exception_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    return app


def test_handlers_answer_what_handlers_raise() -> None:
    """`add_exception_handlers` covers the whole tree, refusals with their own words included."""
    assert ask(application(secret(S3NotFoundError), handlers=True)).json()["code"] == "not-found"
    answer = ask(application(UploadRefusedError(413, "too-large", "Too much"), handlers=True))
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "Too much. Correct the upload and send it again."


def test_refusals_have_their_status_without_handlers() -> None:
    """FastAPI's own handler answers them."""
    answer = ask(application(UploadRefusedError(413, "too-large", "Too much"), handlers=False))
    assert (answer.status_code, answer.json()["detail"][:8]) == (413, "Too much")


def test_an_application_s_own_handler_comes_first() -> None:
    """A handler for one class wins over ours for all."""
    app = FastAPI()
    add_exception_handlers(app)

    @app.exception_handler(S3NotFoundError)
    async def own(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("mine", 410)

    @app.get("/")
    async def fail() -> None:
        raise secret(S3NotFoundError)

    assert ask(app).text == "mine"
