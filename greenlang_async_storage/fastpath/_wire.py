"""The seam between compiled calls and the HTTP/1.1 transport: what one side sends and the other answers."""

from __future__ import annotations

from typing import IO, NamedTuple, Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
RequestBody: TypeAlias = Buffer | IO[bytes] | None
"""What goes out after the head: a buffer, or a file object read in pieces in a thread (never held whole)."""


class Origin(NamedTuple):
    """Scheme, host and port of a server: the key of a connection pool."""

    scheme: str
    host: str
    port: int


def decoded(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """As `WireResponse.fields`."""
    return {name.decode(): value.decode() for name, value in headers}


class WireResponse(Protocol):
    """A response whose head has arrived; it owns one connection until its body was read or it was closed."""

    status: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As received, in order; names lower-cased."""
        ...

    def fields(self) -> dict[str, str]:
        """The headers as text, the last of several winning. UnicodeDecodeError when one is not UTF-8."""
        ...

    @property
    def received(self) -> int:
        """Bytes of the body that have arrived so far, also during a read: how a stall is told from a drip."""
        ...

    async def read(self, size: int = -1) -> bytes:
        """
        The next bytes of the body: all of the rest when *size* is negative, else at most *size*; `b""` at the
        end.
        """
        ...

    async def readinto(self, buffer: memoryview) -> int:
        """Bytes written to the start of *buffer*: fills it unless the body ends first; 0 at the end."""
        ...

    async def readany(self) -> bytes:
        """Whatever has arrived, waiting for at least one byte; `b""` at the end."""
        ...

    def close(self) -> None:
        """Give the slot back at once; the connection is reused only when the body was read to its end."""
        ...
