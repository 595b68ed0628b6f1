"""The sending half of a connection: bytes go out as fast as the socket takes them, and no faster."""

from __future__ import annotations

import asyncio
from typing import Final

NEVER: Final = float("inf")
JOINED: Final = 32_768
"""A body up to this many bytes leaves in one write with its head."""
PIECE: Final = 262_144
"""Bytes of a large body written at a time: asyncio of CPython 3.11 copies what the kernel does not take."""
CONTINUE_WAIT: Final = 1.0
"""Seconds to wait for `100 Continue` before the body is sent anyway, as botocore does (RFC 9110, 10.1.1)."""


class SendingHalf:
    """
    What goes out on a connection.

    A body held in memory is sent from the event loop's own callbacks: no task is woken between its pieces,
    and at most `PIECE` bytes of it are copied at a time.
    """

    __slots__ = (
        "_drained",
        "_expecting",
        "_loop",
        "_out",
        "_sending",
        "_stopped",
        "_streamed",
        "_transport",
        "_write_paused",
        "closed",
        "deadline",
        "read_timeout",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, read_timeout: float) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._out: memoryview | None = None
        self._sending = False
        self._streamed = False
        self._stopped = False
        self._expecting = False
        self._write_paused = False
        self._drained: asyncio.Future[None] | None = None
        self.closed = False
        self.deadline = NEVER
        self.read_timeout = read_timeout

    def _patience(self, *, expect: bool) -> float:
        """Seconds until a request that was just begun is looked at again."""
        return min(self.read_timeout, CONTINUE_WAIT) if expect else self.read_timeout

    def _send(self, head: bytes, body: memoryview | None, *, expect: bool, streamed: bool) -> None:
        transport = self._transport
        assert transport is not None  # noqa: S101 - requests start after connection_made
        if not body and not streamed:
            transport.write(head)
            return
        self._streamed = streamed
        if expect:
            self._sending = self._expecting = True
            self._out = body
            transport.write(head)
        elif body is not None and len(body) <= JOINED:
            transport.write(b"".join((head, body)))
        else:
            self._sending = True
            self._out = body
            transport.write(head)
            self._pump()

    async def may_send(self) -> bool:
        """Whether the next piece of a streamed body is wanted: not when the reply, or the end, came first."""
        while (self._expecting or self._write_paused or self._out is not None) and not self._stopped:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        return not self._stopped

    def send_piece(self, piece: bytes | memoryview, *, last: bool) -> None:
        """Send the next piece of a streamed body; it was sent whole when its *last* piece is."""
        self._streamed = not last
        self._out = memoryview(piece)
        self._pump()

    def moved(self) -> None:
        """Bytes went out or came in: the read timeout starts again, where it is running."""
        if self.deadline != NEVER and not self._expecting:
            self.deadline = self._loop.time() + self.read_timeout

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """What was written has gone out."""
        self._write_paused = False
        self.moved()
        if not self._expecting:
            self._pump()
        self._wake_sender()

    def _pump(self) -> None:
        out = self._out
        transport = self._transport
        if out is None or transport is None:
            return
        while not self._write_paused and not self.closed:
            if len(out) > PIECE:
                self._out = rest = out[PIECE:]
                transport.write(out[:PIECE])
                out = rest
                continue
            self._out = None
            self._sending = self._streamed
            transport.write(out)
            return

    def _go_ahead(self) -> None:
        """`100 Continue` came, or was waited for long enough."""
        if self._expecting:
            self._expecting = False
            self.moved()
            self._pump()
            self._wake_sender()

    def _stop_sending(self) -> None:
        """The rest of the body is not wanted."""
        self._stopped = True
        self._expecting = False
        self._out = None
        self._wake_sender()

    def _wake_sender(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
