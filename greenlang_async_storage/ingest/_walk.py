"""A directory tree in the order S3 lists keys. Everything here blocks: it runs in a thread of the plan."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from greenlang_async_storage import S3Error, S3InvalidRequestError, S3LocalFileError

from ._entries import Entry, Found, Obstacle, file_state, is_settled, key_fault
from ._globs import PathFilter

NAMES_IN_MEMORY: Final = 100_000
"""A folder with more names is sorted on disk: some 10 MiB at most, however large it is."""
_PARTIAL: Final = re.compile(rb"\..+\.(?:[0-9a-f]{16}|resume)\.part", re.DOTALL)
"""Unfinished downloads of this package: nobody's content."""


class Walk:
    """
    The files below *root*, in the order of the UTF-8 bytes of their keys.

    Memory: the names of the folders on the way to the current file. Symlinks are skipped, or with *follow*
    taken for what they lead to; a link to a folder it lies in is a failure. Devices, pipes, sockets and
    unfinished downloads are skipped; *own*, the files of the journal, as well.
    """

    def __init__(self, root: Path, accept: PathFilter, *, follow: bool, own: frozenset[str]) -> None:
        self.skipped = 0
        self._root = os.fsencode(root)
        self._accept = accept
        self._follow = follow
        self._own = own
        self._entered: list[tuple[int, int]] = []
        self._found = self._walk()

    def batch(self, size: int) -> list[Found]:
        """The next entries; empty at the end. `S3LocalFileError` when the directory cannot be read."""
        return list(islice(self._found, size))

    def close(self) -> None:
        """Give back what the walk holds."""
        self._found.close()  # type: ignore[attr-defined]  # it is a generator

    def _walk(self) -> Iterator[Found]:
        try:
            levels = [(b"", self._names(self._root))]
        except OSError as exc:
            raise _local("read the directory", self._root, exc) from exc
        try:
            while levels:
                below, names = levels[-1]
                name = next(names, None)
                if name is None:
                    levels.pop()
                    self._entered.pop()
                    continue
                found = self._look(below + name)
                if isinstance(found, Iterator):
                    levels.append((below + name, found))
                elif found is not None:
                    yield found
        finally:
            for _, names in levels:
                if hasattr(names, "close"):
                    names.close()

    def _look(self, relative: bytes) -> Found | Iterator[bytes] | None:
        """What lies at *relative*: an entry, an obstacle, a folder's names, or nothing to speak of."""
        try:
            key = relative.decode()
        except UnicodeDecodeError as exc:
            return _unnamed(relative, exc.start)
        path = self._root + b"/" + relative
        try:
            if key.endswith("/"):
                return self._folder(key, path)
            return self._file(key, path)
        except FileNotFoundError:
            return None
        except OSError as exc:
            return Obstacle(key, _local("read", path, exc), failure=True)

    def _folder(self, key: str, path: bytes) -> Found | Iterator[bytes] | None:
        if key.rstrip("/") in self._own:
            return None
        if self._accept.prunes(key.rstrip("/")):
            self.skipped += 1
            return None
        if self._follow:
            found = os.stat(path)  # noqa: PTH116  # names are bytes
            if (found.st_dev, found.st_ino) in self._entered:
                return Obstacle(key, _invalid(path, "it leads back to a folder it lies in"), failure=True)
        return self._names(path)

    def _file(self, key: str, path: bytes) -> Found | None:
        if key in self._own:
            return None
        if not self._accept.accepts(key):
            self.skipped += 1
            return None
        found = os.stat(path, follow_symlinks=self._follow)  # noqa: PTH116  # names are bytes
        if not stat.S_ISREG(found.st_mode):
            kind = "a symlink" if stat.S_ISLNK(found.st_mode) else "no regular file"
            return Obstacle(key, _invalid(path, f"it is {kind}"), failure=False)
        if _PARTIAL.fullmatch(path.rpartition(b"/")[2]):
            return Obstacle(key, _invalid(path, "it is an unfinished download"), failure=False)
        if fault := key_fault(key):
            return Obstacle(key, fault, failure=True)
        times = found.st_mtime_ns, found.st_ctime_ns
        return Entry(key, found.st_size, file_state(found.st_size, *times, found.st_ino), is_settled(*times))

    def _names(self, folder: bytes) -> Iterator[bytes]:
        """The names in *folder*, those of folders ending in `/`, in order."""
        entered = os.stat(folder)  # noqa: PTH116  # names are bytes
        with os.scandir(folder) as entries:
            labels = (self._label(entry) for entry in entries)
            names = list(islice(labels, NAMES_IN_MEMORY))
            if len(names) == NAMES_IN_MEMORY:
                ordered = _sorted_on_disk(names, labels)
                next(ordered)
            else:
                names.sort()
                ordered = iter(names)
        self._entered.append((entered.st_dev, entered.st_ino))
        return ordered

    def _label(self, entry: os.DirEntry[bytes]) -> bytes:
        return entry.name + b"/" if entry.is_dir(follow_symlinks=self._follow) else entry.name


def _sorted_on_disk(names: list[bytes], more: Iterator[bytes]) -> Iterator[bytes]:
    """Gives one empty name when all are taken in, then the names in order."""
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as db:
        db.execute("CREATE TABLE name (label BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO name VALUES (?)", ((each,) for each in names))
        names.clear()
        db.executemany("INSERT INTO name VALUES (?)", ((each,) for each in more))
        db.execute("COMMIT")
        yield b""
        for (label,) in db.execute("SELECT label FROM name ORDER BY label"):
            yield label


def _unnamed(relative: bytes, valid: int) -> Obstacle:
    shown = relative.decode(errors="backslashreplace")
    error = S3InvalidRequestError(
        f"{shown!r} is left out: its name is no UTF-8, which keys must be", key=shown, remedy="Rename it."
    )
    # What can be decoded sorts before the whole, so the order of keys is kept.
    return Obstacle(relative[:valid].decode(), error, failure=True, hides=False)


def _local(doing: str, path: bytes, exc: OSError) -> S3Error:
    name = os.fsdecode(path)
    return S3LocalFileError(
        f"cannot {doing} {name!r}: {exc.strerror or exc}",
        errno=exc.errno,
        remedy="Check that it exists and that this process may read it.",
    )


def _invalid(path: bytes, why: str) -> S3Error:
    return S3InvalidRequestError(
        f"{os.fsdecode(path)!r} is left out: {why}", remedy="Move it away, or exclude it."
    )


def is_case_insensitive(folder: Path) -> bool:
    """Whether the disk of *folder* (or of its nearest parent that exists) takes `A` and `a` for one name."""
    here = folder.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    swapped = here.with_name(here.name.swapcase()) if here.name else here
    if swapped.name == here.name:
        return False
    try:
        return swapped.samefile(here)
    except OSError:
        return False
