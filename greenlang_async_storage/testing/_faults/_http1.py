"""As much HTTP/1.1 as a proxy between an S3 client and a store needs (RFC 9112)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

HEAD_LIMIT: Final = 256 * 1024
"""Bytes a head may have; also the largest chunk header."""
BODILESS: Final = frozenset({204, 304})


@dataclass(slots=True)
class Message:
    """A head: its first line, and the header lines in order, names as they came."""

    first: bytes
    lines: list[tuple[bytes, bytes]]

    @classmethod
    def parse(cls, head: bytes) -> Message:
        """The head that ends with an empty line."""
        first, *rest = head[:-4].split(b"\r\n")
        pairs = (line.partition(b":") for line in rest)
        return cls(first, [(name, value.strip()) for name, _, value in pairs])

    def headers(self) -> dict[str, str]:
        """Values by lower-case name, the last of several winning."""
        return {
            name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in self.lines
        }

    def without(self, *names: str) -> Message:
        """The same without some headers."""
        dropped = {name.encode() for name in names}
        return Message(self.first, [line for line in self.lines if line[0].lower() not in dropped])

    def encode(self) -> bytes:
        """As it goes over the wire."""
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in self.lines)
        return self.first + b"\r\n" + lines + b"\r\n"


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """The next head; `None` when the connection ended before one began."""
    try:
        return Message.parse(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as ended:
        if ended.partial:
            raise
        return None


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str], *, until_end: bool) -> bytes:
    """A whole body: chunked, of the announced length, or all that comes where *until_end* says so."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    length = headers.get("content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    return await reader.read() if until_end else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        data += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(data)
