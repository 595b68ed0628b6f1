"""Uploads in parts that a killed run left open: gone on with by the next one, or given up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path

from greenlang_async_storage import Bucket, MultipartUpload, S3Error, S3NotFoundError

from ._threads import through_cancels

_log = logging.getLogger("greenlang_async_storage.ingest")


class OpenUploads:
    """The folder beside a journal with one small file for each upload in parts that is not finished."""

    def __init__(self, folder: Path, view: Bucket) -> None:
        self._folder = folder
        self._view = view

    async def file_for(self, key: str) -> Path:
        """The `resume=` file of *key*; its folder exists."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    async def give_up(self, file: Path) -> None:
        """Abort the upload of *file*, also while the caller is being cancelled; else it stays for later."""
        await through_cancels(self._abort(file))

    async def sweep(self) -> None:
        """Give up what nobody will go on with, as its source is gone: after a run that left nothing to do."""
        for file in await asyncio.to_thread(_files, self._folder):
            await self._abort(file)
        await asyncio.to_thread(_remove, self._folder)

    async def _abort(self, file: Path) -> None:
        upload = await asyncio.to_thread(_read, file)
        if upload is None:
            return
        # The file has the whole key, as `create_multipart` gives it.
        try:
            await self._view.abort_multipart(upload)
        except S3NotFoundError:
            pass
        except S3Error as error:
            _log.warning("upload %s of %r was not aborted: %s", upload.upload_id, upload.key, error)
            return
        await asyncio.to_thread(file.unlink, missing_ok=True)


def _read(file: Path) -> MultipartUpload | None:
    """The upload a file of `upload_file(resume=…)` names; `None` where there is none."""
    try:
        return MultipartUpload(**json.loads(file.read_bytes())["upload"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _remove(folder: Path) -> None:
    """The folder, unless an upload is left in it."""
    if folder.is_dir() and not _files(folder):
        for lock in folder.glob(".*.lock"):
            lock.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
