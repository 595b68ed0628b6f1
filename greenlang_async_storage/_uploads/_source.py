"""A local file that must not change while it is sent. Everything here blocks: call it in a thread."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from greenlang_async_storage._checksums import CRCS, Crc, Digest, compute, encode
from greenlang_async_storage._errors import S3SourceChangedError
from greenlang_async_storage._local_files import check_path, local_errors, read_into
from greenlang_async_storage._types import ChecksumChoice, StrPath

BLOCK: Final = 512 * 1024
"""Bytes read and then hashed while the processor still has them in its cache."""
HASH_STEP: Final = 64 * 1024 * 1024
"""Bytes hashed in one trip to a thread: what a cancel waits for, some 40 ms."""
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
"""Without O_NONBLOCK a pipe that took the file's place would hold the thread for ever."""


class Fingerprint(NamedTuple):
    """What of a file changes when its content may have."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class WholeDigest:
    """What a pass over a whole file found."""

    sha256_hex: str
    crc: int | None
    """By the algorithm it was asked for; `None` for one that is no CRC."""


class SourceFile:
    """
    One file, opened for this upload alone and read at offsets, so that nobody else's reads move it.

    Every read is followed by a look at the file's identity, size and times: `S3SourceChangedError` when it
    was modified, truncated, renamed over or removed meanwhile. Failures of the system are `S3LocalFileError`.
    """

    def __init__(self, path: StrPath, bucket: str, key: str) -> None:
        self.path = check_path(path)
        self._bucket, self._key = bucket, key
        self._descriptor = -1
        self._fingerprint: Fingerprint | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """Taken when the file was opened."""
        if self._fingerprint is None:
            raise RuntimeError("the source file is not open")
        return self._fingerprint

    @property
    def size(self) -> int:
        """Bytes, when the file was opened."""
        return self.fingerprint.size

    def open(self) -> bool:
        """Whether this is a regular file, which is then open; pipes and devices cannot be read at offsets."""
        with local_errors("read", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            kind = self.path.stat().st_mode
            if stat.S_ISDIR(kind):
                raise IsADirectoryError(errno.EISDIR, "it is a directory")
            if not stat.S_ISREG(kind):
                return False
            self._descriptor = os.open(self.path, _FLAGS)
            self._fingerprint = _fingerprint(os.fstat(self._descriptor))
        return True

    def close(self) -> None:
        """Close the file, when it is open and no thread reads it any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def check(self) -> None:
        """Raise `S3SourceChangedError` unless the open file is what it was when it was opened."""
        now = _fingerprint(os.fstat(self._descriptor))
        if now != self.fingerprint:
            raise self.changed(_difference(self.fingerprint, now))

    def fill(self, view: memoryview, offset: int, checksum: ChecksumChoice, *, sha256: bool) -> Digest:
        """*view* filled with the bytes from *offset* on; their digests, computed in the same thread."""
        digests = _Digests(checksum, sha256=sha256)
        filled = 0
        with local_errors("read", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            while filled < len(view):
                block = view[filled : filled + BLOCK]
                count = read_into(self._descriptor, block, offset + filled)
                filled += count
                if count < len(block):
                    break
                digests.update(block)
            self.check()
        if filled < len(view):
            raise self.changed(f"it ended {len(view) - filled} bytes early")
        return digests.result()

    def read_whole(self, checksum: ChecksumChoice, *, sha256: bool) -> tuple[bytearray, Digest]:
        """All bytes of a small file; notices files that give more than their size says, such as /proc's."""
        data = bytearray(self.size)
        digest = self.fill(memoryview(data), 0, checksum, sha256=sha256)
        with local_errors("read", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
            if os.pread(self._descriptor, 1, self.size):
                raise self.changed(f"there are more bytes than its size of {self.size} says")
        return data, digest

    def hasher(self, checksum: ChecksumChoice) -> Callable[[], WholeDigest | None]:
        """A function to call, each time in a thread, until it gives the digests of the whole file."""
        digests, offset = _Digests(checksum, sha256=True), 0
        buffer = memoryview(bytearray(min(BLOCK, self.size)))

        def step() -> WholeDigest | None:
            nonlocal offset
            stop = min(offset + HASH_STEP, self.size)
            with local_errors("read", self.path, operation="PutObject", bucket=self._bucket, key=self._key):
                while offset < stop:
                    view = buffer[: min(len(buffer), stop - offset)]
                    if read_into(self._descriptor, view, offset) != len(view):
                        raise self.changed("it ended early")
                    digests.update(view)
                    offset += len(view)
                self.check()
            if offset < self.size:
                return None
            found = digests.result()
            return WholeDigest(found.sha256_hex or "", found.crc)

        return step

    def changed(self, how: str) -> S3SourceChangedError:
        """The error that says so."""
        return S3SourceChangedError(
            f"{os.fspath(self.path)!r} changed while it was uploaded: {how}",
            operation="PutObject",
            bucket=self._bucket,
            key=self._key,
        )


class _Digests:
    """What is wanted to be known of bytes that come in blocks."""

    def __init__(self, checksum: ChecksumChoice, *, sha256: bool) -> None:
        self._checksum = checksum
        self._wanted = sha256
        self._sha = hashlib.sha256() if sha256 or checksum == "SHA256" else None
        self._crc: Crc | None = cast("Crc", checksum) if checksum in CRCS else None
        self._value = 0

    def update(self, block: memoryview) -> None:
        """Take in the next bytes."""
        if self._sha is not None:
            self._sha.update(block)
        if self._crc is not None:
            self._value = compute(self._crc, block, self._value)

    def result(self) -> Digest:
        """The digests of all of them."""
        sha_hex = self._sha.hexdigest() if self._sha is not None else None
        wanted = sha_hex if self._wanted else None
        if self._crc is not None:
            return Digest(encode(self._crc, self._value), self._value, wanted)
        if self._checksum == "SHA256" and sha_hex is not None:
            return Digest(encode("SHA256", int(sha_hex, 16)), None, wanted)
        return Digest(None, None, wanted)


def _fingerprint(found: os.stat_result) -> Fingerprint:
    return Fingerprint(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _difference(before: Fingerprint, now: Fingerprint) -> str:
    if before.size != now.size:
        return f"its size went from {before.size} to {now.size} bytes"
    if before.modified_ns != now.modified_ns:
        return "it was written to"
    return "it was replaced, removed, or its attributes changed"
