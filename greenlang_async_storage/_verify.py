"""
Bytes that were read against the checksum S3 stored for them.

A value over the whole object (FULL_OBJECT) is recomputed as it is. A COMPOSITE one covers the checksums of
the parts, so it is recomputed part by part; where the parts began is asked of S3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from ._checksums import CRC_THREAD_BYTES, CRCS, SHA256_THREAD_BYTES, Hasher, checksum_of, composite
from ._connection import Connection
from ._errors import S3Error, S3IntegrityError
from ._info import unquoted
from ._local_files import in_thread
from ._ranges import Pin, version_args
from ._types import Buffer, Checksum

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import GetObjectAttributesOutputTypeDef

HOP: Final = 8 * 1024 * 1024
"""Bytes read and hashed in one trip to a thread: a cancel waits no longer than that takes."""
MAX_HEADS: Final = 64
"""Parts asked for one by one where the store does not list them."""
_PAGE: Final = 1000


class Check:
    """One stored checksum, recomputed from the object's bytes as they come, in order."""

    __slots__ = ("_current", "_done", "_left", "_sizes", "checksum")

    def __init__(self, checksum: Checksum, sizes: Sequence[int] = ()) -> None:
        self.checksum = checksum
        self._current = Hasher(checksum.algorithm)
        self._done: list[str] = []
        self._sizes = iter(sizes)
        self._left = next(self._sizes, 0)
        if not self._left and sizes:
            self._next_part()

    def update(self, data: Buffer) -> None:
        """Take in the next bytes, in the calling thread."""
        if self.checksum.type == "FULL_OBJECT":
            self._current.update(data)
            return
        view = memoryview(data)
        while view:
            piece, view = view[: self._left], view[self._left :]
            self._current.update(piece)
            self._left -= len(piece)
            if not self._left and not self._next_part():
                self._current.update(view)
                return

    def matches(self) -> bool:
        """Whether the bytes so far are those the checksum was made of."""
        if self.checksum.type == "FULL_OBJECT":
            return self._current.base64() == self.checksum.value
        return composite(self.checksum.algorithm, self._done) == self.checksum.value

    def _next_part(self) -> bool:
        """Close the part that is complete; whether another one follows. Parts of no bytes close at once."""
        while not self._left:
            self._done.append(self._current.base64())
            self._current = Hasher(self.checksum.algorithm)
            following = next(self._sizes, None)
            if following is None:
                return False
            self._left = following
        return True


def matches_at_once(checksum: Checksum, data: bytes) -> bool:
    """Whether *data* is what *checksum* was made of; False as well where telling needs parts or a thread."""
    algorithm = checksum.algorithm
    limit = CRC_THREAD_BYTES if algorithm in CRCS else SHA256_THREAD_BYTES
    if checksum.type != "FULL_OBJECT" or len(data) >= limit:
        return False
    return checksum_of(algorithm, data) == checksum.value


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is needed to verify one object: the connection, which object, and its stored checksum."""

    conn: Connection
    pin: Pin
    checksum: Checksum | None

    async def check(self) -> Check | None:
        """
        A fresh `Check` of the whole object; `None` where its checksum is missing or cannot be recomputed.

        Asks S3 for the parts of a COMPOSITE value, so the caller must hold no slot.
        """
        if self.checksum is None:
            return None
        if self.checksum.type == "FULL_OBJECT":
            return Check(self.checksum)
        sizes = await self._part_sizes()
        return None if sizes is None else Check(self.checksum, sizes)

    async def data(self, data: bytes) -> bool:
        """Whether *data*, the whole object, was verified; `S3IntegrityError` when it is damaged."""
        check = await self.check()
        if check is None:
            return False
        limit = CRC_THREAD_BYTES if check.checksum.algorithm in CRCS else SHA256_THREAD_BYTES
        if len(data) < limit:
            check.update(data)
        else:
            await in_thread(lambda: check.update(data))
        self.demand(matches=check.matches())
        return True

    async def file(self, read: Callable[[memoryview, int], int]) -> bool:
        """The same for a local file; `read(view, offset)` fills *view* from it, in a thread."""
        check = await self.check()
        if check is None:
            return False
        view = memoryview(bytearray(min(HOP, max(self.pin.size, 1))))

        def step(offset: int) -> None:
            check.update(view[: read(view, offset)])

        for offset in range(0, self.pin.size, HOP):
            await in_thread(partial(step, offset))
        self.demand(matches=check.matches())
        return True

    def demand(self, *, matches: bool) -> None:
        """Raise a retryable `S3IntegrityError` unless the bytes matched."""
        if matches or self.checksum is None:
            return
        raise S3IntegrityError(
            f"the bytes do not match the stored {self.checksum.algorithm} checksum {self.checksum.value}",
            operation="GetObject",
            bucket=self.pin.bucket,
            key=self.pin.key,
            code="ChecksumMismatch",
            retryable=True,
        )

    def missing(self) -> S3IntegrityError:
        """The error for a caller who insists on a checksum."""
        stored = (
            f"a {self.checksum.algorithm} checksum of parts it does not list" if self.checksum else "none"
        )
        return S3IntegrityError(
            f'verify="require" needs a stored checksum of the object, and the store has {stored}',
            operation="GetObject",
            bucket=self.pin.bucket,
            key=self.pin.key,
            code="ChecksumMissing",
            remedy='Upload it again with GREENLANG_STORAGE_CHECKSUM set, or pass verify="if-available".',
        )

    async def _part_sizes(self) -> list[int] | None:
        """The bytes of each part, in order; `None` where the store does not tell."""
        _, _, count = (self.checksum.value if self.checksum else "").rpartition("-")
        if not count.isdigit():
            return None
        try:
            sizes = await self._listed_sizes() or await self._asked_sizes(int(count))
        except S3Error as exc:
            if exc.retryable:
                raise
            return None
        return sizes if len(sizes) == int(count) and sum(sizes) == self.pin.size else None

    async def _listed_sizes(self) -> list[int]:
        """From GetObjectAttributes; empty where the store or the caller's permissions do not have it."""
        sizes: list[int] = []
        marker = 0
        while True:
            try:
                reply = await self._attributes(marker)
            except S3Error as exc:
                if exc.retryable:
                    raise
                return []
            listed = reply.get("ObjectParts")
            if not listed or unquoted(reply.get("ETag")) != self.pin.etag:
                return []
            sizes += [part["Size"] for part in listed.get("Parts", ())]
            following = listed.get("NextPartNumberMarker", 0)
            if not listed.get("IsTruncated") or following <= marker:
                return sizes
            marker = following

    async def _asked_sizes(self, count: int) -> list[int]:
        """From one HeadObject per part, which stores answer that do not list parts."""
        if count > MAX_HEADS:
            return []
        return [await self._part_size(number) for number in range(1, count + 1)]

    async def _attributes(self, marker: int) -> GetObjectAttributesOutputTypeDef:
        pin = self.pin
        return await self.conn.call(
            "GetObjectAttributes",
            lambda s3: s3.get_object_attributes(
                Bucket=pin.bucket,
                Key=pin.key,
                ObjectAttributes=["ETag", "ObjectParts"],
                MaxParts=_PAGE,
                PartNumberMarker=marker,
                **version_args(pin.version_id),
                **self.conn.owner,
            ),
            bucket=pin.bucket,
            key=pin.key,
        )

    async def _part_size(self, number: int) -> int:
        pin = self.pin
        head = await self.conn.call(
            "HeadObject",
            lambda s3: s3.head_object(
                Bucket=pin.bucket,
                Key=pin.key,
                PartNumber=number,
                **version_args(pin.version_id),
                **self.conn.owner,
            ),
            bucket=pin.bucket,
            key=pin.key,
        )
        return head["ContentLength"]
