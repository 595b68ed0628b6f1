"""What the simulated client keeps, how it looks in replies, and how S3 refuses."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from greenlang_async_storage.testing import Fault

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
Reply = dict[str, Any]


@dataclass(slots=True)
class Stored:
    """One object."""

    data: bytes
    etag: str
    metadata: dict[str, str]
    checksum: str | None
    """Base64 CRC32 of all of it, where the writer gave one."""


@dataclass(slots=True)
class Opened:
    """One open multipart upload."""

    key: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


def refusal(status: int, code: str, operation: str, headers: Mapping[str, str] | None = None) -> ClientError:
    """S3's error reply, as botocore raises it."""
    meta = {"HTTPStatusCode": status, "HTTPHeaders": dict(headers or {}), "RequestId": "R1"}
    return ClientError({"Error": {"Code": code, "Message": "planned"}, "ResponseMetadata": meta}, operation)


def facts_of(found: Stored, *, whole: bool) -> Reply:
    """What a reply tells of an object; *whole* when it carries all of it."""
    facts: Reply = {"ETag": f'"{found.etag}"', "LastModified": EPOCH, "Metadata": dict(found.metadata)}
    if whole and found.checksum is not None:
        facts |= {"ChecksumCRC32": found.checksum, "ChecksumType": "FULL_OBJECT"}
    return facts


def span_of(text: str | None, size: int) -> tuple[int, int]:
    """The bytes a `Range` asks for, half-open; 416 when there are none."""
    if text is None:
        return 0, size
    first, _, last = text.removeprefix("bytes=").partition("-")
    if int(first) >= size:
        raise refusal(416, "InvalidRange", "GetObject")
    return int(first), min(int(last) + 1 if last else size, size)


def verify(body: bytes, args: Mapping[str, Any]) -> None:
    """Refuse a body that is not what its checksum says."""
    if args.get("ChecksumCRC32", crc32(body)) != crc32(body):
        raise refusal(400, "BadDigest", "PutObject")


def flipped(body: bytes, faults: Sequence[Fault]) -> bytes:
    """*body* with the bits of one byte turned around per `flip`."""
    flips = [fault.at for fault in faults if fault.action == "flip"]
    if not flips or not body:
        return body
    damaged = bytearray(body)
    for at in flips:
        damaged[at % len(damaged)] ^= 0xFF
    return bytes(damaged)


def crc32(data: bytes) -> str:
    """CRC32 in base64, as S3 writes it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    """MD5 in hex, of which ETags are made."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
