"""A request's body straight into the store, limited while it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Unpack

import anyio
from starlette.requests import ClientDisconnect, Request

from greenlang_async_storage import Bucket, UploadResult, WriteOptions

from ._form import OVERHEAD, FormFile
from ._names import is_allowed, media_type
from ._problems import UploadRefusedError

IDLE_TIMEOUT: Final = 60.0
MIN_BYTES_PER_SECOND: Final = 1024
"""A client that stays below this while we wait for it is refused, however long its upload may be."""
CONCURRENCY: Final = 2
_FORM: Final = "multipart/form-data"
_OCTETS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ReceivedUpload(UploadResult):
    """What was stored of a request, and what its sender called it."""

    content_type: str = _OCTETS
    """As stated by the sender, without parameters; the content itself was not looked at."""
    filename: str | None = None
    """A form's name for its file, as sent: not safe as a path or key."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The form's other fields, at most 64 KiB in all."""


async def receive_upload(
    request: Request,
    bucket: Bucket,
    key: str,
    *,
    max_size: int,
    content_types: Collection[str] | None,
    part_size: int | None = None,
    concurrency: int = CONCURRENCY,
    idle_timeout: float = IDLE_TIMEOUT,
    **options: Unpack[WriteOptions],
) -> ReceivedUpload:
    """
    The request's body stored at *key* as it arrives: the raw body, or the one file of a multipart form.

    *max_size* bytes is checked against Content-Length first, then while reading. *content_types* such as
    `{"application/pdf", "image/*"}` are compared with what the sender states; `None` takes every type. Holds
    at most `(concurrency + 1) * part_size` bytes (24 MiB unless configured otherwise); nothing goes to disk.
    A refusal, a failure, a client that goes away, sends nothing for *idle_timeout* seconds or less than
    1 KiB/s over as many: the multipart upload is aborted and no object appears. *options* are those of
    `upload_stream`. The handler must not declare form or body parameters: FastAPI would have read the body
    already.

    Raises:
        UploadRefusedError: 413 too large, 415 type, 408 idle or slow, 400 a broken form or a client that
            went away, 422 no file in the form; its message is made for the client.
        S3Error: as `upload_stream`.
        ValueError: *max_size* below 0.
    """
    if max_size < 0:
        raise ValueError(f"max_size is {max_size}: give the number of bytes an upload may have, 0 or more")
    stated = request.headers.get("content-type", "")
    is_form = media_type(stated) == _FORM
    _check_encoding(request)
    _check_length(request, max_size, OVERHEAD if is_form else 0)
    allowed = None if content_types is None else frozenset(item.lower() for item in content_types)
    whole = max_size + (OVERHEAD if is_form else 0)
    async with aclosing(_pieces(request, whole, max_size, idle_timeout)) as pieces:
        form = FormFile(pieces, stated) if is_form else None
        if form is not None:
            await form.open()
        kind = form.content_type if form is not None else media_type(stated) or _OCTETS
        _check_type(kind, allowed)
        options.setdefault("content_type", kind)
        body = pieces if form is None else _limited(form, max_size)
        async with aclosing(body):
            result = await bucket.upload_stream(
                key, body, part_size=part_size, concurrency=concurrency, **options
            )
    return ReceivedUpload(
        key=result.key,
        etag=result.etag,
        size=result.size,
        version_id=result.version_id,
        checksum=result.checksum,
        content_type=kind,
        filename=form.filename if form is not None else None,
        fields=form.fields if form is not None else {},
    )


async def _pieces(
    request: Request, limit: int, max_size: int, idle_timeout: float
) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, at most *limit* bytes."""
    received = arrived = 0
    waited = 0.0
    async with aclosing(request.stream()) as stream:
        while True:
            since = anyio.current_time()
            try:
                with anyio.fail_after(idle_timeout):
                    piece = await anext(stream, None)
            except TimeoutError:
                raise UploadRefusedError(
                    408, "idle", f"Nothing arrived for {idle_timeout:g} seconds", remedy="Send it again."
                ) from None
            except ClientDisconnect as exc:
                raise UploadRefusedError(
                    400, "disconnected", "The upload ended before its last byte"
                ) from exc
            if piece is None:
                return
            received += len(piece)
            if received > limit:
                raise _too_large(max_size)
            # Only the time we waited for the client counts, not what the store takes.
            waited, arrived = waited + anyio.current_time() - since, arrived + len(piece)
            if waited >= idle_timeout:
                if arrived < MIN_BYTES_PER_SECOND * waited:
                    raise UploadRefusedError(
                        408,
                        "slow",
                        f"Less than 1 KiB/s arrived for {idle_timeout:g} seconds",
                        remedy="Send it over a faster connection.",
                    )
                waited, arrived = 0.0, 0
            if piece:
                yield piece


async def _limited(form: FormFile, max_size: int) -> AsyncGenerator[bytes, None]:
    """The file's own bytes, which the form around them must not hide behind."""
    received = 0
    async for piece in form:
        received += len(piece)
        if received > max_size:
            raise _too_large(max_size)
        yield piece


def _check_length(request: Request, max_size: int, overhead: int) -> None:
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > max_size + overhead:
        raise _too_large(max_size)


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UploadRefusedError(
            415, "encoded", "A body with Content-Encoding is not taken", remedy="Send the file as it is."
        )


def _check_type(kind: str, allowed: frozenset[str] | None) -> None:
    if not is_allowed(kind, allowed):
        shown = ", ".join(sorted(allowed or ()))
        raise UploadRefusedError(
            415,
            "type-not-allowed",
            f"Files of the type {kind[:100]} are not taken",
            remedy=f"Allowed: {shown}.",
        )


def _too_large(max_size: int) -> UploadRefusedError:
    return UploadRefusedError(
        413,
        "too-large",
        f"The upload is larger than the {max_size:,} bytes that are allowed",
        remedy="Send a smaller file.",
    )
