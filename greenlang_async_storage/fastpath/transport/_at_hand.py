"""Bodies whose last byte waits in the socket when their head is read: taken at once, no reader needed."""

from __future__ import annotations

import fcntl
import io
import socket
import sys
import termios
from typing import Final

from greenlang_async_storage.fastpath.transport._errors import ConnectionLostError

_COUNTER: Final = bytes(4)
"""The room FIONREAD wants for its answer, a C int."""


def waiting(sock: socket.socket) -> int:
    """Bytes that can be received from *sock* without waiting."""
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, _COUNTER), sys.byteorder)


def take(sock: socket.socket, begun: memoryview, length: int, most: int) -> bytes | None:
    """
    The *length* bytes of a body that starts with *begun*, when the rest, *most* bytes at most, is here.

    `None`, with nothing received, when it is not. For plain TCP only: TLS keeps bytes of its own.
    ConnectionLostError when the socket then gives less than it said.
    """
    missing = length - len(begun)
    if missing > most or waiting(sock) < missing:
        return None
    # A bytes object nobody else holds is filled in place and handed out again without a copy.
    sink = io.BytesIO(bytes(length))
    with sink.getbuffer() as whole:
        whole[: len(begun)] = begun
        filled = len(begun)
        while filled < length:
            with whole[filled:] as rest:
                count = _receive(sock, rest)
            filled += count
    return sink.getvalue()


def _receive(sock: socket.socket, view: memoryview) -> int:
    try:
        count = sock.recv_into(view)
    except OSError as error:
        raise ConnectionLostError(str(error)) from error
    if not count:
        raise ConnectionLostError("the connection was closed")
    return count
