"""Storage failures as HTTP answers: RFC 9457 problem JSON that tells a client nothing of the store."""

from __future__ import annotations

import http
import logging
import math
import uuid
from collections.abc import Mapping
from typing import Final, NamedTuple

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3SessionClosedError,
    S3ThrottlingError,
    S3TimeoutError,
)

PROBLEM_TYPE: Final = "application/problem+json"
_RETRY_AFTER: Final = 1.0
_LONGEST_RETRY_AFTER: Final = 3600.0
_log = logging.getLogger("greenlang_async_storage.fastapi")


class UploadRefusedError(S3InvalidRequestError, HTTPException):
    """
    An upload the application's own rules refuse; its message is made for the client and names no bucket.

    `status_code` is 400, 403, 408, 409, 410, 413, 415 or 422. Also an `HTTPException`: without
    `add_exception_handlers` FastAPI answers it with its own JSON.
    """

    default_remedy = "Correct the upload and send it again."

    def __init__(self, status_code: int, code: str, message: str, *, remedy: str | None = None) -> None:
        S3InvalidRequestError.__init__(self, message, code=code, status=status_code, remedy=remedy)
        self.status_code = status_code
        self.detail = f"{message.rstrip('.')}. {self.remedy}"
        self.headers = None

    def __str__(self) -> str:
        return self.detail


class _Answer(NamedTuple):
    status: int
    code: str
    detail: str
    retry: bool = False


_ANSWERS: Final[Mapping[type[S3Error], _Answer]] = {
    S3NotFoundError: _Answer(404, "not-found", "There is no such object."),
    S3AccessDeniedError: _Answer(403, "access-denied", "Access to this object is not allowed."),
    S3ThrottlingError: _Answer(
        429, "throttled", "The storage asks for fewer requests; try again later.", retry=True
    ),
    S3PreconditionFailedError: _Answer(
        412,
        "precondition-failed",
        "The object exists, is missing, or is another version than the request named.",
    ),
    S3ObjectChangedError: _Answer(
        409, "object-changed", "The object changed during the request; send it again."
    ),
    S3IntegrityError: _Answer(502, "damaged", "The stored bytes did not match their checksum."),
    S3PoolTimeoutError: _Answer(
        503, "busy", "All storage connections are busy; try again shortly.", retry=True
    ),
    S3TimeoutError: _Answer(504, "timeout", "The storage did not answer in time."),
    S3ConnectionError: _Answer(
        503, "unreachable", "The storage cannot be reached; try again shortly.", retry=True
    ),
    S3CredentialsError: _Answer(
        503, "unavailable", "The storage is not available; try again later.", retry=True
    ),
    S3SessionClosedError: _Answer(
        503, "closing", "The service is starting or ending; try again shortly.", retry=True
    ),
}
_CONFLICT: Final = _Answer(409, "conflict", "Another request works on the same object; send it again.")
_INVALID: Final = _Answer(400, "invalid-request", "The request names no valid object, range or condition.")
_TOO_LARGE: Final = _Answer(413, "too-large", "The object is larger than is allowed.")
_RANGE: Final = _Answer(416, "range-not-satisfiable", "The object ends before this range.")
_UPSTREAM: Final = _Answer(502, "storage-failed", "The storage failed; try again later.", retry=True)
_INTERNAL: Final = _Answer(500, "internal", "The service is set up wrongly for this request.")


def status_for(error: S3Error) -> int:
    """The HTTP status that tells a client what *error* means to it."""
    return _answer(error).status


def problem_response(error: S3Error, *, headers: Mapping[str, str] | None = None) -> Response:
    """
    *error* as RFC 9457 problem JSON (`application/problem+json`), for handlers of an application's own.

    Members: `type` (`about:blank`), `title`, `status`, `detail`, `code` (a word that stays the same) and
    `instance`, a random URN under which the whole error is logged. Bucket, key, endpoint and the store's own
    message stay in the log. Answers that may be tried again have `Retry-After`, from the store where it said.
    """
    answer = _answer(error)
    instance = uuid.uuid4().urn
    level = logging.WARNING if answer.status >= 500 or answer.status == 429 else logging.DEBUG
    _log.log(level, "storage problem %s answered %d: %s", instance, answer.status, error)
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if answer.retry:
        asked = error.retry_after if error.retry_after is not None else _RETRY_AFTER
        sent["Retry-After"] = str(math.ceil(min(max(asked, 1.0), _LONGEST_RETRY_AFTER)))
    content = {
        "type": "about:blank",
        "title": http.HTTPStatus(answer.status).phrase,
        "status": answer.status,
        "detail": answer.detail,
        "code": answer.code,
        "instance": instance,
    }
    return JSONResponse(content, answer.status, sent, PROBLEM_TYPE)


def add_exception_handlers(app: FastAPI) -> None:
    """
    Let *app* answer every `S3Error` its handlers raise as `problem_response` does.

    404, 403, 409, 412, 413, 416, 429 and 503 with `Retry-After`, 502, 504; 500 for what is set up wrongly. A
    handler the application adds for a subclass, or later for `S3Error` itself, comes first.
    """
    app.add_exception_handler(S3Error, _handle)


async def _handle(request: Request, error: Exception) -> Response:  # noqa: ARG001  # Starlette's signature
    assert isinstance(error, S3Error)  # noqa: S101  # registered for nothing else
    return problem_response(error)


def _answer(error: S3Error) -> _Answer:
    if isinstance(error, UploadRefusedError):
        return _Answer(error.status_code, error.code or "refused", error.detail)
    if error.code == "ConditionalRequestConflict":
        return _CONFLICT
    for cls in type(error).__mro__:
        if (found := _ANSWERS.get(cls)) is not None:
            return found
    if isinstance(error, S3InvalidRequestError):
        return _answer_invalid(error)
    if error.status == 409:
        return _CONFLICT
    return _UPSTREAM if (error.status or 0) >= 500 else _INTERNAL


def _answer_invalid(error: S3InvalidRequestError) -> _Answer:
    """What can never work: the client's fault when it was found here, else mostly our set-up's."""
    if error.status == 416:
        return _RANGE
    if error.status == 413 or error.code == "EntityTooLarge":
        return _TOO_LARGE
    if error.status is None or error.code in {"EntityTooSmall", "InvalidPart", "InvalidPartOrder"}:
        return _INVALID
    return _INTERNAL
