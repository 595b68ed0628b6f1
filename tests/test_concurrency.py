from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage._concurrency import Items, Settled, run_bounded, stream_bounded

Make = Callable[[Iterable[Any]], Items[Any]]


def as_iterator(items: Iterable[Any]) -> Iterator[Any]:
    """A generator of unknown length."""
    yield from items


async def as_async(items: Iterable[Any]) -> AsyncIterator[Any]:
    """An async generator that never waits."""
    for item in items:
        yield item


async def as_slow_async(items: Iterable[Any]) -> AsyncIterator[Any]:
    """An async generator that waits before each item."""
    for item in items:
        await asyncio.sleep(0)
        yield item


FORMS: dict[str, Make] = {
    "list": list,
    "iterator": as_iterator,
    "async": as_async,
    "slow async": as_slow_async,
}
each_form = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)


class ItemError(Exception):
    """What a worker raises."""


class SourceError(Exception):
    """What an input raises."""


async def run(items: Items[Any], worker: Any, *, width: int) -> list[Settled[Any]]:
    """`run_bounded`, under the same name for both forms."""
    return await run_bounded(items, worker, width=width)


async def stream(items: Items[Any], worker: Any, *, width: int) -> list[Settled[Any]]:
    """All outcomes of `stream_bounded`, in input order."""
    async with stream_bounded(items, worker, width=width) as outcomes:
        return sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.index)


both = pytest.mark.parametrize("settle", [run, stream])


class Gauge:
    """How many workers run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, index: int, item: object) -> object:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(index % 3):
            await asyncio.sleep(0)
        self.now -= 1
        return item


@both
@each_form
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 200])
@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.asyncio
async def test_one_outcome_per_item(settle: Any, make: Make, count: int, width: int) -> None:
    """
    Every item has one outcome, in input order; never more workers run than asked for, nor fewer than it
    takes.
    """
    gauge = Gauge()
    outcomes = await settle(make(range(count)), gauge, width=width)
    assert outcomes == [Settled(index, index, None) for index in range(count)]
    assert gauge.most <= width


@both
@each_form
@pytest.mark.asyncio
async def test_all_workers_run_at_once(settle: Any, make: Make) -> None:
    """As many workers run as were asked for: each waits here for all others."""
    barrier = asyncio.Barrier(5)

    async def worker(index: int, item: int) -> int:
        return await barrier.wait()

    outcomes = await settle(make(range(20)), worker, width=5)
    assert sorted(outcome.value for outcome in outcomes) == sorted(4 * [0, 1, 2, 3, 4])


@both
@each_form
@pytest.mark.asyncio
async def test_an_item_that_fails_does_not_sink_the_rest(settle: Any, make: Make) -> None:
    """An error is the outcome of its own item; all others are done."""

    async def worker(index: int, item: int) -> int:
        await asyncio.sleep(0)
        if item % 3 == 0:
            raise ItemError(item)
        return item

    outcomes = await settle(make(range(50)), worker, width=4)
    assert [outcome.index for outcome in outcomes] == list(range(50))
    for index, outcome in enumerate(outcomes):
        if index % 3:
            assert (outcome.value, outcome.error) == (index, None)
        else:
            assert outcome.value is None
            assert repr(outcome.error) == repr(ItemError(index))


@each_form
@pytest.mark.parametrize("failing", range(12))
@pytest.mark.asyncio
async def test_fail_fast(make: Make, failing: int) -> None:
    """With fail_fast the first error is raised as it is, after the others were cancelled and had ended."""
    started, ended = 0, 0

    async def worker(index: int, item: int) -> None:
        nonlocal started, ended
        started += 1
        try:
            if item == failing:
                raise ItemError(item)
            if item > failing - 3:
                await asyncio.Event().wait()
        finally:
            ended += 1

    with pytest.raises(ItemError) as caught:
        await run_bounded(make(range(12)), worker, width=4, fail_fast=True)
    assert caught.value.args == (failing,)
    assert caught.value.__context__ is None
    assert started == ended
    assert started <= failing + 4


@both
@each_form
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.asyncio
async def test_an_input_that_raises(settle: Any, make: Make, after: int) -> None:
    """What the input raises comes through as it is, and no worker goes on."""
    error = SourceError()
    running = 0

    def items() -> Iterator[int]:
        yield from range(after)
        raise error

    async def worker(index: int, item: int) -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0)
        finally:
            running -= 1

    class Raising:
        """Iterates anew, so that `list` is not asked for all of it."""

        def __iter__(self) -> Iterator[int]:
            return items()

    source = Raising() if make is list else make(items())
    with pytest.raises(SourceError) as caught:
        await settle(source, worker, width=3)
    assert caught.value is error
    assert running == 0


@pytest.mark.asyncio
async def test_ready_outcomes_come_before_the_failure_of_the_input() -> None:
    """What was done before the input failed is still told."""
    offered, failed = asyncio.Event(), asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2
        await offered.wait()
        failed.set()
        raise SourceError

    async def worker(index: int, item: int) -> int:
        if item == 2:
            offered.set()
        return item

    seen: list[int | None] = []

    async def note(outcomes: AsyncIterator[Settled[int]]) -> None:
        while True:
            seen.append((await anext(outcomes)).value)

    with pytest.raises(SourceError):  # noqa: PT012  # the outcomes before the error count
        async with stream_bounded(items(), worker, width=2) as outcomes:
            await failed.wait()
            await note(outcomes)
    assert seen == [1, 2]


@given(
    delays=st.lists(st.integers(0, 4), max_size=30),
    width=st.integers(1, 6),
    failing=st.sets(st.integers(0, 29)),
    form=st.sampled_from(sorted(FORMS)),
)
def test_order_and_count_are_exact(delays: list[int], width: int, failing: set[int], form: str) -> None:
    """
    However long each item takes and whichever fail, there is one outcome per item, in order, and the right
    one.
    """

    async def worker(index: int, delay: int) -> tuple[int, int]:
        for _ in range(delay):
            await asyncio.sleep(0)
        if index in failing:
            raise ItemError(index)
        return index, delay

    async def check(settle: Any) -> None:
        outcomes = await settle(FORMS[form](delays), worker, width=width)
        assert len(outcomes) == len(delays)
        for index, (outcome, delay) in enumerate(zip(outcomes, delays, strict=True)):
            assert outcome.index == index
            assert (outcome.error is not None) == (index in failing)
            assert outcome.value == (None if index in failing else (index, delay))

    asyncio.run(check(run))
    asyncio.run(check(stream))


@pytest.mark.parametrize("width", [0, -1])
@pytest.mark.asyncio
async def test_no_workers(width: int) -> None:
    """Asking for no workers is a ValueError that names the value, in both forms."""

    async def worker(index: int, item: int) -> None:
        return

    with pytest.raises(ValueError, match=f"width is {width}"):
        await run_bounded([1], worker, width=width)
    with pytest.raises(ValueError, match=f"width is {width}"):
        async with stream_bounded([1], worker, width=width):
            pass


@pytest.mark.asyncio
async def test_two_readers() -> None:
    """A second task reading the same outcomes is told so, instead of both waiting for ever."""

    async def worker(index: int, item: int) -> None:
        await asyncio.Event().wait()

    async with stream_bounded([1], worker, width=1) as outcomes:
        first = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(outcomes)
        first.cancel()
        await asyncio.wait([first])
