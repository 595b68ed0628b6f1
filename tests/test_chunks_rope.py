"""Parts of a stream in pieces: exact, of the planned size, and without a copy of what nobody can change."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import fastpath
from greenlang_async_storage._checksums import Digest, digest
from greenlang_async_storage._chunks import Part, PartAssembler, PartPlan, _rope
from greenlang_async_storage._multipart import body_of, nbytes
from greenlang_async_storage._payload import UNSIGNED

KEPT, JOINED = _rope.KEPT, _rope.JOINED
SIZES = st.sampled_from([0, 1, 1000, KEPT - 1, KEPT, KEPT + 1, JOINED, 3 * JOINED])
KINDS = st.sampled_from([bytes, bytearray, lambda data: memoryview(bytearray(data))])


def parts_of(pieces: list[Any], size: int) -> list[Part]:
    """The parts, each looked at before the next piece."""
    assembler = PartAssembler(PartPlan(size), in_pieces=True)
    parts: list[Part] = []
    for piece in pieces:
        parts.extend(assembler.feed(piece))
        if isinstance(piece, bytearray | memoryview):
            piece[:] = bytes(len(piece))  # a producer may use its buffer again
    last = assembler.finish()
    return parts if last is None else [*parts, last]


@given(st.lists(st.tuples(SIZES, KINDS), max_size=12), st.sampled_from([KEPT, JOINED + 5, 4 * JOINED]))
def test_parts_in_pieces_are_exact(pieces: list[tuple[int, Any]], size: int) -> None:
    """Every byte once and in order, all parts but the last of one size, whatever comes in."""
    plain = [bytes([number % 251 + 1]) * length for number, (length, _) in enumerate(pieces)]
    parts = parts_of([kind(data) for data, (_, kind) in zip(plain, pieces, strict=True)], size)
    assert b"".join(bytes(part.joined()) for part in parts) == b"".join(plain)
    assert {part.size for part in parts[:-1]} <= {size}
    assert parts[-1].size <= size
    offsets = [0]
    for part in parts:
        assert (part.number, part.offset, nbytes(part.data)) == (len(offsets), offsets[-1], part.size)
        offsets.append(part.offset + part.size)


def test_large_bytes_are_kept_and_nothing_twice() -> None:
    """Whole `bytes` within one part are what the part holds; what crosses its end is copied."""
    large = [bytes([number]) * KEPT for number in range(1, 9)]
    (first, second) = parts_of([*large], 4 * KEPT)
    assert all(a is b for a, b in zip((*first.data, *second.data), large, strict=True))
    across = b"x" * (2 * KEPT)
    (first, second) = parts_of([b"y" * KEPT, across], 2 * KEPT)
    assert isinstance(first.data, tuple)
    held = [*first.data, second.data]
    assert across not in held
    assert sum(len(cast("bytes", piece)) for piece in held) == 3 * KEPT


def test_an_empty_stream_is_one_empty_part() -> None:
    """A source without a byte gives a part of none."""
    assert [part.data for part in parts_of([], KEPT)] == [b""]


@pytest.mark.asyncio
@pytest.mark.parametrize("checksum", ["CRC64NVME", "CRC32", "SHA256", "none"])
@pytest.mark.parametrize("size", [10, 2 * JOINED])
async def test_digests_of_pieces_are_those_of_the_whole(checksum: Any, size: int) -> None:
    """In the calling thread and in another."""
    data = (b"a" * size, bytearray(b"b"), memoryview(b"c" * size))
    whole = b"".join(data)
    assert await digest(data, checksum=checksum, sha256=True) == await digest(
        whole, checksum=checksum, sha256=True
    )


@pytest.mark.parametrize(
    ("secure", "checksum", "sha256", "wanted"),
    [
        (True, "AAA=", None, UNSIGNED),
        (True, "AAA=", "known", "known"),
        (True, None, None, None),
        (False, "AAA=", None, None),
        (False, "AAA=", "known", "known"),
    ],
)
def test_only_tls_and_a_checksum_spare_the_hash_of_the_body(
    secure: bool, checksum: str | None, sha256: str | None, wanted: str | None
) -> None:
    """Over plain http the SHA-256 in the signature is all that keeps others from changing the body."""
    conn = SimpleNamespace(signs_payload=not secure, payload=lambda _data, signature: signature)
    signature: object = body_of(cast("Any", conn), b"data", Digest(checksum, None, sha256))
    assert signature == wanted
    assert fastpath.Payload.UNSIGNED == UNSIGNED
    assert fastpath.Payload(b"data", UNSIGNED).sha256_hex == UNSIGNED
    assert fastpath.Payload(b"data", hashlib.sha256(b"data").hexdigest()).plain() == b"data"
