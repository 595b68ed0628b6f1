"""One open GetObject reply: reads that end by a stall limit, and a pool slot that always goes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar, cast

from ._deadline import Scope, ScopeEndedError
from ._error_map import to_s3_error
from ._errors import S3ConnectionError, S3Error, S3TimeoutError
from ._settings import STALL_MIN_BYTES_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

CHUNK: Final = 256 * 1024
"""Bytes asked for at a time where the transport cannot say what has arrived."""


_TICK: Final = 0.01
"""Seconds a loop timer may fire early by."""

T = TypeVar("T")


class _PlainStream(Protocol):
    async def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class _FastStream(_PlainStream, Protocol):
    bytes_received: int

    async def readany(self) -> bytes: ...
    async def readinto(self, buffer: memoryview) -> int: ...
    def disable_validation(self) -> None: ...


class Whole(NamedTuple):
    """A reply whose bytes came with its head; it holds nothing."""

    response: GetObjectOutputTypeDef
    data: bytes


def arrived_whole(response: GetObjectOutputTypeDef) -> bytes | None:
    """All bytes of *response* when they are here already and as many as it announced, else `None`."""
    take = getattr(response["Body"], "take_whole", None)
    return None if take is None else cast("bytes | None", take(response.get("ContentLength")))


class Body:
    """
    The bytes of one reply, in order, each read bounded by the stall limit.

    A reply that ends early, breaks or stalls raises a retryable `S3Error`; resuming is the caller's part.
    Time spent by the reader between two reads does not count.
    """

    __slots__ = (
        "_expected", "_fast", "_loop", "_mark", "_on_close", "_read_since", "_received", "_scope", "_stall",
        "_stream", "_timer", "_waited", "_where", "response",
    )  # fmt: skip

    def __init__(
        self,
        response: GetObjectOutputTypeDef,
        *,
        bucket: str,
        key: str,
        stall: float,
        on_close: Callable[[Body], None],
    ) -> None:
        self.response = response
        self._stream = cast("_PlainStream", response["Body"])
        self._fast = (
            cast("_FastStream", self._stream) if hasattr(self._stream, "disable_validation") else None
        )
        if self._fast is not None:
            # Verified above this layer, over resumed pieces too: once is enough.
            self._fast.disable_validation()
        self._expected: int | None = response.get("ContentLength")
        self._received = 0
        self._where = (bucket, key)
        self._on_close: Callable[[Body], None] | None = on_close
        self._loop = asyncio.get_running_loop()
        self._stall = stall
        self._scope: Scope | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waited = 0.0
        self._mark = 0
        self._read_since = 0.0

    @property
    def received(self) -> int:
        """Bytes given out so far."""
        return self._received

    async def chunk(self) -> bytes:
        """The next bytes that arrived, `b""` at the end of a whole body."""
        fast = self._fast
        if fast is None:
            data = await self._guard(self._stream.read(CHUNK))
        else:
            data = await (fast.readany() if self._arrived(fast) else self._guard(fast.readany()))
        self._count(len(data))
        return data

    async def read(self) -> bytes:
        """All the rest of the body, in memory."""
        fast = self._fast
        if fast is not None and self._expected is not None and self._expected <= CHUNK:
            data = await (fast.read(-1) if self._arrived(fast) else self._guard(fast.read(-1)))
            self._count(len(data))
            self._count(0)
            return data
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, view: memoryview) -> int:
        """Bytes written to the start of *view*: fills it unless the body ends first; 0 at the end."""
        if not view:
            return 0
        if self._fast is not None:
            filled = await self._guard(self._fast.readinto(view))
            self._count(filled)
            return filled
        filled = 0
        while filled < len(view):
            piece = await self._guard(self._stream.read(min(CHUNK, len(view) - filled)))
            self._count(len(piece))
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def close(self) -> None:
        """Give the slot back; a connection with unread bytes is closed, never reused. Idempotent."""
        if self._on_close is None:
            return
        on_close, self._on_close = self._on_close, None
        if self._timer is not None:
            self._timer.cancel()
        if self._scope is not None:
            self._scope.end("closed")
        try:
            self._stream.close()
        finally:
            on_close(self)

    def _count(self, size: int) -> None:
        self._received += size
        if size == 0 and self._expected is not None and self._received < self._expected:
            raise self._failure(
                S3ConnectionError,
                f"the reply ended after {self._received} of {self._expected} bytes",
                "IncompleteRead",
            )

    def _failure(self, cls: type[S3Error], text: str, code: str) -> S3Error:
        bucket, key = self._where
        return cls(text, operation="GetObject", bucket=bucket, key=key, code=code, attempts=1, retryable=True)

    def _arrived(self, fast: _FastStream) -> bool:
        """Whether nothing is left to wait for: then there is no stall to watch, and no timer to pay for."""
        return fast.bytes_received == self._expected

    def _position(self) -> int:
        return self._fast.bytes_received if self._fast is not None else self._received

    async def _guard(self, read: Awaitable[T]) -> T:
        """The result of one read, ended when the stall limit is reached, its failure as an `S3Error`."""
        loop = self._loop
        self._read_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_at(self._read_since + self._stall - self._waited, self._check)
        try:
            self._scope = Scope()
            with self._scope:
                return await read
        except ScopeEndedError as exc:
            if exc.reason == "closed":
                raise self._failure(
                    S3ConnectionError, "the body was closed while it was being read", "Closed"
                ) from exc
            text = f"fewer than {STALL_MIN_BYTES_PER_SECOND} bytes a second came for {self._stall:g} s"
            raise self._failure(S3TimeoutError, text, "Stalled") from exc
        except Exception as exc:
            bucket, key = self._where
            error = to_s3_error(exc, operation="GetObject", bucket=bucket, key=key)
            if error is None or error is exc:
                raise
            raise error from exc
        finally:
            self._scope = None
            self._waited += loop.time() - self._read_since

    def _check(self) -> None:
        """Runs when the reader may have waited a stall period; ends the pending read if too little came."""
        self._timer = None
        if self._scope is None:
            return
        now = self._loop.time()
        waited = self._waited + now - self._read_since
        if waited < self._stall - _TICK:
            self._timer = self._loop.call_at(now + self._stall - waited, self._check)
            return
        if self._position() - self._mark < self._stall * STALL_MIN_BYTES_PER_SECOND:
            self._scope.end("deadline")
            return
        self._mark = self._position()
        self._waited = self._read_since - now
        self._timer = self._loop.call_at(now + self._stall, self._check)
