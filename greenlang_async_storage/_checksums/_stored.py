"""What a reply of S3 says about the checksum of an object."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Final

from greenlang_async_storage._types import Checksum, ChecksumAlgorithm, ChecksumType

from ._algorithms import Hasher

# Those that combine over ranges come first: with them a parallel download can be verified as a whole.
_BY_PREFERENCE: Final[tuple[tuple[str, ChecksumAlgorithm], ...]] = (
    ("ChecksumCRC64NVME", "CRC64NVME"),
    ("ChecksumCRC32C", "CRC32C"),
    ("ChecksumCRC32", "CRC32"),
    ("ChecksumSHA256", "SHA256"),
    ("ChecksumSHA1", "SHA1"),
)


def stored_checksum(reply: Mapping[str, object]) -> Checksum | None:
    """
    The most useful checksum in *reply*, of HeadObject, GetObject (both with `ChecksumMode`) or a write.

    A value over the whole object goes before a composite one. `None` when there is none, as for objects
    written without. Where a store leaves out `ChecksumType`, the form of the value tells it. In the reply to
    a ranged GET the fields describe a part at best, never the object: do not pass such a reply.
    """
    stated = reply.get("ChecksumType")
    found: Checksum | None = None
    for name, algorithm in _BY_PREFERENCE:
        value = reply.get(name)
        if not isinstance(value, str) or not value:
            continue
        composite_form = stated == "COMPOSITE" or "-" in value
        kind: ChecksumType = "COMPOSITE" if composite_form else "FULL_OBJECT"
        if kind == "FULL_OBJECT":
            return Checksum(algorithm, value, kind)
        found = found or Checksum(algorithm, value, kind)
    return found


def part_count(checksum: Checksum) -> int | None:
    """The N of a composite value `…-N`: how many parts it covers; `None` for a whole object's value."""
    _, dash, count = checksum.value.rpartition("-")
    return int(count) if dash and count.isascii() and count.isdigit() else None


def composite(algorithm: ChecksumAlgorithm, parts: Iterable[str]) -> str:
    """
    The composite value `…-N` of an object from the base64 checksums of its parts, in order.

    It is the checksum of the parts' checksums, as raw bytes, one after the other (S3: "Checking object
    integrity", composite checksums). ValueError for a part that is not base64.
    """
    whole = Hasher(algorithm)
    count = 0
    for part in parts:
        whole.update(base64.b64decode(part, validate=True))
        count += 1
    return f"{whole.base64()}-{count}"
