"""One interface over the five algorithms S3 stores."""

from __future__ import annotations

import hashlib
import zlib
from binascii import b2a_base64
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from awscrt import checksums as crt

from greenlang_async_storage._types import Buffer, ChecksumAlgorithm

Crc: TypeAlias = Literal["CRC64NVME", "CRC32", "CRC32C"]
"""The algorithms whose value for a whole follows from the values of its pieces."""

CrcFunction: TypeAlias = Callable[[Buffer, int], int]

# zlib's CRC32 is 1.5 times as fast as awscrt's; for the other two awscrt has no rival.
_CRC_FUNCTIONS: Final[dict[str, CrcFunction]] = {
    "CRC64NVME": crt.crc64nvme,
    "CRC32C": crt.crc32c,
    "CRC32": zlib.crc32,
}
CRCS: Final[frozenset[str]] = frozenset(_CRC_FUNCTIONS)
DIGEST_BYTES: Final[dict[str, int]] = {"CRC64NVME": 8, "CRC32": 4, "CRC32C": 4, "SHA256": 32, "SHA1": 20}


def compute(algorithm: Crc, data: Buffer, start: int = 0) -> int:
    """The CRC of *data*, going on from the CRC *start* of what came before it."""
    return _CRC_FUNCTIONS[algorithm](data, start)


def encode(algorithm: ChecksumAlgorithm, value: int) -> str:
    """*value* as S3 writes it: base64 of the big-endian bytes."""
    return b2a_base64(value.to_bytes(DIGEST_BYTES[algorithm], "big"), newline=False).decode("ascii")


def checksum_of(algorithm: ChecksumAlgorithm, data: Buffer) -> str:
    """The checksum of *data* as S3 writes it, computed in the calling thread."""
    function = _CRC_FUNCTIONS.get(algorithm)
    if function is not None:
        return encode(algorithm, function(data, 0))
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.base64()


class Hasher:
    """
    The checksum of everything given to `update`, in order.

    Works in the calling thread: 0.02 ms/MiB for CRC64NVME and CRC32C, 0.25 for CRC32, 0.6 for the SHAs.
    """

    __slots__ = ("_crc", "_crc_function", "_sha", "algorithm", "size")

    def __init__(self, algorithm: ChecksumAlgorithm) -> None:
        if algorithm not in DIGEST_BYTES:
            known = ", ".join(DIGEST_BYTES)
            raise ValueError(f"unknown checksum algorithm {algorithm!r}; use one of {known}")
        self.algorithm: Final[ChecksumAlgorithm] = algorithm
        self.size = 0
        """Bytes seen so far."""
        self._crc = 0
        self._crc_function = _CRC_FUNCTIONS.get(algorithm)
        # SHA-1 detects damage here and nothing more.
        self._sha = None if self._crc_function else hashlib.new(algorithm, usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        if self._crc_function is not None:
            self._crc = self._crc_function(data, self._crc)
        elif self._sha is not None:
            self._sha.update(data)
        self.size += data.nbytes if isinstance(data, memoryview) else len(data)

    @property
    def value(self) -> int:
        """The checksum as an unsigned integer; for a CRC, what `combine` and `RangeCrc` take."""
        return self._crc if self._sha is None else int.from_bytes(self._sha.digest(), "big")

    def digest(self) -> bytes:
        """The checksum as big-endian bytes."""
        return self.value.to_bytes(DIGEST_BYTES[self.algorithm], "big")

    def base64(self) -> str:
        """The checksum as S3 writes it."""
        return encode(self.algorithm, self.value)
