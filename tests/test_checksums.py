from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import threading
import zlib
from typing import cast

import pytest
from awscrt import checksums as crt
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import _checksums as checksums
from greenlang_async_storage._checksums import Crc, Hasher, RangeCrc, _combine, _digest, combine, compute
from greenlang_async_storage._types import Checksum, ChecksumAlgorithm, ChecksumChoice
from tests.support.cancel import cancel_everywhere

CRCS: list[Crc] = ["CRC64NVME", "CRC32", "CRC32C"]
ALGORITHMS: list[ChecksumAlgorithm] = [*CRCS, "SHA256", "SHA1"]
# The "check" column of the catalogue of parametrised CRC algorithms, and FIPS 180-4 for the SHAs.
CHECK_VALUES = {
    "CRC64NVME": "ae8b14860a799888",
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "SHA256": hashlib.sha256(b"123456789").hexdigest(),
    "SHA1": hashlib.sha1(b"123456789", usedforsecurity=False).hexdigest(),
}
CRT_COMBINES = hasattr(crt, "combine_crc64nvme")
FIVE_TIB = 5 * 1024**4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_known_values(algorithm: ChecksumAlgorithm) -> None:
    """Each algorithm gives its published check value, as number, bytes and base64."""
    hasher = Hasher(algorithm)
    hasher.update(b"12345")
    hasher.update(bytearray(b"67"))
    hasher.update(memoryview(b"89"))
    expected = bytes.fromhex(CHECK_VALUES[algorithm])
    assert hasher.digest() == expected
    assert hasher.value == int.from_bytes(expected, "big")
    assert hasher.base64() == base64.b64encode(expected).decode()
    assert hasher.size == 9


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing(algorithm: ChecksumAlgorithm) -> None:
    """No bytes have a checksum too: zeros for a CRC, the well-known digest for a SHA."""
    empty = Hasher(algorithm)
    wanted = b"\0" * 8 if algorithm == "CRC64NVME" else b"\0" * 4
    if algorithm.startswith("SHA"):
        wanted = hashlib.new(algorithm, usedforsecurity=False).digest()
    assert empty.digest() == wanted


def test_views_of_wide_items_count_bytes() -> None:
    """A view of 4-byte items counts and hashes its bytes, not its items."""
    hasher = Hasher("CRC32")
    hasher.update(memoryview(b"12345678").cast("I"))
    assert hasher.size == 8
    assert hasher.value == zlib.crc32(b"12345678")


def test_unknown_algorithm() -> None:
    """An algorithm S3 does not know is a ValueError that lists those it does."""
    with pytest.raises(ValueError, match=r"'MD5'.*CRC64NVME"):
        Hasher(cast("ChecksumAlgorithm", "MD5"))


@pytest.mark.parametrize("algorithm", CRCS)
@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_combine_equals_computing(algorithm: Crc, first: bytes, second: bytes) -> None:
    """Combining gives what computing over the joined bytes gives."""
    joined = combine(algorithm, compute(algorithm, first), compute(algorithm, second), len(second))
    assert joined == compute(algorithm, first + second)


@pytest.mark.skipif(not CRT_COMBINES, reason="awscrt is older than its functions that combine CRCs")
@pytest.mark.parametrize("algorithm", CRCS)
@given(
    first=st.integers(0, 2**32 - 1),
    second=st.integers(0, 2**32 - 1),
    length=st.one_of(st.integers(1, FIVE_TIB), st.integers(0, 42).map(lambda bits: 1 << bits)),
)
def test_combine_equals_awscrt(algorithm: Crc, first: int, second: int, length: int) -> None:
    """Combining gives what awscrt's own combination gives, for lengths up to 5 TiB."""
    reference = getattr(crt, f"combine_{algorithm.lower()}")
    assert combine(algorithm, first, second, length) == reference(first, second, length)


@pytest.mark.parametrize("algorithm", CRCS)
def test_combining_with_nothing(algorithm: Crc) -> None:
    """Nothing before or after changes nothing."""
    crc = compute(algorithm, b"greenlang")
    assert combine(algorithm, crc, 0, 0) == crc
    assert combine(algorithm, 0, crc, 9) == crc


@pytest.mark.parametrize("length", [-1, 1 << 64])
def test_combine_refuses_impossible_lengths(length: int) -> None:
    """Lengths no object can have are a ValueError, not an endless loop."""
    with pytest.raises(ValueError, match="length"):
        combine("CRC32", 1, 2, length)


def test_combining_large_lengths_takes_logarithmic_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new length takes one multiplication per set bit and one to combine; a known one takes that one."""
    counted = 0
    field = _combine._FIELDS["CRC64NVME"]

    class Counting(_combine._Field):
        def multiply(self, left: int, right: int) -> int:
            nonlocal counted
            counted += 1
            return field.multiply(left, right)

    combine("CRC64NVME", 1, 2, 3)
    monkeypatch.setitem(_combine._FIELDS, "CRC64NVME", Counting(*field))
    length = FIVE_TIB - 987_654_321
    combine("CRC64NVME", 1, 2, length)
    assert counted == length.bit_count() + 1
    combine("CRC64NVME", 3, 4, length)
    assert counted == length.bit_count() + 2


@given(data=st.binary(min_size=1, max_size=400), cuts=st.sets(st.integers(1, 399)), order=st.randoms())
def test_ranges_in_any_order(data: bytes, cuts: set[int], order: object) -> None:
    """Ranges added in any order give the CRC of the whole, and hold no more entries than there are holes."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    ranges = list(itertools.pairwise(edges))
    order.shuffle(ranges)  # type: ignore[attr-defined]
    for algorithm in CRCS:
        whole = RangeCrc(algorithm)
        added: list[tuple[int, int]] = []
        for start, stop in ranges:
            whole.add(start, stop - start, compute(algorithm, data[start:stop]))
            added.append((start, stop))
            starts = {begin for begin, _ in added} - {end for _, end in added}
            assert len(whole._starts) == len(starts)
        assert whole.size == len(data)
        assert whole.value(len(data)) == compute(algorithm, data)


def test_ranges_without_bytes() -> None:
    """An empty object has the CRC of nothing, and an empty range anywhere adds nothing."""
    whole = RangeCrc("CRC64NVME")
    whole.add(0, 0, 0)
    assert whole.value(0) == 0
    whole.add(0, 1, compute("CRC64NVME", b"a"))
    whole.add(1, 0, 0)
    assert whole.value(1) == compute("CRC64NVME", b"a")


@pytest.mark.parametrize(
    ("ranges", "missing"),
    [
        ([], "bytes 0-10 of 10 were never added"),
        ([(0, 4), (6, 4)], "bytes 4-6 of 10"),
        ([(2, 8)], "bytes 0-2 of 10"),
        ([(2, 2), (6, 4)], "bytes 0-2 of 10"),
        ([(0, 9)], "bytes 9-10 of 10"),
        ([(0, 11)], "11 bytes were added, the object has 10"),
    ],
)
def test_holes_are_named(ranges: list[tuple[int, int]], missing: str) -> None:
    """A CRC over an object with holes is refused, and the first hole named."""
    whole = RangeCrc("CRC32")
    for offset, length in ranges:
        whole.add(offset, length, 1)
    with pytest.raises(ValueError, match=missing):
        whole.value(10)


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (3, 1), (4, 3), (9, 2), (0, 30), (5, 1), (19, 5)])
def test_overlaps_are_refused(offset: int, length: int) -> None:
    """Bytes added twice are refused, and what was there stays as it was."""
    whole = RangeCrc("CRC32")
    whole.add(0, 4, 1)
    whole.add(5, 15, 2)
    with pytest.raises(ValueError, match="overlap"):
        whole.add(offset, length, 3)
    whole.add(4, 1, 4)
    assert whole.size == 20


@pytest.mark.parametrize("values", [(-1, 3), (3, -1)])
def test_negative_ranges_are_refused(values: tuple[int, int]) -> None:
    """Negative offsets and lengths are a ValueError."""
    with pytest.raises(ValueError, match="negative"):
        RangeCrc("CRC32").add(*values, 0)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({}, None),
        ({"ChecksumCRC32": ""}, None),
        ({"ChecksumType": "FULL_OBJECT", "ETag": "x"}, None),
        ({"ChecksumCRC32": "AAAAAA=="}, Checksum("CRC32", "AAAAAA==", "FULL_OBJECT")),
        ({"ChecksumSHA1": "x-3"}, Checksum("SHA1", "x-3", "COMPOSITE")),
        ({"ChecksumSHA256": "x", "ChecksumType": "COMPOSITE"}, Checksum("SHA256", "x", "COMPOSITE")),
        ({"ChecksumCRC32C": "c", "ChecksumCRC64NVME": "n"}, Checksum("CRC64NVME", "n", "FULL_OBJECT")),
        ({"ChecksumCRC32C": "c-2", "ChecksumSHA256": "s"}, Checksum("SHA256", "s", "FULL_OBJECT")),
        ({"ChecksumCRC32C": "c-2", "ChecksumSHA1": "s-2"}, Checksum("CRC32C", "c-2", "COMPOSITE")),
    ],
)
def test_the_most_useful_checksum_of_a_reply(reply: dict[str, object], expected: Checksum | None) -> None:
    """A value over the whole object goes first, then one that combines; the form may tell the type."""
    assert checksums.stored_checksum(reply) == expected


@pytest.mark.parametrize(
    ("value", "parts"), [("AAAA-12", 12), ("AAAA", None), ("AA-A", None), ("AA-²", None)]
)
def test_parts_of_a_composite_value(value: str, parts: int | None) -> None:
    """The number after the dash is read; anything else is not a composite value."""
    assert checksums.part_count(Checksum("CRC32", value)) == parts


def test_composite_is_the_checksum_of_checksums() -> None:
    """A composite SHA-256 is the SHA-256 of the parts' raw digests, with the number of parts."""
    digests = [hashlib.sha256(part).digest() for part in (b"one", b"two")]
    whole = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    parts = [base64.b64encode(digest).decode() for digest in digests]
    assert checksums.composite("SHA256", parts) == f"{whole}-2"
    with pytest.raises(ValueError, match="base64"):
        checksums.composite("SHA256", ["not base64!"])


@pytest.mark.asyncio
@pytest.mark.parametrize("choice", ["CRC64NVME", "CRC32", "SHA256", "none"])
@pytest.mark.parametrize("sha256", [False, True])
@pytest.mark.parametrize("size", [0, 10, _digest.SHA256_THREAD_BYTES])
async def test_digest(choice: ChecksumChoice, sha256: bool, size: int) -> None:
    """A part's digest has what was asked for and nothing else, whichever thread made it."""
    data = b"g" * size
    found = await checksums.digest(memoryview(data), checksum=choice, sha256=sha256)
    assert found.sha256_hex == (hashlib.sha256(data).hexdigest() if sha256 else None)
    if choice == "none":
        assert (found.checksum, found.crc) == (None, None)
        return
    hasher = Hasher(choice)
    hasher.update(data)
    assert found.checksum == hasher.base64()
    assert found.crc == (None if choice == "SHA256" else hasher.value)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("choice", "sha256", "size", "hops"),
    [
        ("CRC64NVME", False, _digest.CRC_THREAD_BYTES - 1, 0),
        ("CRC64NVME", False, _digest.CRC_THREAD_BYTES, 1),
        ("CRC64NVME", True, _digest.SHA256_THREAD_BYTES, 1),
        ("CRC64NVME", True, _digest.SHA256_THREAD_BYTES - 1, 0),
        ("SHA256", False, _digest.SHA256_THREAD_BYTES, 1),
        ("none", False, _digest.CRC_THREAD_BYTES, 0),
    ],
)
async def test_digest_hops(
    choice: ChecksumChoice, sha256: bool, size: int, hops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large parts are digested in a thread, both digests in one hop; small ones at once."""
    threads: list[threading.Thread] = []
    digest = _digest._digest

    def watched(*args: object, **options: bool) -> checksums.Digest:
        threads.append(threading.current_thread())
        return digest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(_digest, "_digest", watched)
    await checksums.digest(bytes(size), checksum=choice, sha256=sha256)
    assert len(threads) == 1
    assert (threads[0] is not threading.main_thread()) == bool(hops)


@pytest.mark.asyncio
async def test_cancelled_digest_harms_nothing() -> None:
    """A digest cancelled at its await raises CancelledError, and the next one is right."""
    data = bytes(2 * _digest.SHA256_THREAD_BYTES)

    async def check() -> None:
        found = await checksums.digest(data, checksum="none", sha256=True)
        assert found.sha256_hex == hashlib.sha256(data).hexdigest()

    assert await cancel_everywhere(lambda: checksums.digest(data, checksum="CRC32", sha256=True), check) == 1


@pytest.mark.asyncio
async def test_digest_lets_the_loop_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread digests, other tasks run: it waits here for one of them."""
    turn = threading.Event()
    digest = _digest._digest

    def waiting(*args: object, **options: bool) -> checksums.Digest:
        assert turn.wait(timeout=30)
        return digest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(_digest, "_digest", waiting)
    asyncio.get_running_loop().call_soon(turn.set)
    await checksums.digest(bytes(_digest.SHA256_THREAD_BYTES), checksum="none", sha256=True)
