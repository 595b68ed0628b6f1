"""One connection: a request goes out, a response comes in, nothing else overlaps."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol, cast

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import _at_hand
from greenlang_async_storage.fastpath.transport._body import UNKNOWN, Body
from greenlang_async_storage.fastpath.transport._errors import (
    BadResponseError,
    ConnectionLostError,
    StalledError,
    WireError,
)
from greenlang_async_storage.fastpath.transport._head import (
    BY_LENGTH,
    CHUNKED,
    CONTINUE,
    HEAD_LIMIT,
    NO_BODY,
    PlainHead,
    ResponseHead,
    parse_head,
)
from greenlang_async_storage.fastpath.transport._response import Response, StreamedResponse, WholeResponse
from greenlang_async_storage.fastpath.transport._sending import NEVER, SendingHalf
from greenlang_async_storage.fastpath.transport._tls import ended_on_purpose

_BLANK_LINE: Final = b"\r\n\r\n"
RECEIVE: Final = 1024 * 1024
"""Bytes received in one callback at most: more of them would hold up the event loop."""


class Owner(Protocol):
    """What a connection needs of its pool."""

    scratch: bytearray
    read_timeout: float

    def release(self, connection: Connection) -> None:
        """The exchange is over and the connection can serve another."""
        ...

    def discard(self, connection: Connection) -> None:
        """The connection is closed; its slot is free."""
        ...

    def arm(self, deadline: float) -> None:
        """Have `Connection.stall` called at *deadline*, unless it moved on by then."""
        ...

    def gone(self, connection: Connection) -> None:
        """The socket is closed."""
        ...


class Connection(SendingHalf, asyncio.BufferedProtocol):
    """
    An HTTP/1.1 connection of a pool.

    `begin` starts an exchange and returns the future of its response. The connection goes back to the pool by
    itself when the last byte of the response has arrived and it may be used again; otherwise it closes.
    """

    __slots__ = (
        "_answers_head", "_body", "_clean", "_filled", "_head", "_head_bytes", "_owner", "_partial",
        "_path", "_read_paused", "_reply", "_scratch", "_target", "_view", "got_bytes", "has_slot",
        "idle_since", "origin", "requests", "sent_partly", "socket",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, origin: Origin, loop: asyncio.AbstractEventLoop, sock: socket.socket
    ) -> None:
        super().__init__(loop, owner.read_timeout)
        self._owner = owner
        # One buffer serves all connections: event loops fill it and hand it over within one callback.
        self._scratch = owner.scratch
        self._view = memoryview(owner.scratch)
        self._reply: asyncio.Future[Response] | None = None
        self._path = ""
        self._answers_head = False
        self._partial: bytearray | None = None
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._body: Body | None = None
        self._target: memoryview | None = None
        self._filled = 0
        self._read_paused = False
        self._clean = True
        self.origin = origin
        self.socket = sock
        self.got_bytes = False
        self.has_slot = False
        self.idle_since = 0.0
        self.requests = 0
        self.sent_partly = False

    # An exchange, from the caller's side.

    def begin(
        self,
        head: bytes,
        body: memoryview | None,
        path: str,
        *,
        answers_head: bool,
        expect: bool = False,
        streamed: bool = False,
    ) -> asyncio.Future[Response]:
        """
        Send *head* and *body*; the future of the response.

        *path* is for error messages. *expect*: the body waits for `100 Continue`. *streamed*: the body comes
        in pieces, by `send_piece`.
        """
        loop = self._loop
        self._reply = reply = loop.create_future()
        self._path = path
        self._answers_head = answers_head
        self._head_bytes = 0
        self._clean = True
        self._sending = self._stopped = self.sent_partly = False
        self.got_bytes = False
        self.requests += 1
        self.deadline = deadline = loop.time() + self._patience(expect=expect)
        self._owner.arm(deadline)
        self._send(head, body, expect=expect, streamed=streamed)
        return reply

    def run_deadline(self, *, running: bool) -> None:
        """Stop the read timeout while nobody waits for this server, or start it again."""
        if running and not self.closed:
            self.deadline = self._loop.time() + self.read_timeout
            self._owner.arm(self.deadline)
        else:
            self.deadline = NEVER

    def hold_deadline(self, *, held: bool) -> None:
        """Stop the read timeout while the producer of a streamed body is waited for, then start it again."""
        if self._reply is not None:
            self.run_deadline(running=not held)

    def cancel(self, reply: asyncio.Future[Response]) -> None:
        """Close the connection when it still serves *reply*, or a response nobody received."""
        if self._reply is reply:
            self._reply = None
            self.close()
        elif reply.done() and not reply.cancelled() and reply.exception() is None:
            reply.result().close()

    def close(self) -> None:
        """Close at once; the slot is free when this returns."""
        if self.closed:
            return
        self.closed = True
        self.deadline = NEVER
        self.sent_partly = self._sending
        self._stop_sending()
        self._target = self._partial = self._head = None
        if self._transport is not None:
            self._transport.abort()
        self._owner.discard(self)

    def fail(self, error: WireError) -> None:
        """Close, and tell whoever waits on this connection about *error*."""
        reply, body = self._reply, self._body
        self._reply = self._body = None
        self.close()
        if reply is not None and not reply.done():
            reply.set_exception(error)
        if body is not None:
            body.fail(error)

    def has_news(self) -> bool:
        """Whether bytes, or the end of the stream, wait in the socket; an idle connection is then lost."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def stall(self) -> None:
        """The deadline passed: of the read timeout, or of the wait for `100 Continue`."""
        if self._expecting and self._patience(expect=True) < self.read_timeout:
            self._go_ahead()
            self._owner.arm(self.deadline)
            return
        doing = "took no more of the request" if self._sending and not self._expecting else "sent nothing"
        self.fail(StalledError(f"the server {doing} for {self.read_timeout:g} s"))

    # What a body asks.

    def receive_into(self, target: memoryview | None) -> None:
        """As `BodySource.receive_into`."""
        self._target = target
        self._filled = 0

    def set_reading(self, *, reading: bool) -> None:
        """As `BodySource.set_reading`."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._read_paused is not reading:
            return
        self._read_paused = not reading
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def give_up(self) -> None:
        """As `BodySource.give_up`."""
        self._body = None
        self.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection, TLS included, is ready."""
        self._transport = stream = cast("asyncio.Transport", transport)
        if self.origin.scheme == "http":
            # resume_writing then means that all of it has gone out. (TLS transports count otherwise.)
            stream.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if not self.closed:
            error = ConnectionLostError(str(exc) if exc else "the connection was closed")
            error.__cause__ = exc
            self.fail(error)
        self._transport = None
        self._owner.gone(self)

    def eof_received(self) -> None:
        """The server will send no more."""
        body = self._body
        if body is not None and body.raw and body.left == UNKNOWN and ended_on_purpose(self._transport):
            self._finish()
        elif not self.closed:
            self.fail(ConnectionLostError("the server closed the connection"))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the event loop's signature
        """Where the next bytes go: the reader's own buffer when one waits, else the scratch buffer."""
        target = self._target
        return self._view if target is None else target[self._filled : self._filled + RECEIVE]

    def buffer_updated(self, nbytes: int) -> None:
        """*nbytes* more arrived where `get_buffer` said."""
        body = self._body
        if body is None:
            if self._reply is not None:
                self._read_head(self._reply, nbytes)
            elif not self.closed:
                # Nothing was asked: the next response could not be told from this.
                self.close()
        elif self._target is not None:
            self.moved()
            self._filled += nbytes
            if not body.filled(nbytes):
                self._target = None
                if body.left == 0:
                    self._finish()
        else:
            self.moved()
            self._read_body(body, self._view[:nbytes])

    # Receiving.

    def _read_head(self, reply: asyncio.Future[Response], count: int) -> None:
        self.got_bytes = True
        partial = self._partial
        start = searched = 0
        if partial is None:
            buffer, view = self._scratch, self._view
            if self._expecting and count == len(CONTINUE) and buffer.startswith(CONTINUE):
                # What nearly every body that asks for it hears, and nothing else in this callback.
                self._head_bytes += count
                self._go_ahead()
                return
        else:
            searched = max(0, len(partial) - 3)
            partial += self._view[:count]
            buffer, view, count = partial, memoryview(partial), len(partial)
            self._partial = None
        try:
            while True:
                end = buffer.find(_BLANK_LINE, max(start, searched), count) + 4
                if self._head_bytes + (end if end >= 4 else count) - start > HEAD_LIMIT:
                    raise BadResponseError(f"the response head is longer than {HEAD_LIMIT} bytes")
                if end < 4:
                    self._partial = bytearray(view[start:count]) if partial is None or start else partial
                    self.moved()
                    return
                head = parse_head(bytes(view[start:end]), answers_head=self._answers_head)
                if head.status >= 200:
                    break
                self._interim(head.status)
                self._head_bytes += end - start
                start = end
            self._take_reply(reply, head, view[end:count])
        except WireError as error:
            self.fail(error)

    def _interim(self, status: int) -> None:
        if status == 101:
            raise BadResponseError("the server switched protocols without being asked")
        self.moved()
        if status == 100:
            self._go_ahead()

    def _take_reply(
        self, reply: asyncio.Future[Response], head: PlainHead | ResponseHead, rest: memoryview
    ) -> None:
        self._clean = head.keep_alive
        if self._sending and (head.status >= 300 or self._expecting):
            # The server has decided without the rest of the body; _finish sees that it was not sent.
            self._stop_sending()
        data = self._whole_body(head, rest)
        self._reply = None
        if data is not None:
            self._finish()
            if not reply.done():
                reply.set_result(WholeResponse(head, data))
            return
        chunks = head if isinstance(head, ResponseHead) and head.framing == CHUNKED else None
        expected = head.length if head.framing == BY_LENGTH else None
        self._body = body = Body(self, self.origin, self._path, expected, raw=chunks is None)
        self.deadline = NEVER
        if reply.done():
            self.close()
            return
        reply.set_result(StreamedResponse(head, body, self._loop))
        if chunks is not None:
            self._head = chunks
            self._take_pieces(body, chunks)
        elif rest:
            body.feed(bytes(rest))

    def _whole_body(self, head: PlainHead | ResponseHead, rest: memoryview) -> bytes | None:
        """The body, when all of it has arrived already."""
        size = len(rest)
        if head.framing == NO_BODY or (head.framing == BY_LENGTH and size >= head.length):
            length = head.length
            if size > length:
                self._clean = False
            return bytes(rest[:length]) if length else b""
        if isinstance(head, ResponseHead) and head.framing == CHUNKED:
            if size:
                head.feed(rest)
            if not head.finished:
                return None
            self._clean = self._clean and not head.surplus
            return b"".join(head.pieces)
        if head.framing == BY_LENGTH and self.origin.scheme == "http":
            return _at_hand.take(self.socket, rest, head.length, RECEIVE)
        return None

    def _read_body(self, body: Body, data: memoryview) -> None:
        head = self._head
        if head is not None:
            head.feed(data)
            self._take_pieces(body, head)
            return
        if len(data) > body.left:
            self._clean = False
            data = data[: int(body.left)]
        body.feed(bytes(data))
        if body.left == 0:
            self._finish()

    def _take_pieces(self, body: Body, head: ResponseHead) -> None:
        for piece in head.pieces:
            body.feed(piece)
        head.pieces.clear()
        if head.error is not None:
            self.fail(head.error)
        elif head.finished:
            self._clean = self._clean and not head.surplus
            self._finish()

    def _finish(self) -> None:
        """The last byte of the response arrived."""
        self.deadline = NEVER
        body = self._body
        if body is not None:
            self._body = self._head = self._target = None
            body.finish()
            self.set_reading(reading=True)
        if self._clean and not self._sending and not self._write_paused:
            self._owner.release(self)
        else:
            self.close()
