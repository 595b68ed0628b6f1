"""
The CRC of a whole from the CRCs of its pieces.

A CRC is a polynomial over GF(2) modulo P, so appending n bytes multiplies it by x^(8n):
``crc(A + B) = crc(A) * x^(8 * len(B)) + crc(B)``. The initial and final inversions of the three CRCs here
cancel out. Polynomials are held "reflected": the highest bit is x^0.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import Final, NamedTuple

from ._algorithms import Crc

CACHED_LENGTHS: Final = 4096
LENGTH_BITS: Final = 64
"""Lengths up to 2^64 bytes."""


class _Field(NamedTuple):
    """Polynomials modulo *polynomial* (reflected, without its top term); *one* is x^0."""

    polynomial: int
    one: int

    def multiply(self, left: int, right: int) -> int:
        """The product of two reflected polynomials."""
        polynomial, term = self
        product = 0
        while left:
            if left & term:
                product ^= right
                left ^= term
            term >>= 1
            right = right >> 1 ^ polynomial if right & 1 else right >> 1
        return product


_FIELDS: Final[dict[str, _Field]] = {
    "CRC64NVME": _Field(0x9A6C9329AC4BC9B5, 1 << 63),
    "CRC32": _Field(0xEDB88320, 1 << 31),
    "CRC32C": _Field(0x82F63B78, 1 << 31),
}


@lru_cache(maxsize=len(_FIELDS))
def _byte_powers(algorithm: Crc) -> tuple[int, ...]:
    """x^(8 * 2^k) for k = 0, 1, …: what appending 2^k bytes multiplies by."""
    field = _FIELDS[algorithm]
    power = field.one >> 8
    powers = []
    for _ in range(LENGTH_BITS):
        powers.append(power)
        power = field.multiply(power, power)
    return tuple(powers)


@lru_cache(maxsize=CACHED_LENGTHS)
def _shift(algorithm: Crc, length: int) -> int:
    """x^(8 * length): what appending *length* bytes multiplies by."""
    field = _FIELDS[algorithm]
    factor = field.one
    for power in _byte_powers(algorithm):
        if not length:
            break
        if length & 1:
            factor = field.multiply(factor, power)
        length >>= 1
    return factor


def combine(algorithm: Crc, first: int, second: int, second_length: int) -> int:
    """
    The CRC of A + B from `first` = CRC(A), `second` = CRC(B) and the length of B in bytes.

    About 10 µs for a length used before, at most 1 ms for a new one, whatever its size. ValueError for a
    length that is negative or not below 2^64.
    """
    if not 0 <= second_length < 1 << LENGTH_BITS:
        raise ValueError(f"length {second_length} is not within 0..2^{LENGTH_BITS} bytes; pass that of B")
    return _FIELDS[algorithm].multiply(first, _shift(algorithm, second_length)) ^ second


class RangeCrc:
    """
    The CRC of an object from the CRCs of its ranges, added in any order.

    Neighbouring ranges are merged as they arrive, so memory grows with the holes only, and no call does more
    than two combinations.
    """

    __slots__ = ("_crcs", "_starts", "_stops", "algorithm")

    def __init__(self, algorithm: Crc) -> None:
        self.algorithm: Final[Crc] = algorithm
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._crcs: list[int] = []

    def add(self, offset: int, length: int, crc: int) -> None:
        """Take in the CRC of *length* bytes from *offset* on; ValueError when some were added before."""
        if offset < 0 or length < 0:
            raise ValueError(f"range of {length} bytes from {offset}: offset and length must not be negative")
        if not length:
            return
        stop = offset + length
        at = bisect_right(self._starts, offset)
        if (at and self._stops[at - 1] > offset) or (at < len(self._starts) and self._starts[at] < stop):
            raise ValueError(f"bytes {offset}-{stop} overlap a range added before; add each byte once")
        if at < len(self._starts) and self._starts[at] == stop:
            crc = combine(self.algorithm, crc, self._crcs[at], self._stops[at] - stop)
            stop = self._stops[at]
            del self._starts[at], self._stops[at], self._crcs[at]
        if at and self._stops[at - 1] == offset:
            self._crcs[at - 1] = combine(self.algorithm, self._crcs[at - 1], crc, stop - offset)
            self._stops[at - 1] = stop
            return
        self._starts.insert(at, offset)
        self._stops.insert(at, stop)
        self._crcs.insert(at, crc)

    @property
    def size(self) -> int:
        """Bytes added so far."""
        return sum(self._stops) - sum(self._starts)

    def value(self, total: int) -> int:
        """The CRC of bytes 0 to *total*. ValueError when some are missing, or when there are more."""
        if not total and not self._starts:
            return 0
        if self._starts == [0] and self._stops == [total]:
            return self._crcs[0]
        reached = self._stops[0] if self._starts[:1] == [0] else 0
        following = next((start for start in self._starts if start > reached), total)
        if reached < following:
            raise ValueError(f"bytes {reached}-{following} of {total} were never added")
        raise ValueError(f"{self._stops[0]} bytes were added, the object has {total}")
