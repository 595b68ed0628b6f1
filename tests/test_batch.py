"""Batches: one outcome per item in input order, bounded, and never outside their directory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from greenlang_async_storage import (
    Bucket,
    Progress,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
    UploadItem,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio


async def keys_of(bucket: Bucket) -> list[str]:
    """Every key."""
    return [found.key async for found in bucket.list_objects()]


async def test_upload_many_reports_every_item_in_order(lake: Bucket, tmp_path: Path) -> None:
    """Bytes, files, iterables and async iterables, each with its own options."""
    file = tmp_path / "f.csv"
    file.write_bytes(b"a,b")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"12"
        yield b"34"

    items = [
        UploadItem("bytes", b"1", metadata={"n": "1"}),
        UploadItem("file.csv", file),
        UploadItem("iterable", [b"x", b"y"]),
        UploadItem("async", pieces(), content_type="text/plain"),
    ]
    report = await lake.upload_many(items)
    assert [outcome.key for outcome in report.succeeded] == ["bytes", "file.csv", "iterable", "async"]
    assert [outcome.index for outcome in report.succeeded] == [0, 1, 2, 3]
    assert report.failed == []
    assert report.bytes == 1 + 3 + 2 + 4
    report.raise_for_errors()
    assert (await lake.head("bytes")).metadata["n"] == "1"
    assert (await lake.head("file.csv")).content_type == "text/csv"
    assert (await lake.head("async")).content_type == "text/plain"


async def test_one_bad_item_does_not_sink_the_rest(lake: Bucket, tmp_path: Path) -> None:
    """Each kind of failure is its item's outcome, as an S3Error."""
    await lake.upload_bytes("taken", b"old")

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("producer")

    items: list[Any] = [
        UploadItem("good-1", b"1"),
        UploadItem("taken", b"new", if_none_match=True),
        UploadItem("missing", tmp_path / "no-such-file"),
        UploadItem("broken", broken()),
        UploadItem("../bad", b""),
        UploadItem("wrong", 12),  # type: ignore[arg-type]  # a mistake on purpose
        "not an item",
        UploadItem("good-2", b"2"),
    ]
    report = await lake.upload_many(items)
    assert [outcome.key for outcome in report.succeeded] == ["good-1", "good-2"]
    assert [outcome.index for outcome in report.failed] == [1, 2, 3, 4, 5, 6]
    assert isinstance(report.failed[0].error, S3PreconditionFailedError)
    assert report.failed[2].error is not None
    assert isinstance(report.failed[2].error.__cause__, RuntimeError)
    with pytest.raises(S3PreconditionFailedError) as caught:
        report.raise_for_errors()
    assert "5 more" in caught.value.__notes__[0]
    assert await lake.download_bytes("taken") == b"old"


@pytest.mark.parametrize("position", [0, 3, 7])
async def test_fail_fast_raises_the_first_failure(lake: Bucket, position: int) -> None:
    """The failure is raised bare, and the rest is not sent."""
    items = [UploadItem("../bad" if number == position else f"k/{number}", b"1") for number in range(8)]
    with pytest.raises(S3InvalidRequestError):
        await lake.upload_many(items, fail_fast=True, concurrency=1)
    assert len(await keys_of(lake)) == position


async def test_batches_span_buckets(
    lake: Bucket, session: StorageSession, observer: Any, bucket_name: str
) -> None:
    """An item may name another bucket."""
    other = f"{bucket_name[:50]}-other"
    await asyncio.to_thread(observer.create_bucket, Bucket=other)
    report = await lake.upload_many([UploadItem("a", b"1"), UploadItem("b", b"2", bucket=other)])
    assert [outcome.bucket for outcome in report.succeeded] == [bucket_name, other]
    assert await session.bucket(other).download_bytes("b") == b"2"
    await session.bucket(other).delete("b")
    await asyncio.to_thread(observer.delete_bucket, Bucket=other)


async def test_an_async_input_is_read_only_as_fast_as_it_is_worked_on(lake: Bucket) -> None:
    """Memory stays flat: at no time are there more live sources than workers and one read ahead."""

    class Source(bytearray):
        __hash__ = object.__hash__  # type: ignore[assignment]  # a WeakSet asks for it

    alive: weakref.WeakSet[Source] = weakref.WeakSet()
    peak = 0

    async def items() -> AsyncIterator[UploadItem]:
        nonlocal peak
        for number in range(300):
            source = Source(b"x" * 10)
            alive.add(source)
            peak = max(peak, len(alive))
            yield UploadItem(f"k/{number:04}", source)

    async with lake.stream_uploads(items(), concurrency=8) as outcomes:
        seen = {outcome.index async for outcome in outcomes}
    gc.collect()
    assert seen == set(range(300))
    assert peak <= 8 + 3


async def test_leaving_a_stream_ends_its_uploads(lake: Bucket, session: StorageSession) -> None:
    """`break` in the middle leaves no task and no slot, and closes the input."""
    closed = False

    async def items() -> AsyncIterator[UploadItem]:
        nonlocal closed
        try:
            for number in range(10_000):
                yield UploadItem(f"k/{number:05}", b"1")
        finally:
            closed = True

    async with lake.stream_uploads(items(), concurrency=4) as outcomes:
        async for outcome in outcomes:
            if outcome.index > 10:
                break
    assert closed
    assert session.statistics().in_flight == 0
    assert len(await keys_of(lake)) < 100


async def test_a_cancelled_batch_leaves_nothing_running(lake: Bucket, session: StorageSession) -> None:
    """Cancelling half-way ends the workers and frees the slots."""
    begun = asyncio.Event()

    async def items() -> AsyncIterator[UploadItem]:
        for number in range(10_000):
            if number == 50:
                begun.set()
            yield UploadItem(f"k/{number:05}", b"1")

    batch = asyncio.create_task(lake.upload_many(items(), concurrency=8))
    await begun.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert session.statistics().in_flight == 0


async def test_download_many_writes_a_tree(lake: Bucket, tmp_path: Path) -> None:
    """Key segments become folders; missing keys are outcomes."""
    await lake.upload_many([UploadItem(f"d/{number}/f.txt", str(number).encode()) for number in range(20)])
    keys = [f"d/{number}/f.txt" for number in range(20)]
    report = await lake.download_many([*keys, "missing"], tmp_path)
    assert [outcome.key for outcome in report.succeeded] == keys
    assert isinstance(report.failed[0].error, S3NotFoundError)
    assert (tmp_path / "d/7/f.txt").read_bytes() == b"7"
    assert not (tmp_path / "missing").exists()


async def test_downloads_never_leave_their_directory(lake: Bucket, tmp_path: Path) -> None:
    """`..`, absolute keys, symlinks on the way and at the end: refused, and nothing is written outside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "last").symlink_to(outside / "target")
    await lake.upload_many([UploadItem(key, b"1") for key in ("link/x", "last", "dir-evil/x", "a..b")])
    report = await lake.download_many(
        ["../x", "/abs", "a/../../x", "link/x", "last", "dir-evil/x", "a..b"], root
    )
    assert [outcome.key for outcome in report.failed] == ["../x", "/abs", "a/../../x", "link/x", "last"]
    assert all(isinstance(outcome.error, S3InvalidRequestError) for outcome in report.failed)
    assert [outcome.key for outcome in report.succeeded] == ["dir-evil/x", "a..b"]
    assert list(outside.iterdir()) == []


async def test_keys_that_would_meet_in_one_file_are_reported(lake: Bucket, tmp_path: Path) -> None:
    """Case, Unicode form, twice the same, and a file that is also a folder."""
    keys = ["A.txt", "a.txt", "cafe\u0301", "caf\u00e9", "same", "same", "dir", "dir/x", "other/x", "other"]
    await lake.upload_many([UploadItem(key, b"1") for key in dict.fromkeys(keys)])
    report = await lake.download_many(keys, tmp_path, concurrency=1)
    assert [outcome.key for outcome in report.succeeded] == ["A.txt", "cafe\u0301", "same", "dir", "other/x"]
    assert len(report.failed) == 5


async def test_stream_downloads_gives_outcomes_as_they_finish(lake: Bucket, tmp_path: Path) -> None:
    """The streaming form covers every key."""
    await lake.upload_many([UploadItem(f"k/{number}", b"1") for number in range(30)])
    async with lake.stream_downloads(
        (f"k/{number}" for number in range(30)), tmp_path, concurrency=4
    ) as outcomes:
        done = sorted([outcome.index async for outcome in outcomes if outcome.ok])
    assert done == list(range(30))


async def test_delete_many_goes_a_thousand_at_a_time(lake: Bucket, session: StorageSession) -> None:
    """2,500 keys are three requests; order, count and duplicates are exact."""
    await lake.upload_many([UploadItem(f"k/{number:04}", b"") for number in range(60)])
    before = session.statistics().requests
    keys = [f"k/{number:04}" for number in range(2499)] + ["k/0000"]
    report = await lake.delete_many(keys)
    assert session.statistics().requests - before == 3
    assert [outcome.key for outcome in report.succeeded] == keys
    assert await keys_of(lake) == []


async def test_delete_many_takes_any_input(lake: Bucket) -> None:
    """A generator, an async generator, nothing at all; bad keys are outcomes."""
    await lake.upload_many([UploadItem(f"k/{number}", b"") for number in range(4)])

    async def some() -> AsyncIterator[str]:
        yield "k/2"
        yield "../bad"
        yield "k/3"

    assert len((await lake.delete_many(f"k/{number}" for number in range(2))).succeeded) == 2
    report = await lake.delete_many(some())
    assert [(outcome.key, outcome.ok) for outcome in report.succeeded] == [("k/2", True), ("k/3", True)]
    assert [outcome.key for outcome in report.failed] == ["../bad"]
    assert (await lake.delete_many([])).succeeded == []
    assert await keys_of(lake) == []


async def test_progress_counts_items_and_bytes(lake: Bucket) -> None:
    """The last event says that everything is done."""
    events: list[Progress] = []
    await lake.upload_many(
        [UploadItem(f"k/{number}", b"12345") for number in range(10)], on_progress=events.append
    )
    assert (events[-1].items_done, events[-1].items_total, events[-1].done) == (10, 10, 50)
    assert [event.done for event in events] == sorted(event.done for event in events)


async def test_scoped_batches_stay_in_their_scope(lake: Bucket, tmp_path: Path) -> None:
    """Keys go in and come out without the prefix, and no other tenant is touched."""
    await lake.upload_bytes("t10/a", b"other")
    tenant = lake.scoped("t1")
    report = await tenant.upload_many([UploadItem("a", b"1"), UploadItem("b", b"2")])
    assert [outcome.key for outcome in report.succeeded] == ["a", "b"]
    assert [outcome.result.key for outcome in report.succeeded if outcome.result] == ["a", "b"]
    assert await keys_of(tenant) == ["a", "b"]
    downloaded = await tenant.download_many(["a"], tmp_path)
    assert downloaded.succeeded[0].key == "a"
    assert (tmp_path / "a").read_bytes() == b"1"
    await tenant.delete_many(["a", "b"])
    assert await keys_of(lake) == ["t10/a"]


@pytest.mark.parametrize("concurrency", [0, -3])
async def test_a_batch_needs_a_worker(lake: Bucket, concurrency: int) -> None:
    """The message names the value and the remedy."""
    with pytest.raises(S3InvalidRequestError, match=f"concurrency={concurrency}"):
        await lake.upload_many([], concurrency=concurrency)


async def test_a_batch_inside_a_batch_does_not_deadlock(lake: Bucket, settings: Any) -> None:
    """With one connection, sources that download while they are uploaded still finish."""
    await lake.upload_bytes("source", b"12345")
    async with StorageSession(settings.model_copy(update={"max_pool_connections": 1})) as narrow:
        bucket = narrow.data_lake

        async def pieces() -> AsyncIterator[bytes]:
            yield await bucket.download_bytes("source")

        report = await bucket.upload_many([UploadItem(f"k/{number}", pieces()) for number in range(8)])
    assert len(report.succeeded) == 8
