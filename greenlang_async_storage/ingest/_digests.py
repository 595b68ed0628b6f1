"""Checksums of local files, by whatever algorithm the other side has one."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread
from awscrt import checksums as crt

from greenlang_async_storage import ObjectInfo, S3LocalFileError

from ._entries import Entry, file_state

ALGORITHMS: Final = ("CRC64NVME", "SHA256", "CRC32C", "CRC32", "SHA1", "MD5", "content-hash")
"""What can be compared, the preferred first; all but the last two are S3's own."""
READ_BYTES: Final = 1024 * 1024
HASHING_THREADS: Final = 4


class _Sum(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def text(self) -> str: ...


class _Crc:
    def __init__(self, function: Callable[[memoryview, int], int], size: int) -> None:
        self._function, self._size, self._value = function, size, 0

    def update(self, data: memoryview) -> None:
        self._value = self._function(data, self._value)

    def text(self) -> str:
        return base64.b64encode(self._value.to_bytes(self._size, "big")).decode()


class _Sha:
    def __init__(self, name: str, *, hexadecimal: bool) -> None:
        # They tell contents apart here and protect nothing.
        self._hash, self._hex = hashlib.new(name, usedforsecurity=False), hexadecimal

    def update(self, data: memoryview) -> None:
        self._hash.update(data)

    def text(self) -> str:
        return self._hash.hexdigest() if self._hex else base64.b64encode(self._hash.digest()).decode()


_SUMS: Final[dict[str, Callable[[], _Sum]]] = {
    "CRC64NVME": lambda: _Crc(crt.crc64nvme, 8),
    "CRC32C": lambda: _Crc(crt.crc32c, 4),
    "CRC32": lambda: _Crc(zlib.crc32, 4),
    "SHA256": lambda: _Sha("sha256", hexadecimal=False),
    "SHA1": lambda: _Sha("sha1", hexadecimal=False),
    "MD5": lambda: _Sha("md5", hexadecimal=True),
    "content-hash": lambda: _Sha("sha256", hexadecimal=True),
}


def evidence(info: ObjectInfo) -> dict[str, str]:
    """
    What the store tells of an object's content, by algorithm; empty when nothing can be compared.

    A checksum over the whole object; the ETag of an object sent in one piece, which is its MD5 unless KMS
    encrypts it; the SHA-256 this package's uploads write as metadata `content-hash`. A composite checksum
    needs the sizes of the parts and is not used.
    """
    found: dict[str, str] = {}
    if info.checksum is not None and info.checksum.type == "FULL_OBJECT":
        found[info.checksum.algorithm] = info.checksum.value
    if len(info.etag) == 32 and info.encryption != "aws:kms" and _is_hex(info.etag):
        found["MD5"] = info.etag.lower()
    claimed = info.metadata.get("content-hash", "")
    if len(claimed) == 64 and _is_hex(claimed):
        found["content-hash"] = claimed.lower()
    return {each: found[each] for each in ALGORITHMS if each in found}


def _is_hex(text: str) -> bool:
    return all(char in "0123456789abcdefABCDEF" for char in text)


class FileDigests:
    """Checksums of files below one directory, a few threads at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._limiter = anyio.CapacityLimiter(HASHING_THREADS)
        self.computed = 0
        """Files read so far."""

    async def of(self, entry: Entry, algorithm: str) -> str | None:
        """
        The checksum of the file, as S3 or `evidence` write it; `None` when it is not what was walked.

        Holds 1 MiB. `S3LocalFileError` when it cannot be read. A cancel ends the thread within a block.
        """
        self.computed += 1
        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                _digest,
                self._root / entry.key,
                entry,
                _SUMS[algorithm](),
                stop,
                limiter=self._limiter,
                abandon_on_cancel=True,
            )
        except BaseException:
            stop.set()
            raise


def _digest(path: Path, entry: Entry, total: _Sum, stop: threading.Event) -> str | None:
    try:
        with path.open("rb", buffering=0) as file:
            if _state(file.fileno()) != entry.state:
                return None
            buffer = memoryview(bytearray(max(1, min(READ_BYTES, entry.size))))
            while not stop.is_set() and (count := file.readinto(buffer)):
                total.update(buffer[:count])
            return total.text() if _state(file.fileno()) == entry.state else None
    except OSError as exc:
        raise S3LocalFileError(
            f"cannot read {str(path)!r}: {exc.strerror or exc}",
            errno=exc.errno,
            key=entry.key,
            remedy="Let this process read it, or exclude it.",
        ) from exc


def _state(descriptor: int) -> str:
    found = os.fstat(descriptor)
    return file_state(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
