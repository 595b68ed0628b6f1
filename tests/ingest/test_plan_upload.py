"""Directories to prefixes: what is planned, what is sent, what is left alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3SessionClosedError,
    S3SourceChangedError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage.ingest import IngestProgress, PlanCounts, plan_upload
from tests.ingest.support import actions, make_tree, stored, sync, upload, write

pytestmark = pytest.mark.asyncio

FILES = {"a.txt": b"alpha", "b/c.txt": b"gamma", "b/d.txt": b"", "e/f/g.bin": b"x" * 100_000}


async def test_everything_is_sent_once(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """The first sync sends all, the second nothing, and both say so."""
    make_tree(tmp_path / "t", FILES)
    counts, summary = await sync(tmp_path / "t", lake, "pre")
    assert counts == PlanCounts(new=4, bytes=100_010)
    assert (summary.done, summary.bytes, summary.failed) == (4, 100_010, 0)
    assert stored(observer, lake.name, "pre/") == FILES
    counts, summary = await sync(tmp_path / "t", lake, "pre")
    assert counts == PlanCounts(unchanged=4)
    assert str(counts) == "nothing to do: 4 unchanged, 0 skipped"
    assert summary.nothing_changed
    assert str(summary) == "nothing changed: 0 sent, 4 unchanged"


async def test_a_plan_changes_nothing(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """A dry run is a plan that is looked at: each action says what, where and why."""
    make_tree(tmp_path / "t", {"new": b"1", "same": b"2", "longer": b"33", "other": b"4"})
    for key, data in {"same": b"2", "longer": b"3", "other": b"5", "extra": b"6"}.items():
        await lake.upload_bytes(f"pre/{key}", data)
    before = stored(observer, lake.name)
    async with await plan_upload(tmp_path / "t", lake, "pre/", delete=True) as plan:
        assert plan.counts == PlanCounts(new=1, changed=2, unchanged=1, deletes=1, bytes=4)
        assert await actions(plan) == {
            "extra": ("delete", "not in the source"),
            "longer": ("upload", "size 1 -> 2"),
            "new": ("upload", "new"),
            "other": ("upload", "CRC64NVME differs"),
        }
        paths = [action.path async for action in plan if action.kind == "upload"]
        assert paths == [tmp_path / "t" / name for name in ("longer", "new", "other")]
    assert stored(observer, lake.name) == before


async def test_equal_size_and_time_is_not_equal(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Content decides: a file changed behind size and time is sent, a file only touched is not."""
    make_tree(tmp_path / "t", {"edited": b"before", "touched": b"equal"})
    await upload(tmp_path / "t", lake)
    write(tmp_path / "t" / "edited", b"behind")
    os.utime(tmp_path / "t" / "touched")
    counts, _ = await sync(tmp_path / "t", lake)
    assert (counts.changed, counts.unchanged) == (1, 1)
    assert stored(observer, lake.name) == {"edited": b"behind", "touched": b"equal"}


async def test_compare_by_size_alone(lake: Bucket, tmp_path: Path) -> None:
    """Asked for, content is not looked at."""
    make_tree(tmp_path / "t", {"a": b"one", "b": b"four"})
    await upload(tmp_path / "t", lake)
    make_tree(tmp_path / "t", {"a": b"two", "b": b"other size"})
    counts, _ = await sync(tmp_path / "t", lake, compare="size")
    assert (counts.changed, counts.unchanged) == (1, 1)
    with pytest.raises(ValueError, match="pass one of checksum, size"):
        await plan_upload(tmp_path, lake, compare="mtime")  # type: ignore[arg-type]


async def test_deletes_are_asked_for(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Without `delete` extra objects stay; with it they go, and nothing outside the prefix does."""
    make_tree(tmp_path / "t", {"keep": b"1", "also": b"2"})
    for key in ("pre/keep", "pre/old", "pre2/other"):
        await lake.upload_bytes(key, b"1")
    assert (await upload(tmp_path / "t", lake, "pre")).deleted == 0
    summary = await upload(tmp_path / "t", lake, "pre", delete=True)
    assert (summary.done, summary.deleted) == (0, 1)
    assert set(stored(observer, lake.name)) == {"pre/keep", "pre/also", "pre2/other"}


@pytest.mark.parametrize("most", [0, 1, 0.4, 0.0])
async def test_delete_guard(lake: Bucket, observer: Any, tmp_path: Path, most: float) -> None:
    """More deletes than allowed: nothing at all is done, and the numbers are named."""
    make_tree(tmp_path / "t", {"new": b"1", "keep": b"2"})
    for key in ("keep", "old1", "old2"):
        await lake.upload_bytes(key, b"2")
    async with await plan_upload(tmp_path / "t", lake, delete=True) as plan:
        with pytest.raises(S3InvalidRequestError, match=r"delete 2 of the target's 3 entries.*max_deletes"):
            await plan.apply(max_deletes=most)
        assert "new" not in stored(observer, lake.name)
        summary = await plan.apply(max_deletes=2)
    assert summary.deleted == 2
    assert set(stored(observer, lake.name)) == {"new", "keep"}


@pytest.mark.parametrize("most", [-1, 1.5, float("nan"), True, "1"])
async def test_delete_guard_is_a_number_or_a_share(lake: Bucket, tmp_path: Path, most: Any) -> None:
    """Anything else is a mistake, and says what it takes."""
    async with await plan_upload(tmp_path, lake) as plan:
        with pytest.raises(ValueError, match="max_deletes is"):
            await plan.apply(max_deletes=most)


async def test_an_empty_source_deletes_nothing(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """A disk that is not mounted must not empty the bucket; only saying so does."""
    await lake.upload_bytes("key", b"1")
    async with await plan_upload(tmp_path, lake, delete=True) as plan:
        with pytest.raises(S3InvalidRequestError, match="the source is empty"):
            await plan.apply(max_deletes=1.0)
        assert stored(observer, lake.name)
        summary = await plan.apply(max_deletes=1.0, allow_empty_source=True)
    assert summary.deleted == 1
    with pytest.raises(S3LocalFileError, match="cannot read the directory") as caught:
        await plan_upload(tmp_path / "gone", lake, delete=True)
    assert caught.value.errno == errno.ENOENT


async def test_what_is_left_out_is_not_deleted(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Excluded names, links, folder markers: on both sides out of sight."""
    make_tree(tmp_path / "t", {"a.csv": b"1", "b.tmp": b"2", "raw/c.csv": b"3", "f": b"4"})
    (tmp_path / "t" / "link").symlink_to("a.csv")
    for key in ("z.tmp", "raw/old.csv", "link", "link/below", "folder/", "old.csv"):
        await lake.upload_bytes(key, b"")
    exclude = ["*.tmp", "raw/"]
    async with await plan_upload(tmp_path / "t", lake, delete=True, exclude=exclude) as plan:
        assert plan.counts.skipped == 3
        assert await actions(plan) == {
            "a.csv": ("upload", "new"),
            "f": ("upload", "new"),
            "old.csv": ("delete", "not in the source"),
        }


async def test_an_unreadable_folder_deletes_nothing(
    lake: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may lie in it is not taken for missing; the failure is in the plan and in the summary."""
    make_tree(tmp_path / "t", {"a/1": b"1", "b/2": b"2"})
    await upload(tmp_path / "t", lake)
    real = os.scandir

    def scandir(path: bytes) -> Any:
        if os.fsencode(path).endswith(b"/b/"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with await plan_upload(tmp_path / "t", lake, delete=True) as plan:
        assert plan.counts == PlanCounts(unchanged=1, failed=1)
        summary = await plan.apply()
    assert not summary.ok
    [failure] = summary.failures
    assert (failure.key, failure.kind) == ("b/", None)
    with pytest.raises(S3LocalFileError, match="Permission denied"):
        summary.raise_for_errors()


async def test_one_failure_does_not_sink_the_rest(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """It is listed, deletes wait, and applying again tries only what failed."""
    make_tree(tmp_path / "t", {"a": b"1", "b": b"2", "c": b"3"})
    await lake.upload_bytes("old", b"")
    async with await plan_upload(tmp_path / "t", lake, delete=True) as plan:
        (tmp_path / "t" / "b").unlink()
        summary = await plan.apply(max_deletes=1)
        assert (summary.done, summary.failed, summary.deleted, summary.held_back) == (2, 1, 0, 1)
        assert "1 deletes held back" in str(summary)
        [failure] = summary.failures
        assert (failure.key, failure.kind) == ("b", "upload")
        assert isinstance(failure.error, S3LocalFileError)
        assert [each.key async for each in plan.failures()] == ["b"]
        write(tmp_path / "t" / "b", b"2")
        summary = await plan.apply(max_deletes=1)
        assert (summary.done, summary.failed, summary.deleted, summary.skipped) == (1, 0, 1, 2)
        assert [each async for each in plan.failures()] == []
        again = await plan.apply(max_deletes=1)
        assert again.nothing_changed
    assert set(stored(observer, lake.name)) == {"a", "b", "c"}


async def test_fail_fast(lake: Bucket, tmp_path: Path) -> None:
    """The first failure is raised itself, no group around it."""
    make_tree(tmp_path / "t", {"a": b"1", "b": b"2"})
    async with await plan_upload(tmp_path / "t", lake) as plan:
        (tmp_path / "t" / "a").unlink()
        with pytest.raises(S3LocalFileError) as caught:
            await plan.apply(fail_fast=True, concurrency=1)
        assert caught.value.errno == errno.ENOENT


async def test_a_file_that_changes_while_it_is_sent(
    lake: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half is stored; it is one line of the summary."""
    make_tree(tmp_path / "t", {"log": b"x" * 1000, "other": b"1"})
    real = os.preadv if hasattr(os, "preadv") else None
    assert real is not None

    def growing(descriptor: int, buffers: Any, offset: int, *flags: int) -> int:
        count = real(descriptor, buffers, offset, *flags)
        if count == 1000:
            with (tmp_path / "t" / "log").open("ab") as file:
                file.write(b"more")
        return count

    monkeypatch.setattr(os, "preadv", growing)
    summary = await upload(tmp_path / "t", lake)
    assert (summary.done, summary.failed) == (1, 1)
    assert isinstance(summary.failures[0].error, S3SourceChangedError)
    assert not await lake.exists("log")


async def test_write_options_go_with_every_object(lake: Bucket, tmp_path: Path) -> None:
    """Metadata and the rest; conditions fit one object and are refused."""
    make_tree(tmp_path / "t", FILES)
    await upload(tmp_path / "t", lake, options={"metadata": {"team": "lake"}, "cache_control": "no-store"})
    info = await lake.head("b/c.txt")
    assert info.metadata["team"] == "lake"
    assert (info.cache_control, info.content_type) == ("no-store", "text/plain")
    with pytest.raises(ValueError, match="if_match"):
        await plan_upload(tmp_path / "t", lake, options={"if_match": "x"})


async def test_a_closed_session_ends_the_run(settings: StorageSettings, tmp_path: Path) -> None:
    """One error, not one failure for each file; what was planned is still there to be read."""
    make_tree(tmp_path / "t", FILES)
    async with StorageSession(settings) as opened:
        plan = await plan_upload(tmp_path / "t", opened.data_lake)
    async with plan:
        with pytest.raises(S3SessionClosedError) as caught:
            await plan.apply()
        assert caught.value.__suppress_context__
        assert len(await actions(plan)) == 4
    with pytest.raises(RuntimeError, match="the plan is closed"):
        await plan.apply()


async def test_a_missing_bucket_fails_the_plan(session: StorageSession, tmp_path: Path) -> None:
    """Planning needs the listing; nothing is left behind."""
    make_tree(tmp_path / "t", FILES)
    with pytest.raises(S3NotFoundError):
        await plan_upload(tmp_path / "t", session.bucket("no-such-bucket-anywhere"))


@pytest.mark.parametrize("fails", [False, True])
async def test_progress(lake: Bucket, tmp_path: Path, fails: bool) -> None:
    """Cumulative, ends at the totals, and a hook that raises harms nothing."""
    make_tree(tmp_path / "t", FILES)
    seen: list[IngestProgress] = []

    async def hook(progress: IngestProgress) -> None:
        seen.append(progress)
        if fails:
            raise RuntimeError("of the hook")

    summary = await upload(tmp_path / "t", lake, on_progress=hook, apply={"on_progress": seen.append})
    assert summary.ok
    planning = [each for each in seen if each.phase == "plan"][-1]
    assert (planning.items_done, planning.bytes_done, planning.items_total) == (4, 100_010, None)
    last = seen[-1]
    assert (last.phase, last.items_done, last.items_total) == ("apply", 4, 4)
    assert (last.bytes_done, last.bytes_total, last.failed) == (100_010, 100_010, 0)
    assert last.rate > 0
    assert last.concurrency == 32
