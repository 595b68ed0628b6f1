"""What a plan sees of either side: entries in the order of keys, and obstacles that hide what lies there."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, TypeAlias

from greenlang_async_storage import S3Error, S3InvalidRequestError

MAX_KEY_BYTES: Final = 1024
"""S3 User Guide, "Naming Amazon S3 objects"."""
_FINE_TICK_NS: Final = 50_000_000
_COARSE_TICK_NS: Final = 2_000_000_000
"""Of file systems that date to the second, or to two as FAT does."""


class Entry(NamedTuple):
    """A regular file, or an object."""

    key: str
    """Relative, with `/` between segments."""
    size: int
    state: str
    """Changes with the content: an ETag, or a file's size, times and inode."""
    settled: bool = True
    """Whether *state* will tell of the next change; one just written may change within its tick."""


class Obstacle(NamedTuple):
    """Something that is no regular file, or cannot be read or named; what it hides must stay as it is."""

    key: str
    """Covers this key and all below it; only the latter when it ends in `/`."""
    error: S3Error
    failure: bool
    """Worth telling; else it is skipped by rule."""
    hides: bool = True
    """Covers anything; a name that is no UTF-8 covers no key, and *key* only says where it stands."""

    def covers(self, key: str) -> bool:
        """Whether *key* is it, or below it."""
        below = self.key if self.key.endswith("/") else f"{self.key}/"
        return key == self.key or key.startswith(below)


Found: TypeAlias = Entry | Obstacle


class Shadows:
    """The obstacles met so far that can still cover a key, given keys in order; a few at a time."""

    __slots__ = ("_active",)

    def __init__(self) -> None:
        self._active: list[Obstacle] = []

    def add(self, obstacle: Obstacle) -> None:
        """Take in the next one."""
        if obstacle.hides:
            self._active.append(obstacle)

    def over(self, key: str) -> Obstacle | None:
        """What covers *key*."""
        if self._active:
            # "0" follows "/": from there on nothing is below the obstacle any more.
            self._active = [each for each in self._active if key < f"{each.key.rstrip('/')}0"]
        return next((each for each in self._active if each.covers(key)), None)


def file_state(size: int, modified_ns: int, changed_ns: int, inode: int) -> str:
    """The state of a file, as text."""
    return f"{size}:{modified_ns}:{changed_ns}:{inode}"


def is_settled(modified_ns: int, changed_ns: int) -> bool:
    """Whether the next write to a file with these times will show in them."""
    latest = max(modified_ns, changed_ns)
    tick = _FINE_TICK_NS if latest % 1_000_000_000 else _COARSE_TICK_NS
    return latest + tick < time.time_ns()


def key_fault(key: str) -> S3Error | None:
    """Why a local name cannot be part of a key."""
    if (size := len(key.encode())) > MAX_KEY_BYTES:
        return _refused(key, f"it has {size:,} bytes, S3 takes {MAX_KEY_BYTES:,}", "Shorten the path.")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\ufffe\uffff" for char in key):
        return _refused(key, "it holds a control character", "Rename it.")
    return None


def path_fault(key: str) -> S3Error | None:
    """Why a key cannot be a file below a directory; the download itself refuses more, such as symlinks."""
    parts = key.split("/")
    if bad := [part for part in parts if part in ("", ".", "..") or "\0" in part]:
        remedy = "Download it with download_file() to a path of your choice."
        return _refused(key, f"its segment {bad[0]!r} is no file name", remedy)
    return None


def _refused(key: str, why: str, remedy: str) -> S3Error:
    return S3InvalidRequestError(f"{key!r} is left out: {why}", key=key, remedy=remedy)
