"""
Local files that are the old content or the whole new one, never a part of it.

Everything here blocks, so call it in a thread: `in_thread` does, and waits for that thread even when
cancelled, so that no thread works on a file its owner has closed.

Where *at* is given it is the descriptor of an open directory, the one the path names: of the path only the
last name is used then, so nobody can lead a write elsewhere by putting a link in the place of a folder.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from ._concurrency import wait_through_cancels
from ._errors import S3InvalidRequestError, S3LocalFileError
from ._types import Buffer, StrPath

T = TypeVar("T")

PRIVATE: Final = 0o600
"""Mode of everything unfinished."""
NAME_BYTES: Final = 255
"""NAME_MAX of the common file systems."""
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_RANDOM_BYTES: Final = 8
_TRIES: Final = 8
_PARTIAL: Final = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_umask_lock = threading.Lock()

_WRITABLE = "Let this process write to the directory, or pass another path."
_NO_DIRECTORY = "Something that is no directory stands in the path; pass another one."
_REMEDIES: Final[dict[int, str]] = {
    errno.ENOSPC: "Free space on that file system and call again.",
    errno.EDQUOT: "Free some of the quota on that file system and call again.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or use a file system for files of this size.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), or lower the concurrency.",
    errno.ENFILE: "Close files elsewhere on this machine, or raise its limit on open files.",
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOTDIR: _NO_DIRECTORY,
    errno.EEXIST: _NO_DIRECTORY,
    errno.EISDIR: "Pass the path of a file, not of a directory.",
    errno.ENAMETOOLONG: f"Choose a shorter path; most file systems take names of {NAME_BYTES} bytes.",
    errno.EAGAIN: "Wait for the other download, or pass another path.",
}


async def in_thread(function: Callable[[], T]) -> T:
    """
    The result of `function()`, run in the loop's thread pool.

    A cancel that comes before the thread began drops the work; one that comes later is raised once the thread
    is done, so the caller may close what the thread used.
    """
    claim = threading.Lock()

    def run() -> T:
        if not claim.acquire(blocking=False):
            raise RuntimeError("dropped before it began")
        return function()

    future = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not claim.acquire(blocking=False):
            await wait_through_cancels(future)
        raise


@contextmanager
def local_errors(
    doing: str,
    path: StrPath,
    *,
    operation: str | None = None,
    bucket: str | None = None,
    key: str | None = None,
) -> Iterator[None]:
    """What the system refuses inside the block, as `S3LocalFileError`; *doing* is a word such as "write"."""
    try:
        yield
    except OSError as exc:
        code = exc.errno or 0
        name = errno.errorcode.get(code, type(exc).__name__)
        raise S3LocalFileError(
            f"cannot {doing} {os.fspath(path)!r}: {exc.strerror or exc} ({name})",
            errno=exc.errno,
            operation=operation,
            bucket=bucket,
            key=key,
            remedy=_REMEDIES.get(code),
        ) from exc


async def run_local(
    doing: str, path: StrPath, function: Callable[[], T], *, operation: str, bucket: str, key: str
) -> T:
    """`function()` in a thread, with `local_errors` around it."""
    with local_errors(doing, path, operation=operation, bucket=bucket, key=key):
        return await in_thread(function)


def check_path(path: StrPath) -> Path:
    """*path* as a `Path`; raises for what can name no file, and touches none."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or an os.PathLike of str, not {type(text).__name__}")
    if not text or "\0" in text or text.endswith(os.sep):
        raise S3InvalidRequestError(
            f"path {text!r} names no file", remedy="End it with a file name, without NUL characters."
        )
    return Path(text)


def _name(path: Path, at: int | None) -> StrPath:
    return path if at is None else path.name


def _lstat(path: Path, at: int | None) -> os.stat_result:
    return os.stat(_name(path, at), dir_fd=at, follow_symlinks=False)


def check_target(target: Path, at: int | None = None) -> None:
    """Raise `OSError` where a finished file could not take this place: a directory, a device, a pipe."""
    if at is None and target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    with suppress(FileNotFoundError):
        mode = _lstat(target, at).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise OSError(errno.EINVAL, "it is neither a regular file nor a link")


def make_parent(target: Path, *, durable: bool) -> None:
    """Make the directory of *target*, with its parents; with *durable* their names survive a power loss."""
    missing = [at for at in target.parents if not at.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    if durable:
        for made in reversed(missing):
            sync_directory(made.parent)


def sync_directory(path: Path) -> None:
    """Make the names in the directory *path* survive a power loss, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync_open_directory(descriptor)
    finally:
        os.close(descriptor)


def _sync_open_directory(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _UNSUPPORTED:
            raise


def partial_path(target: Path, middle: str) -> Path:
    """`.name.<middle>.part` beside *target*; a name too long for that is cut."""
    name = target.name
    room = NAME_BYTES - len(os.fsencode(f"..{middle}.part"))
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return target.with_name(f".{name}.{middle}.part")


def create_private(target: Path, at: int | None = None) -> tuple[int, Path]:
    """A new empty file beside *target* under an unpredictable name, 0600: its descriptor and path."""
    for _ in range(_TRIES):
        path = partial_path(target, secrets.token_hex(_RANDOM_BYTES))
        with suppress(FileExistsError):
            return os.open(_name(path, at), _FLAGS | os.O_EXCL, PRIVATE, dir_fd=at), path
    raise FileExistsError(errno.EEXIST, "every temporary name is taken")


def open_private(path: Path) -> int:
    """
    The descriptor of the file at *path*, made 0600 where missing.

    What was not made here is removed first: a link, another user's file, one that others may open or that has
    a second name.
    """
    for _ in range(_TRIES):
        try:
            descriptor = os.open(path, _FLAGS, PRIVATE)
        except OSError as exc:
            if exc.errno not in {errno.ELOOP, errno.EMLINK}:
                raise
            path.unlink(missing_ok=True)
            continue
        found = os.fstat(descriptor)
        own = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o077
        if own and stat.S_ISREG(found.st_mode):
            return descriptor
        os.close(descriptor)
        path.unlink(missing_ok=True)
    raise FileExistsError(errno.EEXIST, "somebody keeps putting another file there")


def preallocate(descriptor: int, size: int) -> None:
    """Give the file *size* bytes of disk now, so that a full disk shows before anything is transferred."""
    if sys.platform != "darwin" and size:
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
    os.ftruncate(descriptor, size)


def write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """All of *data* at *offset*, however many writes it takes."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Bytes read from *offset* into *view*: fewer than it holds only at the end of the file."""
    filled = 0
    while filled < len(view) and (count := os.preadv(descriptor, [view[filled:]], offset + filled)):
        filled += count
    return filled


def publish(descriptor: int, path: Path, target: Path, *, durable: bool, at: int | None = None) -> None:
    """
    Rename the finished file at *path* to *target*: the one step in which the new content appears.

    The file takes over the permission bits of the regular file it replaces, else those the umask leaves; a
    link is replaced, not followed.
    """
    os.fchmod(descriptor, _final_mode(target, at))
    if durable:
        os.fsync(descriptor)
    os.replace(_name(path, at), _name(target, at), src_dir_fd=at, dst_dir_fd=at)
    if durable and at is not None:
        _sync_open_directory(at)
    elif durable:
        sync_directory(target.parent)


def remove(path: Path, at: int | None = None) -> None:
    """The file at *path* gone, also when it was gone before."""
    with suppress(FileNotFoundError):
        os.unlink(_name(path, at), dir_fd=at)


def write_file(
    target: Path, data: Buffer, *, durable: bool, private: bool = False, at: int | None = None
) -> None:
    """*target* with exactly *data*, in one step for whoever reads it; *private* keeps it 0600."""
    descriptor, path = create_private(target, at)
    try:
        write_all(descriptor, data, 0)
        if private:
            os.replace(_name(path, at), _name(target, at), src_dir_fd=at, dst_dir_fd=at)
        else:
            publish(descriptor, path, target, durable=durable, at=at)
    except BaseException:
        remove(path, at)
        raise
    finally:
        os.close(descriptor)


def sweep_partial_files(directory: StrPath, older_than: float) -> list[Path]:
    """
    Remove what killed downloads left in *directory*; the removed paths, sorted.

    Only regular files named `.name.<16 hex digits>.part` that nobody wrote to for *older_than* seconds. The
    partial file of a resumable download has another name and stays.
    """
    limit = time.time() - older_than
    removed = []
    for path in Path(directory).iterdir():
        with suppress(FileNotFoundError):
            found = path.lstat()
            if _PARTIAL.fullmatch(path.name) and stat.S_ISREG(found.st_mode) and found.st_mtime <= limit:
                path.unlink()
                removed.append(path)
    return sorted(removed)


def _final_mode(target: Path, at: int | None) -> int:
    with suppress(FileNotFoundError):
        mode = _lstat(target, at).st_mode
        if stat.S_ISREG(mode):
            return mode & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    """The umask of this process, read without changing it where the system shows it (Linux)."""
    with (
        suppress(OSError, ValueError),
        Path("/proc/self/status").open(encoding="ascii", errors="replace") as text,
    ):
        for line in text:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    with _umask_lock:
        current = os.umask(0o077)
        os.umask(current)
    return current
