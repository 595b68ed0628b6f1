"""Rows about a session's life and what users plug in: F33 the wrong place, F34 hooks, F20 interrupts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3SessionClosedError,
    S3WrongLoopError,
    StorageSession,
    StorageSettings,
    UploadItem,
)
from greenlang_async_storage._concurrency import _progress
from greenlang_async_storage.testing import MemoryS3
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

SMALL = b"0123456789" * 10
LARGE = bytes(range(256)) * (11 * MIB // 256)


async def _drained(found: AsyncIterator[object]) -> None:
    async for _ in found:
        pass


async def _opened(lake: Bucket) -> None:
    async with lake.open_download("key") as body:
        await body.read()


async def _streamed(lake: Bucket) -> None:
    async with lake.stream_uploads([UploadItem("key", SMALL)]) as outcomes:
        await _drained(outcomes)


CALLS: dict[str, Callable[[Bucket], Awaitable[object]]] = {
    "upload_bytes": lambda lake: lake.upload_bytes("key", SMALL),
    "upload_stream": lambda lake: lake.upload_stream("key", [SMALL]),
    "download_bytes": lambda lake: lake.download_bytes("key"),
    "open_download": _opened,
    "head": lambda lake: lake.head("key"),
    "copy": lambda lake: lake.copy("key", "other"),
    "delete": lambda lake: lake.delete("key"),
    "list_objects": lambda lake: _drained(lake.list_objects()),
    "presign_download": lambda lake: lake.presign_download("key"),
    "create_multipart": lambda lake: lake.create_multipart("key"),
    "upload_many": lambda lake: lake.upload_many([UploadItem("key", SMALL)]),
    "stream_uploads": _streamed,
    "delete_many": lambda lake: lake.delete_many(["key"]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CALLS)
async def test_f33_used_after_close(name: str) -> None:
    """Refused at once and typed, whatever is called, and nothing goes over the wire."""
    async with laboratory("served") as lab:
        await lab.session.aclose()
        sent = len(lab.faults.requests)
        with pytest.raises(S3SessionClosedError):
            await CALLS[name](lab.lake)
        with pytest.raises(S3SessionClosedError):
            lab.session.bucket(BUCKET)
        assert len(lab.faults.requests) == sent


@pytest.mark.asyncio
async def test_f33_used_before_open() -> None:
    """A session that is new, or that could not be opened, says so; a second opening is refused."""
    settings = StorageSettings(**MemoryS3().settings_kwargs(), data_lake_bucket=BUCKET)
    session = StorageSession(settings)
    calls: list[Callable[[], object]] = [
        lambda: session.bucket(BUCKET),
        lambda: session.data_lake,
        lambda: session.client,
        session.statistics,
    ]
    for call in calls:
        with pytest.raises(S3SessionClosedError, match="not open yet"):
            call()
    for work in (session.check(), session.probe(), session.ensure_buckets()):
        with pytest.raises(S3SessionClosedError, match="not open yet"):
            await work
    async with session:
        with pytest.raises(S3SessionClosedError, match="cannot be opened again"):
            await session.__aenter__()
    with pytest.raises(S3SessionClosedError, match="cannot be opened again"):
        await session.__aenter__()


@pytest.mark.parametrize("name", CALLS)
def test_f33_used_in_another_loop(name: str) -> None:
    """`S3WrongLoopError` at once, in another loop and outside of one; in its own the session works on."""
    store = MemoryS3()
    store.create_bucket(BUCKET)
    store.put(BUCKET, "key", SMALL)
    with asyncio.Runner() as own, asyncio.Runner() as other:
        opening = store.open_session(StorageSettings(**store.settings_kwargs(), data_lake_bucket=BUCKET))
        session, lake = own.run(_entered(opening))
        sent = len(store.faults.requests)
        with pytest.raises(S3WrongLoopError, match="another event loop"):
            other.run(_awaited(lambda: CALLS[name](lake)))
        with pytest.raises(S3WrongLoopError, match="outside"):
            session.bucket(BUCKET)
        with pytest.raises(S3WrongLoopError):
            other.run(session.aclose())
        assert len(store.faults.requests) == sent
        assert own.run(lake.download_bytes("key")) == SMALL
        own.run(opening.__aexit__(None, None, None))


async def _entered(context: Any) -> tuple[StorageSession, Bucket]:
    session: StorageSession = await context.__aenter__()
    return session, session.data_lake


async def _awaited(call: Callable[[], Awaitable[object]]) -> None:
    await call()


@pytest.mark.asyncio
@pytest.mark.parametrize("fast_path", [False, True], ids=["plain", "fast"])
async def test_f33_used_after_a_fork(fast_path: bool) -> None:
    """The child is told to open its own session before it touches the parent's connections."""
    async with laboratory("served", fast_path=fast_path) as lab:
        lab.store.put(BUCKET, "key", SMALL)
        assert await lab.lake.download_bytes("key") == SMALL
        sent = len(lab.faults.requests)
        child = os.fork()
        if child == 0:
            os._exit(_refusals(lab))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(CALLS)
        assert len(lab.faults.requests) == sent
        # What the child did or did not do to the inherited sockets, the parent's replies stay its own.
        assert await lab.lake.download_bytes("key") == SMALL


def _refusals(lab: Lab) -> int:
    """In the child of a fork: how many calls said so, without a turn of the loop that is not its own."""
    told = 0
    for call in CALLS.values():
        try:
            _step(call(lab.lake))
        except S3WrongLoopError as error:
            told += "after a fork" in str(error)
        except BaseException:  # noqa: BLE001, S112  # counted by its absence
            continue
    return told


def _step(work: Awaitable[object]) -> None:
    """Run *work* to its first suspension."""
    with suppress(StopIteration):
        work.__await__().send(None)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_f34_a_hook_that_raises(lab: Lab, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The transfer is unharmed, the hook is asked again, and its failure is logged once."""
    calls = 0

    def plain(_: Progress) -> None:
        nonlocal calls
        calls += 1
        raise LookupError("of the hook")

    async def later(event: Progress) -> None:
        await asyncio.sleep(0)
        plain(event)

    hook = plain if kind == "plain" else later
    await lab.lake.upload_stream("key", _pieces(), part_size=PART, on_progress=hook)
    assert lab.check.content("key") == LARGE
    assert calls > 1
    assert caplog.text.count("progress_hook_failed") == 1


@pytest.mark.asyncio
async def test_f34_a_hook_that_blocks(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An async hook that never returns holds up no part, and the end only so long: then it is cut."""
    monkeypatch.setattr(_progress, "LAST_EVENT_SECONDS", 0.05)
    ended: list[str] = []

    async def hook(_: Progress) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cut")

    async with asyncio.timeout(20):
        await lab.lake.upload_stream("key", _pieces(), part_size=PART, on_progress=hook)
    assert lab.check.content("key") == LARGE
    assert ended == ["cut"]
    assert "progress_hook_failed" in caplog.text


@pytest.mark.asyncio
async def test_f34_a_hook_that_calls_back(lab: Lab) -> None:
    """A hook may use the session it is told about, even with one connection: nothing is held around it."""
    async with laboratory("served", max_pool_connections=1) as narrow:
        seen: list[bool] = []

        async def hook(_: Progress) -> None:
            seen.append(await narrow.lake.exists("key"))

        async with asyncio.timeout(20):
            await narrow.lake.upload_stream("key", _pieces(), part_size=PART, on_progress=hook)
        assert narrow.check.content("key") == LARGE
        assert seen[-1] is True


async def _pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(LARGE), MIB):
        yield LARGE[start : start + MIB]


class _Interrupted:
    """A producer that is interrupted after some of its pieces."""

    def __init__(self, interrupt: type[BaseException], after: int) -> None:
        self._interrupt = interrupt
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        for number in range(12):
            if number == self._after:
                raise self._interrupt
            yield bytes(MIB)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [0, 7], ids=["at-first", "in-mid-upload"])
@pytest.mark.parametrize("how", ["upload_many", "fail_fast", "stream_uploads"])
def test_f20_an_interrupt_in_one_item_comes_out_bare(
    interrupt: type[BaseException], after: int, how: str
) -> None:
    """
    The program ends by KeyboardInterrupt or SystemExit itself; every sibling has ended, and no slot is held.

    asyncio cancels all tasks then, those that abort uploads too: `abort_stale_uploads` finds what they leave.
    """
    store = MemoryS3()
    store.create_bucket(BUCKET)
    settings = StorageSettings(**store.settings_kwargs(), data_lake_bucket=BUCKET)
    left: list[int] = []
    mains: list[asyncio.Task[Any] | None] = []

    async def main() -> None:
        mains.append(asyncio.current_task())
        async with store.open_session(settings) as session:
            try:
                await batch(session.data_lake)
            finally:
                statistics = session.statistics()
                left.extend([statistics.in_flight, statistics.cleanups_pending])

    async def batch(lake: Bucket) -> None:
        items = [UploadItem(f"key-{number}", [LARGE[:MIB]] * 12) for number in range(6)]
        items.insert(3, UploadItem("interrupted", _Interrupted(interrupt, after)))
        if how == "stream_uploads":
            async with lake.stream_uploads(items, concurrency=3) as outcomes:
                await _drained(outcomes)
        else:
            await lake.upload_many(items, concurrency=3, fail_fast=how == "fail_fast")

    with pytest.raises(interrupt):
        asyncio.run(main())
    assert left == [0, 0]
    assert store.open_bodies == 0
    assert mains[0] is not None
    assert mains[0].done()
    assert store.get(BUCKET, "interrupted") is None


@pytest.mark.asyncio
async def test_f20_results_stay_exact_when_every_second_item_fails(lab: Lab, tmp_path: Path) -> None:
    """Order, count and errors of 300 items, of which half have no source: nothing is lost or told twice."""
    items = [UploadItem(f"{n:03}", SMALL if n % 2 else tmp_path / f"missing-{n}") for n in range(300)]
    report = await lab.lake.upload_many(items, concurrency=16)
    assert [outcome.index for outcome in report.succeeded] == list(range(1, 300, 2))
    assert [outcome.index for outcome in report.failed] == list(range(0, 300, 2))
    assert lab.store.keys(BUCKET) == [outcome.key for outcome in report.succeeded]
