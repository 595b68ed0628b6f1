"""Two clients that differ in the fast path only, and sessions that record what each would send."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import aiobotocore.session
import botocore.auth
import botocore.loaders
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._wire import Origin, decoded
from greenlang_async_storage.fastpath.transport._message import Message
from greenlang_async_storage.fastpath.transport._raw import RawResponse
from greenlang_async_storage.fastpath.transport._upload import ANY, Upload

VOLATILE = frozenset({"user-agent", "amz-sdk-invocation-id"})


@dataclass
class Sent:
    """One request, told apart from others by nothing that may differ between two equal ones."""

    method: str
    url: str
    headers: set[tuple[str, str]]
    body: bytes


@dataclass
class Reply:
    """A canned response; both sessions serve it."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: BaseException | None = None
    body_error: BaseException | None = None


class CannedWire:
    """A `WireResponse` out of memory."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers]
        self._stream = io.BytesIO(reply.body)
        self._error = reply.body_error
        self.closed = False

    def fields(self) -> dict[str, str]:
        return decoded(self.headers)

    @property
    def at_end(self) -> bool:
        return self._stream.tell() == len(self._stream.getbuffer())

    @property
    def received(self) -> int:
        return self._stream.tell()

    async def read(self, size: int = -1) -> bytes:
        if self._error is not None:
            raise self._error
        return self._stream.read(size)

    async def readany(self) -> bytes:
        if self._error is not None:
            raise self._error
        return self._stream.read(100)

    async def readinto(self, buffer: memoryview) -> int:
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self.closed = True


class RecordingSession:
    """Has aiobotocore's http-session contract and the transport's door; sends nothing."""

    def __init__(self, **_: Any) -> None:
        self.sent: list[Sent] = []
        self.agents: list[str] = []
        self.replies: list[Reply] = []
        self.default = Reply()
        self.wires: list[CannedWire] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def close(self) -> None:
        return None

    def _next(self) -> Reply:
        reply = self.replies.pop(0) if self.replies else self.default
        if reply.error is not None:
            raise reply.error
        return reply

    async def send(self, request: Any) -> AioAWSResponse:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        self._record(request.method, request.url, headers, await _drained(request.body))
        wire = CannedWire(self._next())
        self.wires.append(wire)
        raw = RawResponse(wire, request.url, request.method)
        decoded = {name.decode(): value.decode() for name, value in wire.headers}
        response = AioAWSResponse(request.url, wire.status, decoded, raw)
        if not request.stream_output:
            await response.content
        return response

    async def deliver(self, origin: Origin, request: Message) -> CannedWire:
        first, *lines = request.head.decode().removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        assert (method, target) == (request.method, request.target)
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        names = [name for name, _ in headers]
        assert len(set(names)) == len(names)
        fields = {name.lower(): value for name, value in headers}
        assert fields.pop("accept-encoding") == "identity"
        host = fields["host"]
        url = f"{origin.scheme}://{host}{target}"
        assert urlsplit(url).hostname == origin.host
        assert origin.port == (urlsplit(url).port or {"http": 80, "https": 443}[origin.scheme])
        data = await _uploaded(request.upload, framed="transfer-encoding" in fields)
        if "content-length" in fields:
            assert int(fields["content-length"]) == len(data)
        self._record(method, url, fields, data)
        wire = CannedWire(self._next())
        self.wires.append(wire)
        return wire

    def _record(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        headers.setdefault("host", botocore.auth._host_from_url(url))
        parts = urlsplit(url)
        url = parts._replace(netloc=headers["host"]).geturl()  # the wire knows no default port
        self.agents.append(headers["user-agent"])
        fields = {(name, value) for name, value in headers.items() if name not in VOLATILE}
        self.sent.append(Sent(method, url, fields, body))


async def _drained(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    data = body.read()
    return bytes(await data if asyncio.iscoroutine(data) else data)


async def _uploaded(upload: Upload, *, framed: bool) -> bytes:
    """The body as the layer above gave it: without the chunks of the transfer."""
    if upload.source is None:
        data = b"" if upload.view is None else bytes(upload.view)
        if not framed:
            return data
        pieces = []
        while data:
            size, _, data = data.partition(b"\r\n")
            pieces.append(data[: int(size, 16)])
            data = data[int(size, 16) + 2 :]
        return b"".join(pieces)
    pieces = []
    left = ANY if upload.length is None else upload.length
    while left and (piece := await upload.source.piece(left)):
        pieces.append(bytes(piece))
        left -= len(piece)
    return b"".join(pieces)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass
class Twins:
    """A plain client and one with the fast path, made alike, each with the session that records it."""

    plain: Any
    fast: Any
    plain_session: RecordingSession
    fast_session: RecordingSession

    def expect(self, *replies: Reply) -> None:
        """Both get *replies* in turn; what was recorded before, redirects included, is forgotten."""
        for client in (self.plain, self.fast):
            redirects(client).clear()
        for session in (self.plain_session, self.fast_session):
            session.replies = list(replies)
            session.sent = []
            session.agents = []


def redirects(client: Any) -> dict[str, str]:
    """Where botocore's redirector sends the calls for a bucket."""
    handlers = client.meta.events._emitter._handlers.prefix_search("before-endpoint-resolution.s3")
    found: dict[str, str] = next(
        each.__self__._cache for each in handlers if each.__name__ == "redirect_from_cache"
    )
    return found


DEFAULTS: Mapping[str, Any] = {
    "region_name": "eu-central-1",
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
}


_LOADER = botocore.loaders.create_loader()


def new_session(*, enabled: bool = True) -> aiobotocore.session.AioSession:
    """A session that shares the models on disk, read once, with all others."""
    session = aiobotocore.session.AioSession()
    session.register_component("data_loader", _LOADER)
    if enabled:
        fastpath.enable(session)
    return session


@asynccontextmanager
async def twins(config: Mapping[str, Any] | None = None, **arguments: Any) -> AsyncIterator[Twins]:
    """Both clients, open. The recording session must be in place of the transport (fixture `recorded`)."""
    made: list[Any] = []
    async with AsyncExitStack() as stack:
        for enabled in (False, True):
            session = new_session(enabled=enabled)
            settings = {**DEFAULTS, **arguments}
            client = await stack.enter_async_context(
                session.create_client("s3", config=AioConfig(**(config or {})), **settings)
            )
            if not enabled:
                client._endpoint.http_session = RecordingSession()
            made.append(client)
        plain, fast = made
        yield Twins(plain, fast, plain._endpoint.http_session, fast._endpoint.http_session)


@dataclass
class Outcome:
    """What a call gave: a dictionary with the body read, or an error told by class and response."""

    result: Any = None
    error: tuple[type[BaseException], str, Any] | None = None


async def outcome(client: Any, operation: str, parameters: Mapping[str, Any]) -> Outcome:
    """The outcome of one call, comparable with that of another client."""
    method = next(name for name, each in client.meta.method_to_api_mapping.items() if each == operation)
    try:
        result = await getattr(client, method)(**parameters)
        if "Body" in result:
            result["Body"] = await result["Body"].read()
    except Exception as error:  # noqa: BLE001 - any kind is an outcome
        # Classes made per client are told apart by name only.
        response = getattr(error, "response", None)
        bases = tuple(base.__name__ for base in type(error).__mro__)
        return Outcome(error=(bases, str(error), response))  # type: ignore[arg-type]
    return Outcome(result)
