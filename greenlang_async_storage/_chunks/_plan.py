"""How long each part is (S3: "Amazon S3 multipart upload limits")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from greenlang_async_storage._errors import S3InvalidRequestError

MIB: Final = 1024**2
GIB: Final = 1024**3
MIN_PART_BYTES: Final = 5 * MIB
"""Of every part but the last."""
MAX_PART_BYTES: Final = 5 * GIB
MAX_PARTS: Final = 10_000
MAX_OBJECT_BYTES: Final = 5 * 1024 * GIB

GROWTH_AFTER_PARTS: Final = 1_000
"""Streams of unknown length keep equal parts up to here: 7.8 GiB with 8 MiB parts."""
GROWTH_EVERY_PARTS: Final = 900
_GROWTH_STEPS: Final = (MAX_PARTS - GROWTH_AFTER_PARTS) // GROWTH_EVERY_PARTS


def check_part_size(part_size: int) -> None:
    """Return when S3 takes parts of *part_size* bytes; S3InvalidRequestError otherwise."""
    if not MIN_PART_BYTES <= part_size <= MAX_PART_BYTES:
        raise S3InvalidRequestError(
            f"part_size is {part_size} bytes; S3 takes parts of 5 MiB ({MIN_PART_BYTES}) to 5 GiB",
            remedy="Pass part_size=, or set GREENLANG_STORAGE_PART_SIZE, within these limits.",
        )


def plan_part_size(total: int | None, part_size: int) -> int:
    """
    The length of the first part: *part_size*, or its smallest multiple with which *total* fits in 10,000
    parts.

    With an unknown total it is *part_size*; `part_length` tells how later parts grow. S3InvalidRequestError
    for more than 5 TiB, or for a part size S3 does not take.
    """
    check_part_size(part_size)
    if total is None:
        return part_size
    if total < 0:
        raise ValueError(f"total is {total}; pass the number of bytes, or None when it is not known")
    if total > MAX_OBJECT_BYTES:
        raise S3InvalidRequestError(
            f"the object would have {total} bytes; S3 takes at most {MAX_OBJECT_BYTES} (5 TiB)",
            remedy="Store it as several objects.",
        )
    multiple = -(-total // (MAX_PARTS * part_size))
    return part_size * max(multiple, 1)


def part_length(number: int, part_size: int) -> int:
    """
    The length of part *number* (from 1) of a stream whose total is not known.

    *part_size* up to part 1,000; then it doubles every 900 parts, but only as often as 10,000 parts need to
    hold 5 TiB. From 8 MiB that ends at 2 GiB; 100 GiB need parts of 64 MiB.
    """
    if number <= GROWTH_AFTER_PARTS:
        return part_size
    step = (number - GROWTH_AFTER_PARTS - 1) // GROWTH_EVERY_PARTS + 1
    return min(part_size << min(step, _doublings(part_size)), MAX_PART_BYTES)


@lru_cache(maxsize=64)
def _doublings(part_size: int) -> int:
    """How often parts must double for 10,000 of them to hold the largest object."""
    for most in range(_GROWTH_STEPS):
        grown = sum(min(part_size << min(step, most), MAX_PART_BYTES) for step in range(1, _GROWTH_STEPS + 1))
        if GROWTH_AFTER_PARTS * part_size + GROWTH_EVERY_PARTS * grown >= MAX_OBJECT_BYTES:
            return most
    return _GROWTH_STEPS


@dataclass(frozen=True, slots=True)
class PartPlan:
    """The length of each part of one transfer, made by `plan_parts`."""

    part_size: int
    """Bytes of the first part."""
    growing: bool = False
    """Whether parts after the 1,000th are longer."""

    def length(self, number: int) -> int:
        """Bytes of part *number*, from 1, the last part aside. S3InvalidRequestError after 10,000 parts."""
        if number > MAX_PARTS:
            raise self._too_many()
        return part_length(number, self.part_size) if self.growing else self.part_size

    def count(self, total: int) -> int:
        """How many parts *total* bytes make, at least 1 (a part of no bytes)."""
        if not self.growing:
            return max(-(-total // self.part_size), 1)
        number, reached = 1, self.length(1)
        while reached < total:
            number += 1
            reached += self.length(number)
        return number

    def _too_many(self) -> S3InvalidRequestError:
        if self.growing:
            return S3InvalidRequestError(
                f"the stream is longer than {MAX_PARTS} parts can hold (5 TiB)",
                remedy="Store it as several objects.",
            )
        held = MAX_PARTS * self.part_size
        return S3InvalidRequestError(
            f"the stream is longer than {MAX_PARTS} equal parts of {self.part_size} bytes ({held} bytes)",
            remedy="Pass a larger part_size=, or fixed_parts=False so that parts may grow.",
        )


def plan_parts(total: int | None, part_size: int, *, fixed_parts: bool = False) -> PartPlan:
    """
    The plan for *total* bytes, or for a stream when it is `None`.

    Parts of a known total are all equal. Those of a stream grow after part 1,000 unless *fixed_parts*, with
    which asking for part 10,001 raises S3InvalidRequestError.
    """
    return PartPlan(plan_part_size(total, part_size), growing=total is None and not fixed_parts)


def split_range(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of *size* bytes, the last one shorter, that cover *start* to *stop* in order."""
    if size < 1:
        raise ValueError(f"size is {size}; ranges need at least one byte")
    for position in range(start, stop, size):
        yield position, min(position + size, stop)
