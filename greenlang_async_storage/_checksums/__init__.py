"""Checksums as S3 defines them ("Checking object integrity"): computed, combined, read from replies."""

from __future__ import annotations

from ._algorithms import CRCS, Crc, Hasher, checksum_of, compute, encode
from ._combine import RangeCrc, combine
from ._digest import CRC_THREAD_BYTES, SHA256_THREAD_BYTES, Digest, digest
from ._stored import composite, part_count, stored_checksum

__all__ = [
    "CRCS",
    "CRC_THREAD_BYTES",
    "SHA256_THREAD_BYTES",
    "Crc",
    "Digest",
    "Hasher",
    "RangeCrc",
    "checksum_of",
    "combine",
    "composite",
    "compute",
    "digest",
    "encode",
    "part_count",
    "stored_checksum",
]
