"""How a run shares its workers out: lanes, throttling, memory, failures; without a server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from greenlang_async_storage import S3Error, S3ThrottlingError, Statistics
from greenlang_async_storage.ingest import _budget
from greenlang_async_storage.ingest._apply import Run
from greenlang_async_storage.ingest._budget import ByteBudget
from greenlang_async_storage.ingest._progress import Reporter
from greenlang_async_storage.ingest._senders import OnBytes, Sent
from greenlang_async_storage.ingest._store import DELETES, Known, Planned, Settled, Store
from greenlang_async_storage.ingest._threads import SerialThread

pytestmark = pytest.mark.asyncio


class FakeStore:
    """A target that takes so many transfers of a lane at a time, and throttles the rest."""

    def __init__(self, capacity: dict[int, int] | None = None, *, hidden: bool = False) -> None:
        self.capacity = capacity or {}
        self.hidden = hidden
        self.running: Counter[int] = Counter()
        self.most: Counter[int] = Counter()
        self.sent: Counter[str] = Counter()
        self.throttles = 0

    def path(self, key: str) -> Path | None:
        return None

    async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
        lane = action.lane
        self.running[lane] += 1
        self.most[lane] = max(self.most[lane], self.running[lane])
        refused = self.running[lane] > self.capacity.get(lane, 10**6)
        try:
            await asyncio.sleep(0.002)  # what a transfer takes
        finally:
            self.running[lane] -= 1
        if refused:
            self.throttles += 1
            if not self.hidden:
                raise S3ThrottlingError("slow down", key=action.key)
        self.sent[action.key] += 1
        on_bytes(action.size)
        return Sent(action.size, Known(action.key, "s", "t", "", ""))

    async def delete(self, actions: Sequence[Planned]) -> dict[int, S3Error]:
        return {actions[0].seq: S3Error("refused", key=actions[0].key)}

    async def finish(self) -> None:
        return

    def statistics(self) -> Statistics:
        return Statistics(0, 100, 0, 0, 0, 0, self.throttles, 0, 0, 0, 0, 0)


@pytest_asyncio.fixture
async def spool() -> AsyncIterator[tuple[SerialThread, Store]]:
    """An empty plan on disk."""
    thread, store = SerialThread("test"), Store(None, {})
    await thread.call(store.open)
    yield thread, store
    await thread.aclose(store.close)


async def fill(spool: tuple[SerialThread, Store], lanes: dict[int, int]) -> int:
    """So many uploads in each lane."""
    thread, store = spool
    rows, seq = [], 0
    for lane, count in lanes.items():
        for _ in range(count):
            seq += 1
            rows.append(Planned(seq, lane, "upload", f"{lane}/{seq}", 10, "new", "", ""))
    await thread.call(store.add, rows, [], [])
    await thread.call(store.planned)
    return seq


def a_run(
    spool: tuple[SerialThread, Store], target: FakeStore, *, concurrency: int = 16, watched: bool = False
) -> Run:
    """One run of the plan."""
    return Run(
        target,
        spool,
        Reporter(None, "apply"),
        concurrency=concurrency,
        fail_fast=False,
        statistics=target.statistics if watched else None,
    )


async def test_every_action_once(spool: tuple[SerialThread, Store]) -> None:
    """More lanes than are open at a time, some larger than a page: each action is carried out once."""
    count = await fill(spool, {lane: 1 + (lane * 37) % 300 for lane in range(80)})
    target = FakeStore()
    run = a_run(spool, target)
    await run.transfers(count)
    assert run.done == count
    assert set(target.sent.values()) == {1}
    assert len(target.sent) == count
    thread, store = spool
    assert await thread.call(store.left) == (0, 0, 0)


async def test_a_slow_prefix_does_not_hold_up_the_others(spool: tuple[SerialThread, Store]) -> None:
    """The throttled lane goes on with fewer at a time, the other with all that is left; nothing fails."""
    count = await fill(spool, {1: 600, 2: 600})
    target = FakeStore({1: 2})
    run = a_run(spool, target)
    await run.transfers(count)
    assert (run.done, run.failed) == (count, 0)
    assert 0 < target.throttles < 150
    assert set(target.sent.values()) == {1}
    assert target.most[2] > 8
    assert run._pace.limit(1) <= 4
    assert run._pace.limit(2) == 16


async def test_a_store_that_only_throttles(spool: tuple[SerialThread, Store]) -> None:
    """After three passes its refusals are failures, and another run tries them again."""
    count = await fill(spool, {1: 20})
    target = FakeStore({1: 0})
    run = a_run(spool, target)
    await run.transfers(count)
    assert (run.done, run.failed, target.throttles) == (0, 20, 60)
    thread, store = spool
    assert await thread.call(store.left) == (20, 0, 200)
    assert await thread.call(store.pending, 1, 0, 10) == []
    await thread.call(store.restart)
    target.capacity[1] = 20
    run = a_run(spool, target)
    await run.transfers(count)
    assert (run.done, run.failed) == (20, 0)
    assert await thread.call(store.failures, 0, 10) == []


async def test_throttling_hidden_by_retries(spool: tuple[SerialThread, Store]) -> None:
    """The session's counters tell of it; nothing fails, and fewer run at a time."""
    count = await fill(spool, {1: 400})
    target = FakeStore({1: 4}, hidden=True)
    run = a_run(spool, target, watched=True)
    await run.transfers(count)
    assert run.failed == 0
    assert run._pace.throttled > 0
    assert run._pace.limit(1) < 16


async def test_a_cancel_from_inside_is_a_failure(spool: tuple[SerialThread, Store]) -> None:
    """Of one action; it is not taken for the end of a worker."""
    count = await fill(spool, {1: 5})

    class Cancelling(FakeStore):
        async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
            if action.seq == 3:
                raise asyncio.CancelledError
            return await super().send(action, on_bytes)

    run = a_run(spool, Cancelling(), concurrency=1)
    await run.transfers(count)
    assert (run.done, run.failed) == (4, 1)


async def test_failed_deletes_are_listed(spool: tuple[SerialThread, Store]) -> None:
    """And stay to be done."""
    thread, store = spool
    rows = [Planned(seq, DELETES, "delete", f"k{seq}", 1, "gone", "", "") for seq in range(1, 4)]
    await thread.call(store.add, rows, [], [])
    await thread.call(store.planned)
    run = a_run(spool, FakeStore())
    await run.deletes()
    assert (run.deleted, run.failed) == (2, 1)
    assert await thread.call(store.left) == (0, 1, 0)
    [(_, failure)] = await thread.call(store.failures, 0, 10)
    assert (failure.key, failure.kind) == ("k1", "delete")


async def test_a_failed_run_still_writes_down_what_it_did(
    spool: tuple[SerialThread, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that ends the run loses no result, also of those nobody has written down yet."""

    async def later(_run: Run) -> None:
        return

    monkeypatch.setattr(Run, "_write", later)
    count = await fill(spool, {1: 50})

    class Broken(FakeStore):
        async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
            if action.seq == 40:
                raise RuntimeError("a programming mistake")
            return await super().send(action, on_bytes)

    target = Broken()
    with pytest.raises(RuntimeError, match="a programming mistake"):
        await a_run(spool, target, concurrency=4).transfers(count)
    thread, store = spool
    left, _, _ = await thread.call(store.left)
    assert left == count - len(target.sent)


async def test_done_is_told_once_it_is_written_down(
    spool: tuple[SerialThread, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever kills the process at an event finds all it told of in the journal, failures included."""
    count = await fill(spool, {1: 9})
    _, store = spool
    told: list[tuple[int, int]] = []
    written: list[int] = []

    def watched(settled: Sequence[Settled]) -> None:
        told.append((run._report.items, run._report.failed))
        written.append(len(settled))
        Store.settle(store, settled)

    class Refusing(FakeStore):
        async def send(self, action: Planned, on_bytes: OnBytes) -> Sent:
            if action.seq > 6:
                raise S3Error("refused", key=action.key)
            return await super().send(action, on_bytes)

    monkeypatch.setattr(store, "settle", watched)
    run = a_run(spool, Refusing())
    await run.transfers(count)
    before = [sum(written[:turn]) for turn in range(len(written))]
    assert [items for items, _ in told] == before
    assert told[0] == (0, 0)
    assert (run._report.items, run._report.failed) == (9, 3)


async def test_bytes_in_memory_are_bounded() -> None:
    """Large transfers wait for their turn, small ones behind them too; one above the limit goes alone."""
    budget = ByteBudget(100)
    held: list[int] = []
    order: list[int] = []

    async def transfer(size: int) -> None:
        async with budget.hold(size):
            held.append(size)
            order.append(size)
            assert sum(held) <= 100 or held == [size]
            await asyncio.sleep(0)
            held.remove(size)

    sizes = [60, 60, 10, 500, 1, 99, 40]
    await asyncio.gather(*(transfer(size) for size in sizes))
    assert order == sizes
    assert budget._used == 0


async def test_a_cancelled_wait_for_memory_holds_nothing() -> None:
    """The next in line gets its turn."""
    budget = ByteBudget(10)

    async def transfer() -> None:
        async with budget.hold(10):
            pass

    async with budget.hold(10):
        waiting = [asyncio.create_task(transfer()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
    await asyncio.gather(*waiting[1:])
    assert budget._used == 0


async def test_weights() -> None:
    """The formula of the docstring: a small file whole, a large one its parts in flight."""
    assert _budget.weight(1000) == 1000
    assert _budget.weight(1024**3) == 32 * 1024**2
    assert _budget.weight(5 * 1024**4) == 4 * (5 * 1024**4) // 10_000
