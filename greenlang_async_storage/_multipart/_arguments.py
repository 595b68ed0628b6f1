"""Checksums under the names S3's requests have for them."""

from __future__ import annotations

from typing import Literal, TypedDict

from greenlang_async_storage._checksums import Digest
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._payload import UNSIGNED
from greenlang_async_storage._types import Buffer, ChecksumChoice, PartData


class ChecksumArgs(TypedDict, total=False):
    """The checksum of one request's bytes, or of the object Complete makes; empty when none is sent."""

    ChecksumCRC64NVME: str
    ChecksumCRC32: str
    ChecksumCRC32C: str
    ChecksumSHA1: str
    ChecksumSHA256: str


class _AlgorithmArgs(TypedDict, total=False):
    ChecksumAlgorithm: Literal["CRC64NVME", "CRC32", "SHA256"]
    ChecksumType: Literal["FULL_OBJECT"]


def checksum_args(algorithm: ChecksumChoice, value: str | None) -> ChecksumArgs:
    """*value* (base64) under the name S3 wants for *algorithm*."""
    match algorithm:
        case _ if value is None:
            return {}
        case "CRC64NVME":
            return {"ChecksumCRC64NVME": value}
        case "CRC32":
            return {"ChecksumCRC32": value}
        case "SHA256":
            return {"ChecksumSHA256": value}
        case _:
            return {}


def body_of(conn: Connection, data: PartData, digest: Digest) -> Buffer:
    """
    `Body=` for *data*.

    Its SHA-256 is part of the signature where it is known, and always over plain http, where it alone keeps
    others from changing the body on its way. Over https TLS does that, and S3 compares the checksum, so no
    SHA-256 is computed for the signature alone.
    """
    signature = digest.sha256_hex
    if signature is None and digest.checksum is not None and not conn.signs_payload:
        signature = UNSIGNED
    return conn.payload(data, signature)


def algorithm_args(algorithm: ChecksumChoice) -> _AlgorithmArgs:
    """What CreateMultipartUpload is told of the parts to come."""
    match algorithm:
        case "CRC64NVME" | "CRC32":
            return {"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"}
        case "SHA256":  # S3 offers it for multipart objects as COMPOSITE only
            return {"ChecksumAlgorithm": algorithm}
        case _:
            return {}
