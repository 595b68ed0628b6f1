"""An object as an HTTP response: streamed, resumable, revalidated, and verified before its last byte."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from greenlang_async_storage import (
    Bucket,
    ByteRange,
    Download,
    ObjectInfo,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
)

from ._conditions import Span, evaluate, http_date, is_conditional, parse_range, range_applies
from ._names import content_disposition, is_active
from ._problems import problem_response

SEND_TIMEOUT: Final = 60.0
_ROUNDS: Final = 2
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
_OCTETS: Final = "application/octet-stream"


def object_response(
    bucket: Bucket,
    key: str,
    request: Request,
    *,
    filename: str | None = None,
    inline: bool = False,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    send_timeout: float = SEND_TIMEOUT,
) -> ObjectResponse:
    """
    The object as the answer to *request*; a handler returns it.

    Streams at the client's pace with one chunk in memory. `Range` gives 206 or 416, `If-None-Match` and
    `If-Modified-Since` 304, `If-Match` and `If-Unmodified-Since` 412, HEAD the headers alone. Always with
    ETag, Last-Modified, Accept-Ranges and nosniff. *filename*, any Unicode, is what a browser saves it as;
    else the stored name, else the key's last segment. *inline* lets browsers show it, except types they
    would run (HTML, SVG, XML): those are always saved. *headers* win over what is stored with the object.

    It is opened when the response is sent, holds one pool slot from then on, and gives it back when the
    last byte was read, the client goes away, or takes no bytes for *send_timeout* seconds. A failure before
    the first byte is raised for the application's handlers, or answered as problem JSON where it has none; a
    later one, a wrong checksum included, breaks the connection before the last byte. Conditions and ranges
    that need the size first cost a HEAD. Source: RFC 9110, sections 13 and 14; RFC 6266.
    """
    return ObjectResponse(
        bucket,
        key,
        request,
        filename=filename,
        inline=inline,
        version_id=version_id,
        headers=headers,
        send_timeout=send_timeout,
    )


class ObjectResponse(Response):
    """What `object_response` gives: opens the object when it is sent; `await` gives the same, for taste."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        request: Request,
        *,
        filename: str | None,
        inline: bool,
        version_id: str | None,
        headers: Mapping[str, str] | None,
        send_timeout: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._bucket, self._key, self._version = bucket, key, version_id
        self._filename, self._inline = filename, inline
        self._request = request.headers
        self._method = request.method
        self._send_timeout = send_timeout
        self._started = False

    def __await__(self) -> Generator[None, None, ObjectResponse]:
        yield from ()
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
            try:
                await self._answer(partial(self._sent, send))
            except Exception as exc:  # noqa: BLE001  # raised below: here it would become a group
                failure = exc
            group.cancel_scope.cancel()
        if failure is not None:
            await self._fail(failure, scope, receive, send)
        elif self.background is not None:
            await self.background()

    async def _fail(self, failure: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what can still be answered; what is raised after the first byte breaks the connection."""
        if self._started or not isinstance(failure, S3Error) or _has_handler(scope, failure):
            try:
                raise failure
            finally:
                del failure
        await problem_response(failure)(scope, receive, send)

    async def _sent(self, send: Send, message: Message) -> None:
        # Data that is always there already leaves a cancelled task no other point to end at.
        await checkpoint_if_cancelled()
        self._started = True
        with anyio.fail_after(self._send_timeout):
            await send(message)

    async def _answer(self, send: Send) -> None:
        conditional = self._method in {"GET", "HEAD"} and is_conditional(self._request)
        span = parse_range(self._request.get("range")) if self._method == "GET" else None
        sized = span is not None and (span.start is None or "if-range" in self._request)
        if not conditional and not sized and self._method != "HEAD":
            await self._stream(send, span)
            return
        for rounds_left in reversed(range(_ROUNDS)):
            info = await self._bucket.head(self._key, version_id=self._version)
            if conditional and not await self._holds(send, info):
                return
            if self._method == "HEAD":
                await self._start(send, info, None)
                await send({"type": "http.response.body", "body": b""})
                return
            now = datetime.now(UTC)
            if span and not range_applies(self._request.get("if-range"), info.etag, info.last_modified, now):
                span = None
            try:
                await self._stream(send, span, info)
            except (S3PreconditionFailedError, S3NotFoundError) as exc:
                if self._started or not rounds_left:
                    raise S3ObjectChangedError(
                        "the object was replaced between two requests",
                        bucket=self._bucket.name,
                        key=self._key,
                    ) from exc
            else:
                return

    async def _holds(self, send: Send, info: ObjectInfo) -> bool:
        """Whether the body is to be sent under the request's conditions; the 304 is sent here."""
        verdict = evaluate(self._request, info.etag, info.last_modified)
        if verdict == "failed":
            raise S3PreconditionFailedError(
                "If-Match or If-Unmodified-Since does not hold",
                operation="HeadObject",
                bucket=self._bucket.name,
                key=self._key,
            )
        if verdict == "send":
            return True
        self.status_code = 304
        self._describe(info)
        await send({"type": "http.response.start", "status": 304, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})
        return False

    async def _stream(self, send: Send, span: Span | None, known: ObjectInfo | None = None) -> None:
        wanted: ByteRange | None = None
        if span is not None and known is not None:
            wanted = span.within(known.size)
            if wanted is None:
                await self._unsatisfiable(send, known.size)
                return
        elif span is not None and span.start is not None:
            wanted = span.start, span.stop
        try:
            async with self._bucket.open_download(
                self._key,
                range=wanted,
                if_match=known.etag if known is not None else None,
                version_id=self._version,
            ) as body:
                found = span.within(body.info.size) if span is not None else None
                if span is None or found is not None:
                    await self._send_body(send, body, found)
                    return
                size = body.info.size
        except S3InvalidRequestError as exc:
            if exc.status != 416 or self._started:
                raise
            size = (await self._bucket.head(self._key, version_id=self._version)).size
        await self._unsatisfiable(send, size)

    async def _send_body(self, send: Send, body: Download, span: tuple[int, int] | None) -> None:
        """Everything, one chunk behind: the last goes out only once the whole is known to be right."""
        held: bytes | None = None
        async for chunk in body:
            if held is not None:
                await self._send_chunk(send, body.info, span, held, more=True)
            held = chunk
        await self._send_chunk(send, body.info, span, held or b"", more=False)

    async def _send_chunk(
        self, send: Send, info: ObjectInfo, span: tuple[int, int] | None, data: bytes, *, more: bool
    ) -> None:
        if not self._started:
            await self._start(send, info, span)
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _start(self, send: Send, info: ObjectInfo, span: tuple[int, int] | None) -> None:
        self._describe(info)
        headers = self.headers
        headers.setdefault("content-type", _plain(info.content_type) or _OCTETS)
        headers.setdefault("content-disposition", self._disposition(info))
        encoding = (_plain(info.content_encoding) or "").replace("aws-chunked", "").strip(" ,")
        if encoding:
            headers.setdefault("content-encoding", encoding)
        if span is None:
            headers["content-length"] = str(info.size)
        else:
            self.status_code = 206
            headers["content-length"] = str(span[1] - span[0])
            headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{info.size}"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    def _describe(self, info: ObjectInfo) -> None:
        """The headers a 304 has too."""
        headers = self.headers
        headers["accept-ranges"] = "bytes"
        headers["x-content-type-options"] = "nosniff"
        if info.etag:
            headers["etag"] = f'"{info.etag}"'
        if info.last_modified is not None:
            headers["last-modified"] = http_date(info.last_modified)
        if stored := _plain(info.cache_control):
            headers.setdefault("cache-control", stored)

    def _disposition(self, info: ObjectInfo) -> str:
        inline = self._inline and not is_active(info.content_type or _OCTETS)
        stored = _plain(info.content_disposition) or ""
        if self._filename is None and not inline and stored.lower().startswith("attachment"):
            return stored
        name = self._filename if self._filename is not None else self._key.rstrip("/").rpartition("/")[2]
        return content_disposition(name, inline=inline)

    async def _unsatisfiable(self, send: Send, size: int) -> None:
        error = S3InvalidRequestError(
            f"the range starts behind the end, at {size} bytes",
            operation="GetObject",
            bucket=self._bucket.name,
            key=self._key,
            status=416,
        )
        answer = problem_response(
            error, headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        )
        await send({"type": "http.response.start", "status": 416, "headers": answer.raw_headers})
        await send({"type": "http.response.body", "body": answer.body})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    """Servers such as uvicorn drop what is sent to a client that has gone: only `receive` tells."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _has_handler(scope: Scope, error: S3Error) -> bool:
    """Whether the application answers this class of errors itself."""
    handlers, _ = scope.get("starlette.exception_handlers", ({}, {}))
    return any(cls in handlers for cls in type(error).__mro__ if issubclass(cls, S3Error))


def _plain(value: str | None) -> str | None:
    """A stored header when HTTP can carry it as it is."""
    return value if value and _PRINTABLE.fullmatch(value) else None
