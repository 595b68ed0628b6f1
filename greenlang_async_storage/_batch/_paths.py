"""From keys to local paths that can never leave their directory."""

from __future__ import annotations

import errno
import os
import stat
import threading
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Final

from greenlang_async_storage._errors import S3InvalidRequestError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_FOLDER: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})
"""What systems answer to O_DIRECTORY and O_NOFOLLOW where something else stands."""
_WINDOWS_FORBIDDEN: Final = frozenset('\\:*?"<>|')


class LocalTree:
    """One directory that downloads go into; refuses keys that would leave it or meet another key's file."""

    __slots__ = ("_lock", "_root", "_taken")

    def __init__(self, directory: str | os.PathLike[str], *, remember: bool) -> None:
        self._root = Path(directory).absolute()
        self._lock = threading.Lock()
        self._taken: dict[str, str] | None = {} if remember else None
        """Folded path → key; only a batch that keeps its outcomes anyway can afford to remember."""

    def place(self, key: str, name: str) -> Place:
        """Where the file of *key* goes, whose relative name is *name*; nothing is done yet."""
        return Place(self, self._root, key, name)

    def claim(self, key: str, parts: list[str]) -> None:
        """Take the path of *parts*, and its folders as folders, or refuse."""
        with self._lock:
            self._claim(key, parts)

    def _claim(self, key: str, parts: list[str]) -> None:
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


class Place:
    """
    The place of one file below the root, its folder held open from `enter` to `close`.

    Folders are opened one inside the other, links refused, and the file is written through the last one's
    descriptor: what somebody puts at a folder's name meanwhile cannot lead the file elsewhere.
    """

    __slots__ = ("_key", "_parts", "_root", "_tree", "descriptor", "path")

    def __init__(self, tree: LocalTree, root: Path, key: str, name: str) -> None:
        self._tree, self._root, self._key = tree, root, key
        self._parts = name.split("/")
        self.path = root.joinpath(*self._parts)
        """For messages; the file is `path.name` in `descriptor`."""
        self.descriptor = -1

    def enter(self) -> None:
        """
        Make and open the folders. Blocks: call it in a thread, and `close` however that ends.

        Raises:
            S3InvalidRequestError: `..`, an absolute path, an empty segment, a symlink on the way, or a name
                that another key of this batch already took (also when only case or Unicode form differ).
        """
        *folders, last = self._parts
        for part in self._parts:
            if reason := _fault(part):
                raise _refused(self._key, reason)
        self._tree.claim(self._key, self._parts)
        self._root.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(self._root, _FOLDER)
        for depth, part in enumerate(folders, 1):
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=self.descriptor)
            try:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=self.descriptor)
            except OSError as exc:
                if exc.errno not in _NO_FOLDER:
                    raise
                at = self._root.joinpath(*folders[:depth])
                raise _refused(self._key, f"{at} is a symlink or no folder") from exc
            outer, self.descriptor = self.descriptor, inner
            os.close(outer)
        with suppress(FileNotFoundError):
            if stat.S_ISLNK(os.stat(last, dir_fd=self.descriptor, follow_symlinks=False).st_mode):
                raise _refused(self._key, f"{self.path} is a symlink")

    def close(self) -> None:
        """Let the folder go. Idempotent."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


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
