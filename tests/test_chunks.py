from __future__ import annotations

import array
import asyncio
import ctypes
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import _chunks as chunks
from greenlang_async_storage._chunks import Part, PartAssembler, PartPlan, _assemble, plan_parts
from greenlang_async_storage._errors import S3InvalidRequestError
from greenlang_async_storage._types import Buffer

MIB = 1024**2
GIB = 1024**3
TIB = 1024**4
PART_SIZES = st.one_of(
    st.integers(chunks.MIN_PART_BYTES, chunks.MAX_PART_BYTES),
    st.integers(5, 5 * 1024).map(lambda size: size * MIB),
)


def joined(parts: Iterable[Part]) -> bytes:
    """The bytes of *parts*, each of which is one buffer."""
    return b"".join(one_buffer(part) for part in parts)


def one_buffer(part: Part) -> Buffer:
    """The data of a part that was put together."""
    assert not isinstance(part.data, tuple)
    return part.data


def cut(pieces: Iterable[object], plan: PartPlan) -> list[Part]:
    """All parts of *pieces*."""
    assembler = PartAssembler(plan)
    parts = [part for piece in pieces for part in assembler.feed(piece)]
    last = assembler.finish()
    return parts if last is None else [*parts, last]


@given(total=st.integers(0, 5 * TIB), part_size=PART_SIZES)
def test_a_known_total_fits(total: int, part_size: int) -> None:
    """Any object S3 takes fits in 10,000 equal parts, of the smallest multiple that will do."""
    plan = plan_parts(total, part_size)
    assert plan.part_size % part_size == 0
    assert chunks.MIN_PART_BYTES <= plan.part_size <= chunks.MAX_PART_BYTES
    assert 1 <= plan.count(total) <= chunks.MAX_PARTS
    if plan.part_size > part_size:
        assert PartPlan(plan.part_size - part_size).count(total) > chunks.MAX_PARTS
    assert plan.length(1) == plan.length(chunks.MAX_PARTS) == plan.part_size


@given(part_size=PART_SIZES)
def test_a_stream_of_the_largest_object_fits(part_size: int) -> None:
    """With any part size S3 takes, 10,000 growing parts hold 5 TiB; none shrinks or is longer than 5 GiB."""
    lengths = [chunks.part_length(number, part_size) for number in (1, *range(1000, 10_001, 900))]
    assert lengths == sorted(lengths)
    assert lengths[-1] <= chunks.MAX_PART_BYTES
    # Equal up to part 1,000, then every 900 parts one length.
    assert 1000 * lengths[0] + 900 * sum(lengths[2:]) >= 5 * TIB


def test_growth_from_eight_mebibytes() -> None:
    """Parts of 8 MiB stay so up to part 1,000, double every 900 parts, and end at 2 GiB."""
    plan = plan_parts(None, 8 * MIB)
    assert plan.growing
    for number, length in (
        (1, 8 * MIB),
        (1000, 8 * MIB),
        (1001, 16 * MIB),
        (1900, 16 * MIB),
        (1901, 32 * MIB),
        (7300, 1024 * MIB),
        (7301, 2 * GIB),
        (10_000, 2 * GIB),
    ):
        assert plan.length(number) == length
    assert plan.count(100 * GIB) < 4_000
    assert plan.count(5 * TIB) <= chunks.MAX_PARTS
    assert plan.length(plan.count(100 * GIB)) == 64 * MIB


@given(total=st.integers(0, 2000), part_size=st.integers(1, 50))
def test_count_of_parts(total: int, part_size: int) -> None:
    """The plan counts as many parts as the assembler makes."""
    plan = PartPlan(part_size)
    assert plan.count(total) == len(cut([bytes(total)], plan))


@pytest.mark.parametrize("part_size", [0, -1, 5 * MIB - 1, 5 * GIB + 1])
@pytest.mark.parametrize("total", [None, 10])
def test_part_sizes_s3_refuses(part_size: int, total: int | None) -> None:
    """A part size outside 5 MiB to 5 GiB is refused with the value and the variable to set."""
    with pytest.raises(S3InvalidRequestError, match=rf"{part_size} .*GREENLANG_STORAGE_PART_SIZE"):
        plan_parts(total, part_size)


def test_totals_s3_refuses() -> None:
    """More than 5 TiB is refused before anything is sent; a negative total is a mistake."""
    assert plan_parts(5 * TIB, 8 * MIB).count(5 * TIB) <= chunks.MAX_PARTS
    with pytest.raises(S3InvalidRequestError, match=r"5497558138881 .*5 TiB.*several objects"):
        plan_parts(5 * TIB + 1, 8 * MIB)
    with pytest.raises(ValueError, match="-1"):
        plan_parts(-1, 8 * MIB)


@pytest.mark.parametrize(
    ("plan", "remedy"),
    [(PartPlan(3), "part_size="), (PartPlan(3, growing=True), "several objects")],
)
def test_there_is_no_part_after_the_last(plan: PartPlan, remedy: str) -> None:
    """The 10,001st part is refused, with what to do; 10,000 full parts are fine."""
    assembler = PartAssembler(plan)
    for number in range(1, chunks.MAX_PARTS + 1):
        [part] = assembler.feed(bytes(plan.length(number)))
        assert part.number == number
    assert list(assembler.feed(b"")) == []
    for too_much in (b"1", bytes(100)):
        with pytest.raises(S3InvalidRequestError, match=remedy):
            list(assembler.feed(too_much))
    assert assembler.finish() is None


def test_fixed_parts() -> None:
    """Parts asked to be fixed do not grow, and neither do those of a known total."""
    assert plan_parts(None, 8 * MIB, fixed_parts=True) == PartPlan(8 * MIB, growing=False)
    assert plan_parts(TIB, 8 * MIB).growing is False


@given(start=st.integers(0, 500), length=st.integers(0, 500), size=st.integers(1, 60))
def test_split_range(start: int, length: int, size: int) -> None:
    """A range is split into neighbours of the asked size, the last one shorter."""
    ranges = list(chunks.split_range(start, start + length, size))
    assert [n for begin, end in ranges for n in range(begin, end)] == list(range(start, start + length))
    assert all(end - begin == size for begin, end in ranges[:-1])
    assert all(0 < end - begin <= size for begin, end in ranges)
    with pytest.raises(ValueError, match="size"):
        list(chunks.split_range(0, 1, 0))


@given(
    pieces=st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=60, max_size=200))),
    forms=st.lists(st.sampled_from([bytes, bytearray, memoryview]), min_size=1),
    part_size=st.integers(1, 50),
)
def test_parts_hold_the_same_bytes(
    pieces: list[bytes], forms: list[Callable[[bytes], Buffer]], part_size: int
) -> None:
    """Whatever the pieces, the parts join to the same bytes, all of the planned length but the last."""
    given_pieces = [forms[index % len(forms)](piece) for index, piece in enumerate(pieces)]
    parts = cut(given_pieces, PartPlan(part_size))
    whole = b"".join(pieces)
    assert joined(parts) == whole
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.offset for part in parts] == [part_size * index for index in range(len(parts))]
    assert all(len(part.data) == part_size for part in parts[:-1])
    assert len(parts) == PartPlan(part_size).count(len(whole))
    for data in map(one_buffer, parts):
        assert isinstance(data, bytes) or (
            isinstance(data, memoryview) and data.readonly and type(data.obj) is bytes
        )


@given(sizes=st.lists(st.integers(0, 40)), part_size=st.integers(1, 30))
def test_a_buffer_used_again(sizes: list[int], part_size: int) -> None:
    """A producer may overwrite its buffer as soon as a piece was taken: parts do not change."""
    assembler = PartAssembler(PartPlan(part_size))
    buffer = bytearray(40)
    expected = b""
    parts: list[Part] = []
    for turn, size in enumerate(sizes):
        buffer[:] = bytes([turn % 251 + 1]) * 40
        expected += bytes(buffer[:size])
        piece = memoryview(buffer)[:size] if turn % 2 else buffer[:size]
        parts.extend(assembler.feed(piece))
        buffer[:] = bytes(40)
        if isinstance(piece, bytearray):
            piece[:] = bytes(size)
    last = assembler.finish()
    parts += [last] if last else []
    assert joined(parts) == expected


def test_a_readonly_view_of_a_changing_buffer_is_copied() -> None:
    """A read-only view does not mean that nobody else writes."""
    buffer = bytearray(b"a" * 100)
    parts = list(PartAssembler(PartPlan(10)).feed(memoryview(buffer).toreadonly()))
    buffer[:] = b"b" * 100
    assert joined(parts) == b"a" * 100


def test_what_is_not_copied() -> None:
    """A piece that is one part is the part; a large immutable one is cut into views of itself."""
    exact = bytes(range(10))
    assert cut([exact], PartPlan(10))[0].data is exact
    large = bytes(10 * _assemble.VIEW_MIN_PARTS + 5)
    parts = cut([large], PartPlan(10))
    for part in parts[:-1]:
        assert isinstance(part.data, memoryview)
        assert part.data.obj is large
    assert parts[-1].data == bytes(5)


def test_a_small_rest_does_not_keep_a_large_piece() -> None:
    """A piece of fewer parts is copied: one part in flight must not keep twice its size alive."""
    parts = cut([bytes(19)], PartPlan(10))
    assert [type(part.data) for part in parts] == [bytes, bytes]


@pytest.mark.parametrize(
    "piece",
    [
        array.array("I", [1, 2, 3]),
        memoryview(bytes(range(12))).cast("H"),
        memoryview(bytes(range(12))).cast("B", (3, 4)),
        memoryview(bytes(range(24)))[::2],
        memoryview(bytearray(range(24)))[::-2],
        (ctypes.c_uint16 * 6)(1, 2, 3, 4, 5, 6),
        memoryview(b"").cast("I"),
    ],
    ids=["array", "cast", "two dimensions", "strided", "reversed", "ctypes", "empty"],
)
def test_buffers_of_any_layout(piece: Buffer) -> None:
    """Wide items, several dimensions, strides: the bytes in logical order."""
    assert joined(cut([b"x", piece, b"y"], PartPlan(5))) == (b"x" + memoryview(piece).tobytes() + b"y")


@pytest.mark.parametrize("wrong", ["text", 7, None, [b"x"], object()])
@pytest.mark.parametrize("index", [0, 3])
def test_what_is_not_bytes(wrong: object, index: int) -> None:
    """A piece that is not bytes-like is a TypeError with its type and position, and what to do."""
    assembler = PartAssembler(PartPlan(10))
    for _ in range(index):
        assembler.feed(b"ab")
    with pytest.raises(TypeError, match=rf"piece {index} of the source is {type(wrong).__name__}.*: \w+"):
        assembler.feed(wrong)


def test_no_pieces() -> None:
    """A source without a byte gives one empty part; a source that ends with a part gives no empty one."""
    assert cut([], PartPlan(10)) == [Part(1, 0, b"")]
    assert cut([b"", bytearray()], PartPlan(10)) == [Part(1, 0, b"")]
    assert [part.number for part in cut([bytes(5)] * 4, PartPlan(10))] == [1, 2]


def test_a_plan_that_grows() -> None:
    """Every part has the length planned for its number, and its offset follows from those before."""
    assembler = PartAssembler(PartPlan(2, growing=True))
    parts = [part for _ in range(100) for part in assembler.feed(bytes(97))]
    assert [len(part.data) for part in parts] == [chunks.part_length(part.number, 2) for part in parts]
    assert len(parts) > chunks.GROWTH_AFTER_PARTS
    assert len(parts[-1].data) > 2
    assert [part.offset for part in parts[1:]] == [part.offset + len(part.data) for part in parts[:-1]]
    assert assembler.size == 9700


@given(data=st.binary(max_size=200), part_size=st.integers(1, 60))
def test_slices_of_a_buffer(data: bytes, part_size: int) -> None:
    """A buffer in memory is cut like the same bytes in a stream, but never copied."""
    for buffer in (data, bytearray(data), memoryview(data)):
        parts = list(chunks.slice_parts(buffer, PartPlan(part_size)))
        assert parts == cut([data], PartPlan(part_size))
        assert all(isinstance(part.data, memoryview) and part.data.readonly for part in parts)


@pytest.mark.asyncio
async def test_parts_as_soon_as_they_are_full() -> None:
    """A part is there before the next piece is asked for, so a slow consumer holds the producer back."""
    asked = 0

    async def produce() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(5):
            asked += 1
            yield bytes(10)

    async with aclosing(chunks.assemble(produce(), PartPlan(10))) as parts:
        for number in range(1, 6):
            assert (await anext(parts)).number == number
            assert asked == number
        assert [part async for part in parts] == []


@pytest.mark.asyncio
async def test_a_producer_that_never_waits_lets_others_run() -> None:
    """Cutting thousands of small pieces gives other tasks their turn."""
    turns = 0
    done = False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    async def produce() -> AsyncIterator[bytes]:
        for _ in range(20 * _assemble.PIECES_PER_TURN):
            yield b"x"

    other = asyncio.create_task(others())
    async with aclosing(chunks.assemble(produce(), PartPlan(MIB))) as parts:
        [part] = [part async for part in parts]
    done = True
    await other
    assert len(part.data) == 20 * _assemble.PIECES_PER_TURN
    assert turns >= 20
