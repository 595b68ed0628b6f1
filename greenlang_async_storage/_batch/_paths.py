"""From keys to local paths that can never leave their directory."""

from __future__ import annotations

import os
import stat
import threading
import unicodedata
from pathlib import Path
from typing import Final

from greenlang_async_storage._errors import S3InvalidRequestError

_WINDOWS_FORBIDDEN: Final = frozenset('\\:*?"<>|')


class LocalTree:
    """One directory that downloads go into; refuses keys that would leave it or meet another key's file."""

    __slots__ = ("_lock", "_root", "_taken")

    def __init__(self, directory: str | os.PathLike[str], *, remember: bool) -> None:
        self._root = Path(directory).absolute()
        self._lock = threading.Lock()
        self._taken: dict[str, str] | None = {} if remember else None
        """Folded path → key; only a batch that keeps its outcomes anyway can afford to remember."""

    def path_for(self, key: str, name: str) -> Path:
        """
        The file for *key*, whose relative name is *name*; its folders are made, none of them a symlink.

        Compared by path parts, never by string prefix. Blocks: call it in a thread.

        Raises:
            S3InvalidRequestError: `..`, an absolute path, an empty segment, a symlink on the way, or a name
                that another key of this batch already took (also when only case or Unicode form differ).
        """
        parts = name.split("/")
        for part in parts:
            if reason := _fault(part):
                raise _refused(key, reason)
        with self._lock:
            self._claim(key, parts)
        folder = self._root
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts[:-1]:
            folder = _enter(folder / part, key)
        target = folder / parts[-1]
        if target.is_symlink():
            raise _refused(key, f"{target} is a symlink")
        return target

    def _claim(self, key: str, parts: list[str]) -> None:
        """Take the path, and its folders as folders."""
        if self._taken is None:
            return
        folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
        path = "/".join(folded)
        for depth in range(1, len(folded)):
            folder = "/".join(folded[:depth])
            if (other := self._taken.get(folder)) is not None:
                raise _refused(key, f"its folder is the file of key {other!r}")
            self._taken.setdefault(f"{folder}/", key)
        if (other := self._taken.get(path)) is not None:
            if other == key:
                raise _refused(key, "it stands twice in this batch")
            raise _refused(key, f"key {other!r} has the same file name on some disks")
        if f"{path}/" in self._taken:
            raise _refused(key, "other keys of this batch use its name as a folder")
        self._taken[path] = key


def _enter(folder: Path, key: str) -> Path:
    folder.mkdir(exist_ok=True)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise _refused(key, f"{folder} is a symlink or no folder")
    return folder


def _fault(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"its segment {part!r} is no file name"
    if "\0" in part:
        return "it holds a NUL"
    if os.name == "nt" and (_WINDOWS_FORBIDDEN.intersection(part) or part.endswith((".", " "))):
        return f"its segment {part!r} is no file name on Windows"
    return None


def _refused(key: str, reason: str) -> S3InvalidRequestError:
    return S3InvalidRequestError(
        f"key {key!r} cannot become a file below the directory: {reason}",
        operation="GetObject",
        key=key,
        remedy="Download it with download_file() to a path of your choice.",
    )
