"""What carries one action out, for each direction, and what of it the journal may remember."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from greenlang_async_storage import (
    Bucket,
    Checksum,
    Progress,
    S3AccessDeniedError,
    S3Error,
    S3LocalFileError,
    S3NotFoundError,
    UploadResult,
    WriteOptions,
)

from ._budget import LARGE, PARTS
from ._digests import FileDigests, evidence
from ._entries import Entry, file_state, is_settled
from ._resume import OpenUploads
from ._store import Known, Planned

OnBytes = Callable[[int], None]
"""Gets the bytes that moved since the last call."""


class Sent(NamedTuple):
    """A finished transfer."""

    size: int
    known: Known | None


class Sender(Protocol):
    """One direction of a plan."""

    async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
        """Carry out one transfer; returns when the target has it."""
        ...

    async def delete(self, actions: Sequence[Planned]) -> dict[int, S3Error]:
        """Delete from the target; the failures by their place in the plan."""
        ...

    async def finish(self) -> None:
        """Tidy up after a run that left nothing to do."""
        ...

    def path(self, key: str) -> Path | None:
        """The local file of *key*."""
        ...


class Uploader:
    """Files to objects."""

    def __init__(
        self,
        root: Path,
        view: Bucket,
        *,
        follow: bool,
        options: WriteOptions,
        uploads: OpenUploads | None,
    ) -> None:
        self._root, self._view = root, view
        self._follow = follow
        self._options = options
        self._uploads = uploads

    def path(self, key: str) -> Path:
        """The local file of *key*."""
        return self._root / key

    async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
        """The file, whole and unchanged meanwhile, or an error."""
        path = self.path(action.key)
        if action.size >= LARGE:
            result = await self._send_large(action.key, path, on_bytes)
        else:
            result = await self._view.upload_file(action.key, path, **self._options)
            on_bytes(result.size)
        # Unchanged from the walk until now, so what was sent is what the walk saw.
        state, _ = await asyncio.to_thread(_state_of, path, follow=self._follow)
        source = state if state == action.source else ""
        return Sent(result.size, _known(action.key, source, result.etag, result.checksum))

    async def _send_large(self, key: str, path: Path, on_bytes: OnBytes) -> UploadResult:
        """In parts; with a journal, where a killed run stopped. A cancel gives the upload up."""
        resume = None if self._uploads is None else await self._uploads.file_for(key)
        try:
            return await self._view.upload_file(
                key,
                path,
                concurrency=PARTS,
                on_progress=_steps(on_bytes),
                resume=resume,
                **self._options,
            )
        except asyncio.CancelledError:
            if self._uploads is not None and resume is not None:
                await self._uploads.give_up(resume)
            raise

    async def delete(self, actions: Sequence[Planned]) -> dict[int, S3Error]:
        """1,000 keys a request."""
        return await delete_objects(self._view, actions)

    async def finish(self) -> None:
        """Uploads of a killed run that no file needs any more are aborted."""
        if self._uploads is not None:
            await self._uploads.sweep()


class Downloader:
    """Objects to files that never lie outside the directory."""

    def __init__(self, view: Bucket, root: Path) -> None:
        self._view, self._root = view, root
        self._digests = FileDigests(root)

    def path(self, key: str) -> Path:
        """The local file of *key*."""
        return self._root / key

    async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
        """The object, verified and renamed into place, unless the file there is not the planned one."""
        path = self.path(action.key)
        before, _ = await asyncio.to_thread(_state_of, path, follow=False)
        if before != action.target:
            if not await self._is_there(Entry(action.key, action.size, before)):
                raise _local_change(path, action.key)
            return Sent(0, None)
        # The batch call has the rules that keep keys within a directory; its concurrency divides the parts.
        width = 2 if action.size >= LARGE else 8
        report = await self._view.download_many([action.key], self._root, concurrency=width)
        report.raise_for_errors()
        info = report.succeeded[0].result
        assert info is not None  # noqa: S101  # it succeeded
        on_bytes(info.size)
        after, settled = await asyncio.to_thread(_state_of, path, follow=False)
        known = _known(action.key, info.etag, after if settled else "", info.checksum)
        return Sent(info.size, known)

    async def _is_there(self, file: Entry) -> bool:
        """Whether the file is what was to come, as after a run cancelled before it could note it."""
        if not file.state:
            return False
        told = evidence(await self._view.head(file.key))
        return any([await self._digests.of(file, algorithm) == told[algorithm] for algorithm in told])

    async def delete(self, actions: Sequence[Planned]) -> dict[int, S3Error]:
        """Files that are still what they were when the plan was made."""
        return await asyncio.to_thread(_delete_files, self._root, actions)

    async def finish(self) -> None:
        """Nothing is left open."""


class Copier:
    """Objects to objects: inside the store where one session reaches both, else streamed through here."""

    def __init__(self, source: Bucket, target: Bucket, *, inside: tuple[Bucket, str, str] | None) -> None:
        self._source, self._target = source, target
        self._inside = inside
        """The bucket that copies, and both prefixes as it names them; `None` to stream."""

    def path(self, key: str) -> None:
        """None: there is no file."""

    async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
        """The object with its metadata and content headers, and its tags where they may be read."""
        if self._inside is None:
            return await self._stream(action, on_bytes)
        bucket, source, target = self._inside
        result = await bucket.copy(
            f"{source}{action.key}", f"{target}{action.key}", source_bucket=self._source.name
        )
        on_bytes(result.size)
        return Sent(result.size, _known(action.key, await self._still(action), result.etag, result.checksum))

    async def _still(self, action: Planned) -> str:
        """The state of the source, unless it was replaced since the plan was made."""
        try:
            info = await self._source.head(action.key)
        except (S3NotFoundError, S3AccessDeniedError):
            return ""
        return info.etag if info.etag == action.source else ""

    async def _stream(self, action: Planned, on_bytes: OnBytes) -> Sent:
        key = action.key
        async with self._source.open_download(key) as body:
            info = body.info
            options: WriteOptions = {
                "metadata": info.metadata,
                "content_type": info.content_type,
                "content_disposition": info.content_disposition,
                "cache_control": info.cache_control,
                "tags": await self._tags(key),
            }
            chunks = (chunk async for chunk in body)
            result = await self._target.upload_stream(
                key, chunks, concurrency=PARTS, on_progress=_steps(on_bytes), **options
            )
        return Sent(result.size, _known(key, info.etag, result.etag, result.checksum))

    async def _tags(self, key: str) -> dict[str, str]:
        try:
            return await self._source.get_tags(key)
        except S3AccessDeniedError:
            return {}

    async def delete(self, actions: Sequence[Planned]) -> dict[int, S3Error]:
        """1,000 keys a request."""
        return await delete_objects(self._target, actions)

    async def finish(self) -> None:
        """Nothing is left open."""


async def delete_objects(view: Bucket, actions: Sequence[Planned]) -> dict[int, S3Error]:
    """Delete objects, 1,000 a request; the failures by their place in the plan."""
    report = await view.delete_many([action.key for action in actions])
    return {actions[each.index].seq: each.error for each in report.failed if each.error is not None}


def _known(key: str, source: str, target: str, checksum: Checksum | None) -> Known:
    if checksum is None or checksum.type != "FULL_OBJECT":
        return Known(key, source, target, "", "")
    return Known(key, source, target, checksum.algorithm, checksum.value)


def _steps(on_bytes: OnBytes) -> Callable[[Progress], None]:
    """A progress hook that passes on what came since its last call."""
    told = 0

    def hook(progress: Progress) -> None:
        nonlocal told
        on_bytes(progress.done - told)
        told = progress.done

    return hook


def _state_of(path: Path, *, follow: bool) -> tuple[str, bool]:
    """The state of the file at *path*, empty for none, and whether it is settled."""
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return "", False
    times = found.st_mtime_ns, found.st_ctime_ns
    return file_state(found.st_size, *times, found.st_ino), is_settled(*times)


def _delete_files(root: Path, actions: Sequence[Planned]) -> dict[int, S3Error]:
    failed: dict[int, S3Error] = {}
    for action in actions:
        path = root / action.key
        try:
            if not _unlink(root, action.key.split("/"), action.target):
                failed[action.seq] = _local_change(path, action.key)
        except FileNotFoundError:
            continue
        except OSError as exc:
            failed[action.seq] = S3LocalFileError(
                f"cannot delete {str(path)!r}: {exc.strerror or exc}", errno=exc.errno, key=action.key
            )
    return failed


def _unlink(root: Path, parts: Sequence[str], state: str) -> bool:
    """Whether the file was the planned one and is gone; no folder on the way may be a symlink."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, flags & ~os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = below
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        now = file_state(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if not stat.S_ISREG(found.st_mode) or now != state:
            return False
        os.unlink(parts[-1], dir_fd=folder)
    finally:
        os.close(folder)
    return True


def _local_change(path: Path, key: str) -> S3Error:
    return S3LocalFileError(
        f"{str(path)!r} is not what it was when the plan was made; it was left alone",
        key=key,
        remedy="Make a new plan.",
    )
