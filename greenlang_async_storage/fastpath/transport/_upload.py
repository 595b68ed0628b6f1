"""Request bodies that are not one buffer: files, asynchronous readers and iterables, sent piece by piece."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from botocore.httpchecksum import AwsChunkedWrapper

from greenlang_async_storage.fastpath._pieces import Pieces
from greenlang_async_storage.fastpath.transport._connection import Connection
from greenlang_async_storage.fastpath.transport._errors import BodySourceError
from greenlang_async_storage.fastpath.transport._sending import JOINED, PIECE

FILE_PIECE: Final = 1024 * 1024
"""Bytes of a file read at a time: a thread hop costs up to 0.2 ms, a piece is in memory while it is sent."""
READ_WAIT: Final = 5.0
"""Seconds a cancelled request waits for its file read to return, so that no retry reads the file with it."""
ANY: Final = 1 << 62
"""The limit of a piece when the length of the body is not known."""
_END: Final = object()
_LAST: Final = b"0\r\n\r\n"

AnyBody: TypeAlias = Any
"""What botocore passes on as a body: its users may give it nearly anything."""
Piece: TypeAlias = bytes | memoryview


class Source(Protocol):
    """A request body that comes in pieces."""

    async def piece(self, limit: int) -> Piece:
        """The next piece, of at most *limit* bytes where the source can tell; empty at the end."""
        ...

    def rewind(self) -> bool:
        """Go back to where the first piece came from; False when the source cannot."""
        ...


@dataclass(frozen=True, slots=True)
class Upload:
    """A request body, ready to be sent: a buffer, or a source of pieces, or neither."""

    view: memoryview | None = None
    source: Source | None = None
    length: int | None = None
    chunked: bool = False

    def again(self) -> bool:
        """Make ready to be sent a second time; False when that cannot be done."""
        return self.source is None or self.source.rewind()


NOTHING: Final = Upload()


def plan(body: AnyBody, length: int | None, *, chunked: bool) -> Upload:
    """
    How to send *body*: *length* bytes of it, or all of it in chunks (RFC 9112, section 7.1).

    Raises TypeError for what cannot be sent, ValueError when a file comes without a length or a buffer with
    another: the server would take the difference for part of the next request.
    """
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        view = memoryview(body)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        if not chunked:
            if length is not None and len(view) != length:
                raise ValueError(f"the request body has {len(view)} bytes, its Content-Length says {length}")
            return Upload(view=view)
        if len(view) > JOINED:
            return Upload(source=BufferSource(view), chunked=True)
        return Upload(view=memoryview(_framed(view) + _LAST if view else _LAST))
    if length == 0 and not chunked:
        return Upload(view=memoryview(b""))
    if type(body) is io.BytesIO and not chunked and length is not None and length <= JOINED:
        # A copy this small is cheaper than keeping the object's buffer exported.
        return Upload(view=memoryview(body.read(length)))
    source = _source(body)
    if length is None and not chunked:
        raise ValueError(
            "a request body that is not a buffer needs Content-Length or Transfer-Encoding: chunked"
        )
    return Upload(source=source, length=None if chunked else length, chunked=chunked)


def _source(body: AnyBody) -> Source:
    if isinstance(body, Pieces):
        body.seek(0)
        return HeldSource(body)
    if hasattr(body, "read") and not isinstance(body, AwsChunkedWrapper):
        return ReaderSource(body) if inspect.iscoroutinefunction(body.read) else FileSource(body)
    if hasattr(body, "__aiter__") or hasattr(body, "__iter__"):
        return IterableSource(body)
    raise TypeError(
        f"a request body cannot be {type(body).__name__}: give bytes, a file or an iterable of bytes"
    )


async def send(connection: Connection, upload: Upload) -> None:
    """
    Send the pieces of *upload* until its end, or until the server has answered without it.

    Time its source takes does not count towards the read timeout. Raises BodySourceError.
    """
    source = upload.source
    if source is None:
        return
    left = upload.length
    while left != 0 and await connection.may_send():
        limit = ANY if left is None else left
        if type(source) is HeldSource:
            piece: Piece = source.pieces.ready(limit)
        else:
            piece = await _next(connection, source, limit)
        if left is not None:
            if len(piece) > left:
                piece = piece[:left]
            left -= len(piece)
            if not piece:
                raise BodySourceError(
                    f"the request body ended {left} bytes before its Content-Length of {upload.length}: "
                    "was the file cut while it was sent?",
                )
            connection.send_piece(piece, last=left == 0)
        elif piece:
            connection.send_piece(_framed(piece), last=False)
        else:
            connection.send_piece(_LAST, last=True)
            return


async def _next(connection: Connection, source: Source, limit: int) -> Piece:
    connection.hold_deadline(held=True)
    try:
        return await source.piece(limit)
    except Exception as error:
        raise BodySourceError(f"the request body could not be read: {error!r}") from error
    finally:
        connection.hold_deadline(held=False)


def _framed(piece: Piece) -> bytes:
    return b"".join((b"%x\r\n" % len(piece), piece, b"\r\n"))


class BufferSource:
    """A large buffer that goes out in chunks: only the chunk on its way is copied."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._sent = 0

    async def piece(self, limit: int) -> Piece:
        """As `Source.piece`."""
        start = self._sent
        self._sent = min(len(self._view), start + min(limit, PIECE))
        return self._view[start : self._sent]

    def rewind(self) -> bool:
        """As `Source.rewind`."""
        self._sent = 0
        return True


class HeldSource:
    """Buffers in memory, which nobody has to wait for."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces

    async def piece(self, limit: int) -> Piece:
        """As `Source.piece`."""
        return self.pieces.ready(limit)

    def rewind(self) -> bool:
        """As `Source.rewind`."""
        self.pieces.seek(0)
        return True


class FileSource:
    """A file object with a blocking `read`, read in a thread; an `io.BytesIO` is read where we are."""

    def __init__(self, file: AnyBody) -> None:
        self._file = file
        self._in_memory = type(file) is io.BytesIO
        self._start = _position(file)

    async def piece(self, limit: int) -> bytes:
        """As `Source.piece`."""
        size = min(limit, FILE_PIECE)
        if self._in_memory:
            return _as_bytes(self._file.read(size))
        reading = asyncio.get_running_loop().run_in_executor(None, self._file.read, size)
        try:
            return _as_bytes(await asyncio.shield(reading))
        except asyncio.CancelledError:
            # The thread moves the file's position: whoever sends the file again must come after it.
            await _settle(reading)
            raise

    def rewind(self) -> bool:
        """As `Source.rewind`."""
        return self._start is not None and _seek(self._file, self._start)


class ReaderSource:
    """An object whose `read` is a coroutine function."""

    def __init__(self, reader: AnyBody) -> None:
        self._reader = reader

    async def piece(self, limit: int) -> bytes:
        """As `Source.piece`."""
        return _as_bytes(await self._reader.read(min(limit, FILE_PIECE)))

    def rewind(self) -> bool:
        """As `Source.rewind`: never, since going back may need awaiting."""
        return False


class IterableSource:
    """An iterable of bytes, asynchronous or not."""

    def __init__(self, iterable: AnyBody) -> None:
        self._iterable = iterable
        self._iterator: AsyncIterator[object] | Iterator[object] | None = None

    async def piece(self, limit: int) -> bytes:  # noqa: ARG002 - pieces come as they are
        """As `Source.piece`; empty pieces of the iterable are skipped."""
        iterator = self._iterator
        if iterator is None:
            iterable = self._iterable
            iterator = aiter(iterable) if hasattr(iterable, "__aiter__") else iter(iterable)
            self._iterator = iterator
        while True:
            if isinstance(iterator, Iterator):
                item = next(iterator, _END)
            else:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    item = _END
            if item is _END:
                return b""
            if data := _as_bytes(item):
                return data

    def rewind(self) -> bool:
        """As `Source.rewind`: only what seeks, as botocore's chunked wrapper does, can start again."""
        self._iterator = None
        return _seek(self._iterable, 0)


def _as_bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"the request body gave {type(data).__name__} instead of bytes")


def _position(file: AnyBody) -> int | None:
    try:
        position = file.tell()
    except (OSError, AttributeError, ValueError):
        return None
    return position if isinstance(position, int) else None


def _seek(file: AnyBody, position: int) -> bool:
    try:
        file.seek(position)
    except (OSError, AttributeError, ValueError):
        return False
    return True


async def _settle(reading: asyncio.Future[Any]) -> None:
    """Wait for a read in a thread, whatever is cancelled meanwhile; the caller re-raises its cancellation."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READ_WAIT
    while not reading.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait([reading], timeout=left)
        except asyncio.CancelledError:
            continue
    if reading.done() and not reading.cancelled():
        reading.exception()
