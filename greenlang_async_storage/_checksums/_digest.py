"""Digests of one part, off the loop when they would hold it up."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final, cast

from greenlang_async_storage._types import ChecksumChoice, PartData

from ._algorithms import CRCS, Crc, compute, encode

MIB: Final = 1024 * 1024
SHA256_THREAD_BYTES: Final = 1 * MIB
"""0.6 ms of work; a hop to a thread costs up to 0.2 ms."""
CRC_THREAD_BYTES: Final = 16 * MIB
"""0.3 ms of work for CRC64NVME, 4 ms for CRC32."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What is known of one part's bytes; `None` where it was not asked for."""

    checksum: str | None
    """Base64, as S3 takes it."""
    crc: int | None
    """The same as a number, for `RangeCrc`; `None` for SHA256."""
    sha256_hex: str | None


async def digest(data: PartData, *, checksum: ChecksumChoice, sha256: bool = False) -> Digest:
    """
    The checksum S3 takes and, with *sha256*, the SHA-256 of *data*, which must not change meanwhile.

    Both in one hop to a thread when SHA-256 covers `SHA256_THREAD_BYTES` or a CRC `CRC_THREAD_BYTES`; else
    at once.
    A cancelled call leaves the thread to finish by itself; it holds nothing but *data*.
    """
    sha_wanted = sha256 or checksum == "SHA256"
    limit = SHA256_THREAD_BYTES if sha_wanted else CRC_THREAD_BYTES
    if isinstance(data, tuple):
        size = sum(memoryview(piece).nbytes for piece in data)
    else:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size < limit or not (sha_wanted or checksum != "none"):
        return _digest(data, checksum, sha256=sha256)
    return await asyncio.to_thread(_digest, data, checksum, sha256=sha256)


def _digest(data: PartData, checksum: ChecksumChoice, *, sha256: bool) -> Digest:
    first, *others = data if isinstance(data, tuple) else (data,)
    sha = hashlib.sha256(first) if sha256 or checksum == "SHA256" else None
    algorithm = cast("Crc", checksum) if checksum in CRCS else None
    crc = compute(algorithm, first) if algorithm else 0
    for piece in others:
        if sha:
            sha.update(piece)
        if algorithm:
            crc = compute(algorithm, piece, crc)
    sha_hex = sha.hexdigest() if sha and sha256 else None
    if algorithm:
        return Digest(encode(algorithm, crc), crc, sha_hex)
    if sha and checksum == "SHA256":
        return Digest(encode("SHA256", int.from_bytes(sha.digest(), "big")), None, sha_hex)
    return Digest(None, None, sha_hex)
