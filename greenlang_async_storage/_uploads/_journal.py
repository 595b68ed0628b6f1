"""
The journal of a resumable upload: a small private JSON file from which another process can go on.

It names the open upload and what it was made for. S3 keeps the parts; the journal repeats their checksums for
stores that do not list them. Its functions block: call them in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from greenlang_async_storage._errors import S3InvalidRequestError, S3LocalFileError
from greenlang_async_storage._local_files import (
    check_path,
    create_private,
    local_errors,
    open_private,
    write_all,
)
from greenlang_async_storage._options import WriteRequest
from greenlang_async_storage._types import ChecksumChoice, MultipartUpload, StrPath, UploadedPart

from ._source import Fingerprint

VERSION: Final = 1
LOCK_TRIES: Final = 8
MAX_BYTES: Final = 8 * 1024 * 1024
"""Ten thousand parts take about 1 MiB; what is larger is no journal."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What must be the same for an upload to go on."""

    source: Fingerprint
    part_size: int
    checksum: ChecksumChoice
    options: str
    """Digest of all write options."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a journal holds."""

    upload: MultipartUpload
    recipe: Recipe
    whole_crc: int | None
    """CRC of the file, found while it was hashed."""
    parts: dict[int, UploadedPart] = field(default_factory=dict)


def options_digest(write: WriteRequest) -> str:
    """Equal for equal write options, without showing any of them."""
    options = {**write.create_args(), **write.complete_args()}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


class Journal:
    """One journal file, which belongs to the upload of one key and, while it is locked, to one caller."""

    def __init__(self, path: StrPath, bucket: str, key: str) -> None:
        self.path: Final[Path] = check_path(path)
        self._bucket, self._key = bucket, key
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._descriptor = -1

    def lock(self) -> None:
        """
        Keep other uploads, of this process too, from going on with the same parts.

        `S3LocalFileError` (EAGAIN) while one does.
        """
        with local_errors("lock", self._lock_path, operation="PutObject", bucket=self._bucket, key=self._key):
            for _ in range(LOCK_TRIES):
                descriptor = open_private(self._lock_path)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Between open and lock the other one may have ended and removed the file.
                    with suppress(FileNotFoundError):
                        if self._lock_path.lstat().st_ino == os.fstat(descriptor).st_ino:
                            self._descriptor = descriptor
                            return
                except BlockingIOError:
                    break
                finally:
                    if self._descriptor != descriptor:
                        os.close(descriptor)
        raise S3LocalFileError(
            f"another upload with the journal {os.fspath(self.path)!r} is under way",
            errno=errno.EAGAIN,
            operation="PutObject",
            bucket=self._bucket,
            key=self._key,
            remedy="Wait for it to end, or pass another path as resume=.",
        )

    def unlock(self) -> None:
        """Let others go on; also when it was not locked."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._lock_path.unlink(missing_ok=True)
            os.close(descriptor)

    def load(self) -> Entry | None:
        """
        What the file says, `None` when there is none.

        `S3InvalidRequestError` when it is another object's journal, or no journal: neither is overwritten.
        """
        with local_errors("read", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            try:
                with self.path.open("rb") as file:
                    text = file.read(MAX_BYTES + 1)
            except FileNotFoundError:
                return None
        try:
            entry = _parse(text)
        except (ValueError, TypeError, KeyError) as exc:
            raise self._refuse("is no journal of an upload") from exc
        if (entry.upload.bucket, entry.upload.key) != (self._bucket, self._key):
            raise self._refuse(f"is the journal of s3://{entry.upload.bucket}/{entry.upload.key}")
        return entry

    def save(self, entry: Entry) -> None:
        """The file with exactly *entry*, also after a power loss; only its owner may read it."""
        text = json.dumps({"version": VERSION, **asdict(entry)}, separators=(",", ":")).encode()
        with local_errors("write", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            descriptor, temporary = create_private(self.path)
            try:
                write_all(descriptor, text, 0)
                os.fsync(descriptor)
                temporary.replace(self.path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """The file gone, also when it was gone before."""
        with local_errors("remove", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            self.path.unlink(missing_ok=True)

    def _refuse(self, what: str) -> S3InvalidRequestError:
        return S3InvalidRequestError(
            f"{os.fspath(self.path)!r} {what}",
            operation="PutObject",
            bucket=self._bucket,
            key=self._key,
            remedy="Pass another path as resume=, one for each object, or remove that file.",
        )


def _parse(text: bytes) -> Entry:
    facts = json.loads(text)
    if facts.pop("version") != VERSION:
        raise ValueError("of another version")
    recipe = facts["recipe"]
    return Entry(
        upload=MultipartUpload(**facts["upload"]),
        recipe=Recipe(**{**recipe, "source": Fingerprint(*recipe["source"])}),
        whole_crc=facts["whole_crc"],
        parts={int(number): UploadedPart(**part) for number, part in facts["parts"].items()},
    )
