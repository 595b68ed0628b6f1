"""Any source of bytes, opened: one async iterator of pieces, closed on every exit."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import stat
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Final

from greenlang_async_storage._closing import closing_generator
from greenlang_async_storage._errors import S3LocalFileError
from greenlang_async_storage._types import ByteSource, StrPath

from ._assemble import byte_view
from ._thread import in_thread

READ_BYTES: Final = 1024 * 1024
"""Asked of each `read` of a file or reader."""

_ACCEPTED: Final = (
    "bytes, a path, an iterable or async iterable of bytes, or an object with read(n) that gives bytes"
)


@asynccontextmanager
async def open_source(
    source: ByteSource, *, read_size: int = READ_BYTES
) -> AsyncIterator[AsyncIterator[object]]:
    """
    The pieces of *source*, of any size, to be read inside the block; check and cut them with `assemble`.

    - Buffers, lists and tuples are read at once, async iterables and async readers in the calling task.
    - Paths, other iterables and objects with a plain `read` may block, so a thread of their own reads them,
      up to 256 KiB or 1 ms of small pieces per trip. The same thread makes every step of a generator and
      closes it.
    - `read(n)` is asked for *read_size* bytes; with the length of a part, parts are made without copying.

    Generators are closed on every exit, a cancel included; files and readers the caller opened stay open.
    TypeError for what is none of these, and for files open in text mode; S3LocalFileError when a path
    cannot be read; what the source itself raises comes through unchanged.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield _each((source,))
    elif isinstance(source, str | os.PathLike):
        async with in_thread(_read_path(source, read_size)) as pieces:
            yield pieces
    elif callable(read := getattr(source, "read", None)):
        _check_reader(source, read)
        if inspect.iscoroutinefunction(read):
            yield _read_async(read, read_size)
        else:
            async with in_thread(_read_sync(read, read_size)) as pieces:
                yield _settle(pieces)
    elif isinstance(source, AsyncIterable):
        iterator = aiter(source)
        async with closing_generator(iterator):
            yield iterator
    elif (view := _as_buffer(source)) is not None:
        yield _each((view,))
    elif isinstance(source, list | tuple):
        yield _each(source)
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        async with in_thread(source) as pieces:
            yield pieces
    else:
        raise TypeError(_refusal(source))


def known_size(source: ByteSource) -> int | None:
    """
    How many bytes *source* will give from where it stands, or `None` when that cannot be told before
    reading it.

    A hint: a file may grow or shrink. Looks at the file system for paths and open files; `measure` does
    that in a thread.
    """
    if isinstance(source, str | os.PathLike):
        return _file_size(lambda: os.stat(source))  # noqa: PTH116  # a path may be any os.PathLike
    if isinstance(source, io.BytesIO):
        return max(source.getbuffer().nbytes - source.tell(), 0)
    if (handle := _plain_file(source)) is not None:
        size = _file_size(lambda: os.fstat(handle.fileno()))
        return None if size is None else max(size - handle.tell(), 0)
    if isinstance(source, list | tuple):
        sizes = [_buffer_size(piece) for piece in source]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    return None if hasattr(source, "read") else _buffer_size(source)


async def measure(source: ByteSource) -> int | None:
    """`known_size`, off the loop where it would look at the file system."""
    if isinstance(source, str | os.PathLike) or _plain_file(source) is not None:
        return await asyncio.to_thread(known_size, source)
    return known_size(source)


async def _each(pieces: Iterable[object]) -> AsyncIterator[object]:
    for piece in pieces:
        yield piece


def _read_path(path: StrPath, size: int) -> Iterator[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a path may be any os.PathLike
            while piece := file.read(size):
                yield piece
    except OSError as exc:
        raise S3LocalFileError(
            f"cannot read {os.fspath(path)!r}: {exc.strerror or exc}", errno=exc.errno
        ) from exc


def _read_sync(read: Callable[[int], object], size: int) -> Iterator[object]:
    while _has_more(piece := read(size)):
        yield piece


async def _read_async(read: Callable[[int], Awaitable[object]], size: int) -> AsyncIterator[object]:
    while _has_more(piece := await read(size)):
        yield piece


async def _settle(pieces: AsyncIterator[object]) -> AsyncIterator[object]:
    """*pieces*, awaited where a plain `read` turned out to give an awaitable."""
    async for piece in pieces:
        if not inspect.isawaitable(piece):
            yield piece
        elif _has_more(settled := await piece):
            yield settled
        else:
            return


def _has_more(piece: object) -> bool:
    """Whether what `read` gave is not the end; TypeError for what no binary reader gives."""
    if isinstance(piece, str):
        raise TypeError(
            "read() of the source gave str; open the file in binary mode ('rb'), or encode the text"
        )
    if piece is None:
        raise TypeError(
            "read() of the source gave None; a non-blocking file cannot be a source, make it blocking"
        )
    return inspect.isawaitable(piece) or len(byte_view(piece, 0)) > 0


def _check_reader(source: object, read: Callable[..., object]) -> None:
    if isinstance(source, io.TextIOBase):
        raise TypeError("the source is a file open in text mode; open it in binary mode ('rb')")
    try:
        inspect.signature(read).bind(READ_BYTES)
    except TypeError:
        kind = type(source).__name__
        raise TypeError(
            f"read() of {kind} takes no size; pass its iterator of bytes or its raw stream"
        ) from None
    except ValueError:  # built-in methods without a signature
        return


def _as_buffer(source: object) -> memoryview | None:
    try:
        return memoryview(source)  # type: ignore[arg-type]  # finding out is the point
    except TypeError:
        return None


def _buffer_size(piece: object) -> int | None:
    view = _as_buffer(piece)
    return None if view is None else view.nbytes


def _file_size(look: Callable[[], os.stat_result]) -> int | None:
    try:
        facts = look()
    except OSError:
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def _plain_file(source: object) -> io.FileIO | io.BufferedReader | io.BufferedRandom | None:
    """An open file whose size on disk is the size of what it gives; not so for wrappers such as gzip's."""
    if isinstance(source, io.BufferedReader | io.BufferedRandom):
        return source if isinstance(source.raw, io.FileIO) and not source.closed else None
    return source if isinstance(source, io.FileIO) and not source.closed else None


def _refusal(source: object) -> str:
    kind = type(source).__name__
    if inspect.iscoroutine(source):
        return f"the source is a coroutine; await it first, and pass {_ACCEPTED}"
    if callable(source):
        return f"the source is a {kind}, which has to be called first; pass {_ACCEPTED}"
    return f"the source is a {kind}; pass {_ACCEPTED}"
