"""Pieces of any size in, parts of the planned size out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from typing import Final, NamedTuple

from greenlang_async_storage._types import Buffer

from ._plan import PartPlan
from ._rope import Rope

VIEW_MIN_PARTS: Final = 4
"""Pieces of this many parts are cut without copying: their parts then keep at most a quarter more alive."""
PIECES_PER_TURN: Final = 256
"""After so many pieces other tasks get a turn, also when the source never waits."""


class Part(NamedTuple):
    """One part; its bytes never change."""

    number: int
    """From 1."""
    offset: int
    """Of its first byte in the whole."""
    data: bytes | memoryview | tuple[bytes, ...]
    """`bytes`, or a read-only view of one-byte items into `bytes`; where asked for, several `bytes`."""

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(map(len, self.data)) if isinstance(self.data, tuple) else len(self.data)

    def joined(self) -> bytes | memoryview:
        """The data as one buffer."""
        return b"".join(self.data) if isinstance(self.data, tuple) else self.data


def byte_view(piece: object, index: int) -> memoryview:
    """*piece* as contiguous one-byte items, copied only where its layout asks for it, or TypeError."""
    try:
        view = memoryview(piece)  # type: ignore[arg-type]  # finding out is the point
    except TypeError:
        remedy = "encode it first" if isinstance(piece, str) else "give bytes, bytearray or memoryview"
        raise TypeError(
            f"piece {index} of the source is {type(piece).__name__}, not bytes-like: {remedy}"
        ) from None
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    if view.c_contiguous and view.nbytes:
        # Whatever the format: items of one byte divide every length, and no dimension is empty.
        return view.cast("B")
    return memoryview(view.tobytes())


class PartAssembler:
    """
    Turns pieces into parts; holds less than one part, whatever the size of the pieces.

    A `bytes` piece that is exactly one part is passed on as it is; one of four parts or more is cut into
    views. With *in_pieces* a part may come as several `bytes`, so that large ones within one part are not
    copied either. Everything else is copied once, at once: a producer may reuse its buffer as soon as `feed`
    is exhausted.
    """

    __slots__ = ("_buffered", "_in_pieces", "_number", "_offset", "_pieces", "_plan", "_rope", "_target")

    def __init__(self, plan: PartPlan, *, in_pieces: bool = False) -> None:
        self._plan = plan
        self._in_pieces = in_pieces
        self._rope = Rope()
        self._buffered = 0
        self._number = 1
        self._offset = 0
        self._pieces = 0
        self._target = plan.length(1)
        """Of the part being filled; 0 until its first byte, as there may be no further part."""

    @property
    def size(self) -> int:
        """Bytes taken in so far."""
        return self._offset + self._buffered

    def feed(self, piece: object) -> Iterable[Part]:
        """
        The parts that *piece* completes, each made when it is asked for; take all before the next piece.

        TypeError, naming the type and the position, when *piece* is not bytes-like; S3InvalidRequestError
        when the plan has no further part for it.
        """
        index = self._pieces
        self._pieces += 1
        data: Buffer = piece if type(piece) is bytes else byte_view(piece, index)
        size = len(data)
        if not size:
            return ()
        target = self._target or self._plan_part()
        if self._buffered + size < target:
            self._rope.write(data)
            self._buffered += size
            return ()
        if self._buffered + size == target and type(data) is bytes:
            if not self._buffered:
                return (self._next_part(data),)
            self._rope.write(data)
            self._buffered += size
            return (self._next_part(self._take()),)
        return self._cut(memoryview(data))

    def finish(self) -> Part | None:
        """What is left over, as the last part, or `None`; a source without a byte gives one empty part."""
        if self._buffered or self._number == 1:
            return self._next_part(self._take())
        return None

    def _cut(self, view: memoryview) -> Iterator[Part]:
        size = len(view)
        immutable = type(view.obj) is bytes
        position = 0
        while position < size:
            target = self._target or self._plan_part()
            piece = view[position : position + target - self._buffered]
            position += len(piece)
            if self._buffered + len(piece) < target:
                self._rope.write(piece)
                self._buffered += len(piece)
            elif self._buffered:
                self._rope.write(piece)
                yield self._next_part(self._take())
            elif immutable and size >= VIEW_MIN_PARTS * target:
                yield self._next_part(piece)
            else:
                yield self._next_part(bytes(piece))

    def _plan_part(self) -> int:
        self._target = self._plan.length(self._number)
        return self._target

    def _take(self) -> bytes | tuple[bytes, ...]:
        self._buffered = 0
        pieces = self._rope.take()
        if len(pieces) < 2:
            return pieces[0] if pieces else b""
        return pieces if self._in_pieces else b"".join(pieces)

    def _next_part(self, data: bytes | memoryview | tuple[bytes, ...]) -> Part:
        part = Part(self._number, self._offset, data)
        self._offset += part.size
        self._number += 1
        self._target = 0
        return part


async def assemble(pieces: AsyncIterable[object], plan: PartPlan) -> AsyncGenerator[Part]:
    """
    The parts of *pieces*, each as soon as it is full; at least one, which may be empty.

    Reads *pieces* only when asked for the next part, so a slow consumer holds the producer back. Close it
    with `contextlib.aclosing`; *pieces* stay the caller's to close.
    """
    assembler = PartAssembler(plan)
    count = 0
    async for piece in pieces:
        for part in assembler.feed(piece):
            yield part
        count += 1
        if not count % PIECES_PER_TURN:
            await asyncio.sleep(0)
    last = assembler.finish()
    if last is not None:
        yield last


def slice_parts(data: Buffer, plan: PartPlan) -> Iterator[Part]:
    """The parts of a buffer already in memory, as views: nothing is copied, so it must not change."""
    view = byte_view(data, 0).toreadonly()
    position = 0
    for number in range(1, plan.count(len(view)) + 1):
        stop = position + plan.length(number)
        yield Part(number, position, view[position:stop])
        position = stop
