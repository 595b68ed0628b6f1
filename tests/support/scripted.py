"""A `Connection` whose requests answer what a test says, without a network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError

from greenlang_async_storage import StorageSettings
from greenlang_async_storage._connection import ClientHooks, Connection
from greenlang_async_storage._types import Buffer, PartData


class Renewals:
    """Counts forced credential renewals."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> bool:
        self.count += 1
        return True


def one_buffer(data: PartData, _sha256: str | None) -> Buffer:
    """The payload of a body, as it was given."""
    assert not isinstance(data, tuple)
    return data


def scripted_connection(
    renewals: Callable[[], Awaitable[object]] | None = None, **settings: Any
) -> Connection:
    """An open connection around a client that sends nothing."""
    client = SimpleNamespace(meta=SimpleNamespace(endpoint_url="http://127.0.0.1:1", region_name="us-east-1"))
    hooks = ClientHooks(renewals or Renewals(), one_buffer)
    return Connection(cast("Any", client), StorageSettings(**settings), hooks)


class Script:
    """A `send` that gives its answers one after the other; exceptions are raised, callables awaited."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.sent = 0

    async def __call__(self, _client: object) -> Any:
        self.sent += 1
        answer = self.answers.pop(0) if self.answers else "done"
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            return await answer()
        return answer


def error_reply(code: str, status: int, **headers: str) -> ClientError:
    """Botocore's exception for an error reply."""
    meta = {"HTTPStatusCode": status, "RequestId": "R1", "HTTPHeaders": headers}
    return ClientError(
        {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": cast("Any", meta)}, "Operation"
    )
