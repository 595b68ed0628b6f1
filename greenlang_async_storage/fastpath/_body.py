"""
Bodies: what goes out with its length and hash, and the streaming body of GetObject with the surface users
know.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._payload import Payload
from greenlang_async_storage.fastpath._wire import Buffer, RequestBody

THREAD_FROM = 1 << 20
"""Bodies of at least this size are hashed in a thread: 0.7 ms per MiB would stall the event loop."""
_PIECE = 1 << 20
_FILES = (io.BufferedReader, io.BufferedRandom, io.FileIO)


@dataclass(slots=True, repr=False)
class Outgoing:
    """The body of a request. Its repr shows none of it."""

    content: RequestBody
    length: int
    expects: bool
    """Whether botocore would have it as a file object, before which it asks for `100 Continue`."""
    sha256_hex: str | None = None
    source: Any = None
    """The caller's file object, for the case that botocore takes the call over."""

    @property
    def is_file(self) -> bool:
        return not isinstance(self.content, bytes | bytearray | memoryview | None)

    def rewind(self) -> None:
        """Put a file object back to where the caller had it."""
        if self.source is not None:
            self.source.seek(0)


def outgoing(body: Any) -> Outgoing:
    """The body of PutObject and UploadPart as given. PassOn for kinds of objects that only botocore takes."""
    kind = type(body)
    if kind is bytes:
        return Outgoing(body, len(body), expects=True)
    if kind is Payload:
        data = body.data
        return Outgoing(data, len(body), expects=type(data) is not bytearray, sha256_hex=body.sha256_hex)
    if kind is bytearray:
        return Outgoing(body, len(body), expects=False)
    if kind is str:
        try:
            data = body.encode()
        except UnicodeEncodeError as error:
            raise PassOn(Reason.BODY) from error
        return Outgoing(data, len(data), expects=True)
    # Which bytes of a file object that stands elsewhere are sent depends on botocore's signer: the CRT's
    # starts over.
    if kind is io.BytesIO and not body.closed and body.tell() == 0:
        data = body.getvalue()
        body.seek(0, io.SEEK_END)
        return Outgoing(data, len(data), expects=True, source=body)
    if kind in _FILES and not body.closed and body.readable() and body.seekable() and body.tell() == 0:
        length = body.seek(0, io.SEEK_END)
        body.seek(0)
        return Outgoing(body, length, expects=True, source=body)
    raise PassOn(Reason.BODY)


async def payload_hash(body: Outgoing) -> str:
    """The SHA-256 of the body in hexadecimal; in a thread for files and from 1 MiB up."""
    if body.sha256_hex is not None:
        return body.sha256_hex
    content: Any = body.content
    if body.is_file:
        return await asyncio.to_thread(_hash_file, content)
    if body.length >= THREAD_FROM:
        return await asyncio.to_thread(_hash, content)
    return _hash(content)


def _hash(content: Buffer) -> str:
    return sha256(content).hexdigest()


def _hash_file(file: Any) -> str:
    digest = sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()
