"""Where a proxy's requests go: a server at an address, or a store in this process."""

from __future__ import annotations

import asyncio
from http.client import responses
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from greenlang_async_storage.testing._faults._http1 import (
    BODILESS,
    HEAD_LIMIT,
    Message,
    read_body,
    read_head,
)
from greenlang_async_storage.testing._memory._chunked import decoded

if TYPE_CHECKING:
    from greenlang_async_storage.testing._memory._s3 import MemoryS3


class Upstream(Protocol):
    """Answers one request."""

    async def exchange(self, head: Message, body: bytes) -> tuple[Message, bytes]:
        """The head and the whole body of the reply."""
        ...


class Address:
    """A server; each request goes over a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"a fault proxy stands before http://host:port, not {url!r}")
        self._place = parts.hostname, parts.port

    async def exchange(self, head: Message, body: bytes) -> tuple[Message, bytes]:
        """The reply, read whole."""
        reader, writer = await asyncio.open_connection(*self._place, limit=HEAD_LIMIT)
        try:
            sent = head.without("expect", "connection")
            if "transfer-encoding" in sent.headers():
                sent = sent.without("transfer-encoding", "content-length")
                sent.lines.append((b"Content-Length", str(len(body)).encode()))
            sent.lines.append((b"Connection", b"close"))
            writer.write(sent.encode() + body)
            await writer.drain()
            reply = await read_head(reader)
            while reply is not None and reply.first.split(b" ")[1].startswith(b"1"):
                reply = await read_head(reader)
            if reply is None:
                raise ConnectionResetError("the store closed the connection without a reply")
            status = int(reply.first.split(b" ")[1])
            bodiless = head.first.startswith(b"HEAD ") or status in BODILESS
            data = b"" if bodiless else await read_body(reader, reply.headers(), until_end=True)
        finally:
            writer.close()
        reply = reply.without("connection")
        if not bodiless:
            reply = reply.without("transfer-encoding", "content-length")
            reply.lines.append((b"Content-Length", str(len(data)).encode()))
        return reply, data


class InProcess:
    """A `MemoryS3`."""

    def __init__(self, store: MemoryS3) -> None:
        self._store = store

    async def exchange(self, head: Message, body: bytes) -> tuple[Message, bytes]:
        """The store's reply."""
        method, target, _ = head.first.decode("latin-1").split(" ")
        body, headers = decoded(body, head.headers())
        reply = self._store.handle(method, target, headers, body)
        lines = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        first = f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}".encode()
        return Message(first, lines), reply.body
