"""The bytes of a part in as few pieces as need no copy."""

from __future__ import annotations

import io
from typing import Final

from greenlang_async_storage._types import Buffer

KEPT: Final = 256 * 1024
"""`bytes` of this size are kept as they came: a copy costs more than a further write to the socket."""
JOINED: Final = 1024 * 1024
"""Smaller pieces are put together until there are so many bytes of them."""


class Rope:
    """
    Takes pieces in and gives them out as few; holds no byte twice, and none that was not put in.

    Large `bytes` objects stay what they are, since nobody can change them. Everything else is copied at once.
    """

    __slots__ = ("_pieces", "_tail")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._tail = io.BytesIO()

    def write(self, data: Buffer) -> None:
        """Append *data*."""
        if type(data) is bytes and len(data) >= KEPT:
            self._seal()
            self._pieces.append(data)
            return
        self._tail.write(data)
        if self._tail.tell() >= JOINED:
            self._seal()

    def take(self) -> tuple[bytes, ...]:
        """All pieces, in order; the rope is empty then."""
        self._seal()
        pieces = tuple(self._pieces)
        self._pieces = []
        return pieces

    def _seal(self) -> None:
        # BytesIO hands out its own buffer as bytes, without a copy, while nobody else looks into it.
        if self._tail.tell():
            self._pieces.append(self._tail.getvalue())
            self._tail = io.BytesIO()
