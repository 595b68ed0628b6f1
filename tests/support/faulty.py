"""The client of an open session, with faults between it and the SDK: lost requests and replies, lies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import botocore.exceptions

from greenlang_async_storage import Bucket

Call = Callable[..., Awaitable[Any]]
Fault = Callable[[Call, dict[str, Any]], Awaitable[Any]]
"""Gets the real call and its arguments, and does with them what it likes."""


def no_reply() -> botocore.exceptions.ConnectionClosedError:
    """What a connection that broke while a reply was awaited raises."""
    return botocore.exceptions.ConnectionClosedError(endpoint_url="http://store")


async def lose_request(_call: Call, _arguments: dict[str, Any]) -> Any:
    """The request never arrives; the client cannot know."""
    raise no_reply()


async def lose_reply(call: Call, arguments: dict[str, Any]) -> Any:
    """The store does it, its answer is lost."""
    await call(**arguments)
    raise no_reply()


async def send_twice(call: Call, arguments: dict[str, Any]) -> Any:
    """A proxy sends it twice and gives back the second answer."""
    await call(**arguments)
    return await call(**arguments)


def answer(error: BaseException) -> Fault:
    """The store answers *error* and does nothing."""

    async def fault(_call: Call, _arguments: dict[str, Any]) -> Any:
        raise error

    return fault


def change_reply(**fields: Any) -> Fault:
    """The store does it, and the answer says something else; `None` takes a field away."""

    async def fault(call: Call, arguments: dict[str, Any]) -> Any:
        reply = {**await call(**arguments), **fields}
        return {name: value for name, value in reply.items() if value is not None}

    return fault


@dataclass
class FaultyClient:
    """
    Passes every call on, except those a fault is planned for; `install` puts it under a bucket's session.

    `faults[method]` are used up in order, one per request, `None` being no fault. `calls` counts the
    requests, `uploads` has (key, upload id) of every multipart upload that was opened.
    """

    real: Any
    faults: dict[str, deque[Fault | None]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    arguments: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    uploads: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def install(cls, bucket: Bucket) -> FaultyClient:
        """A faulty client between *bucket*'s session and its real one."""
        engine = cast("Any", bucket)._connection._engine
        engine._client = faulty = cls(engine._client)
        return faulty

    def plan(self, method: str, *faults: Fault | None) -> None:
        """What becomes of the next requests of *method*."""
        self.faults.setdefault(method, deque()).extend(faults)

    def __getattr__(self, method: str) -> Call:
        if method.startswith("_"):
            # The SDK's private doors lead past us; without them it takes the public ones.
            raise AttributeError(method)
        real = getattr(self.real, method)

        async def call(**arguments: Any) -> Any:
            self.calls[method] += 1
            self.arguments.append((method, arguments))
            planned = self.faults.get(method)
            fault = planned.popleft() if planned else self.always.get(method)
            return await (real(**arguments) if fault is None else fault(self._seen(method, real), arguments))

        return self._seen(method, call)

    def _seen(self, method: str, call: Call) -> Call:
        if method != "create_multipart_upload":
            return call

        async def seen(**arguments: Any) -> Any:
            reply = await call(**arguments)
            if (arguments["Key"], reply["UploadId"]) not in self.uploads:
                self.uploads.append((arguments["Key"], reply["UploadId"]))
            return reply

        return seen

    def still_open(self, observer: Any, bucket: str) -> list[str]:
        """Ids of uploads the store still knows: asked for each id, and listed by exact key."""
        left = []
        for key, upload_id in self.uploads:
            try:
                observer.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchUpload":
                    raise
            else:
                left.append(upload_id)
        for key in {key for key, _ in self.uploads}:
            listed = observer.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
            left += [found["UploadId"] for found in listed if found["Key"] == key]
        return sorted(set(left))
