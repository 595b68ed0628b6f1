"""The local side of a file download: the unfinished file, and the journal another process may go on with."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from ._checksums import Crc
from ._local_files import (
    check_target,
    create_private,
    make_parent,
    open_private,
    partial_path,
    preallocate,
    publish,
    read_into,
    remove,
    write_all,
    write_file,
)
from ._types import Buffer

RESUMABLE: Final = "resume"
"""Stands in the name of a partial file that is kept, where others have something random."""
FORMAT: Final = "greenlang-download-1"
_HEADER_BYTES: Final = 16 * 1024
"""A key has 1,024 bytes at most, six times that in JSON."""
_TRIES: Final = 8


class PartialFile:
    """
    What is downloaded so far: beside its target, 0600, and out of sight until `commit`.

    With *keep* it has the same name in every process and one of them at a time may use it; without, it is
    unpredictable and goes away on `close`. *at*, which one to keep cannot have, is the descriptor of the
    directory it is in. Every method blocks.
    """

    __slots__ = ("_at", "_descriptor", "_keep", "_path", "target")

    def __init__(self, target: Path, *, keep: bool, at: int | None = None) -> None:
        if keep and at is not None:
            raise ValueError("a partial file in an open directory cannot be kept: pass keep=False")
        self.target = target
        self._at = at
        self._keep = keep
        self._path: Path | None = None
        self._descriptor = -1

    def open(self, size: int, *, durable: bool) -> None:
        """Make it, with *size* bytes of disk; `OSError` where it, or the finished file, could not be."""
        check_target(self.target, self._at)
        if self._at is None:
            make_parent(self.target, durable=durable)
        if self._keep:
            self._path = partial_path(self.target, RESUMABLE)
            self._descriptor = _open_alone(self._path)
        else:
            self._descriptor, self._path = create_private(self.target, self._at)
        preallocate(self._descriptor, size)

    def write(self, data: Buffer, offset: int) -> None:
        """Put *data* at *offset*; threads may do this at once."""
        write_all(self._descriptor, data, offset)

    def read(self, view: memoryview, offset: int) -> int:
        """How many bytes from *offset* were read into *view*."""
        return read_into(self._descriptor, view, offset)

    def commit(self, *, durable: bool) -> None:
        """Put it in place of the target, whole, in one step."""
        if self._path is not None:
            publish(self._descriptor, self._path, self.target, durable=durable, at=self._at)
            self._path = None
        self.close()

    def close(self, *, discard: bool = False) -> None:
        """Stop; what was not committed goes away, unless it is one to keep and not *discard*. Idempotent."""
        path, self._path = self._path, None
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if path is not None and (discard or not self._keep):
                remove(path, self._at)
        finally:
            if descriptor >= 0:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Source:
    """What a journal is about: these bytes of this object, in parts of this length."""

    bucket: str
    key: str
    etag: str
    size: int
    part_size: int
    algorithm: Crc
    """Of the parts' checksums in the journal."""


@dataclass(slots=True)
class Journal:
    """
    Which parts are in the partial file, and the CRC of each: a text file, 0600, a JSON value per line.

    Written whole and renamed when it starts; then a line is added per part, so a kill costs the line being
    written at most. The CRCs tell what of it is still true. Every method blocks.
    """

    path: Path
    source: Source
    parts: dict[int, int] = field(default_factory=dict)
    _descriptor: int = field(default=-1, repr=False)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The journal at *path*; `None` where there is none, `OSError` where something else is."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            first = file.readline(_HEADER_BYTES)
            if not first:
                return None
            source = _source(first)
            if source is None:
                raise FileExistsError(errno.EEXIST, "it exists and is not the journal of a download")
            return cls(path, source, dict(_parts(file, source)))

    def start(self) -> None:
        """Write what is known so far, and be ready for `add`."""
        header: object = {"format": FORMAT, **asdict(self.source)}
        text = "".join(f"{json.dumps(line)}\n" for line in (header, *self.parts.items()))
        make_parent(self.path, durable=False)
        write_file(self.path, text.encode(), durable=False, private=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)

    def add(self, index: int, crc: int) -> None:
        """Note that part *index*, from 0, is in the file; threads may do this at once."""
        os.write(self._descriptor, f"{json.dumps([index, crc])}\n".encode())

    def close(self, *, remove: bool) -> None:
        """Stop adding, and with *remove* take the journal away. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if remove:
            self.path.unlink(missing_ok=True)


def _open_alone(path: Path) -> int:
    """The private file at *path*, locked by this process; `BlockingIOError` while another one has it."""
    for _ in range(_TRIES):
        descriptor = open_private(path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise BlockingIOError(errno.EAGAIN, "another download to this path is under way") from exc
            # Between open and lock the other process may have finished and renamed it.
            with suppress(FileNotFoundError):
                if path.lstat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise BlockingIOError(errno.EAGAIN, "other downloads to this path come and go")


def _source(line: bytes) -> Source | None:
    """What the first line of a journal says; `None` for any other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        return None
    size, part_size = found.get("size"), found.get("part_size")
    if not (isinstance(size, int) and isinstance(part_size, int) and part_size > 0):
        return None
    return Source(**found) if found.keys() == Source.__dataclass_fields__.keys() else None


def _parts(lines: Iterator[bytes], source: Source) -> Iterator[tuple[int, int]]:
    """The parts the journal lists; a line that a kill cut short is none."""
    count = -(-source.size // source.part_size)
    for line in lines:
        with suppress(ValueError, TypeError):
            index, crc = json.loads(line)
            if isinstance(index, int) and isinstance(crc, int) and 0 <= index < count:
                yield index, crc
