"""Prefixes to directories: nothing outside them is ever touched, nothing local is lost unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3InvalidRequestError, S3LocalFileError
from greenlang_async_storage.ingest import IngestSummary, PlanCounts, _api, plan_download
from tests.ingest.support import actions, make_tree, read_tree, write
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

FILES = {"a.txt": b"alpha", "b/c.txt": b"gamma", "b/d.txt": b"", "e/f/g.bin": b"x" * 100_000}


async def fetch(
    lake: Bucket, root: Path, *, apply: dict[str, Any] | None = None, **options: Any
) -> tuple[PlanCounts, IngestSummary]:
    """What a plan from `pre/` found, and what its run did."""
    async with await plan_download(lake, "pre", root, **options) as plan:
        return plan.counts, await plan.apply(**(apply or {}))


@pytest.fixture
def seeder(observer: Any, bucket_name: str) -> Seeder:
    """Puts objects as other programs do."""
    return Seeder(observer, bucket_name)


async def test_everything_comes_once(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """Into a directory that need not exist; the second time nothing is sent."""
    for key, data in FILES.items():
        seeder.put(f"pre/{key}", data)
    seeder.put("pre2/other", b"")
    counts, summary = await fetch(lake, tmp_path / "new" / "t")
    assert counts == PlanCounts(new=4, bytes=100_010)
    assert (summary.done, summary.bytes) == (4, 100_010)
    assert read_tree(tmp_path / "new" / "t") == FILES
    counts, summary = await fetch(lake, tmp_path / "new" / "t")
    assert counts == PlanCounts(unchanged=4)
    assert summary.nothing_changed


async def test_a_plan_makes_no_directory(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """Looking is not touching."""
    seeder.put("pre/a", b"1")
    async with await plan_download(lake, "pre", tmp_path / "t") as plan:
        assert plan.counts.new == 1
    assert not (tmp_path / "t").exists()


async def test_changes_and_deletes(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """By content; files without an object go when asked, links and folders stay."""
    make_tree(tmp_path / "t", {"same": b"1", "edited": b"2", "old": b"3", "sub/old": b"4"})
    (tmp_path / "t" / "link").symlink_to(tmp_path)
    seeder.put("pre/same", b"1")
    seeder.put("pre/edited", b"9")
    async with await plan_download(lake, "pre", tmp_path / "t", delete=True) as plan:
        assert await actions(plan) == {
            "edited": ("download", "CRC64NVME differs"),
            "old": ("delete", "not in the source"),
            "sub/old": ("delete", "not in the source"),
        }
        summary = await plan.apply()
    assert (summary.done, summary.deleted, summary.failed) == (1, 2, 0)
    assert read_tree(tmp_path / "t") == {"same": b"1", "edited": b"9"}
    assert (tmp_path / "t" / "link").is_symlink()


HOSTILE = ["../out", "a/../../out", "b//c", "./d", "e/./f", "g/.."]


async def test_hostile_keys_stay_inside(
    lake: Bucket, seeder: Seeder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that would leave the directory are failures of the plan; the rest comes, markers are skipped."""
    seeder.put("pre/good", b"1")
    seeder.put("pre/folder/", b"")
    seeder.put("pre/folder/x", b"2")
    real = type(lake).list_objects

    async def listing(view: Bucket, prefix: str = "", **options: Any) -> Any:
        from greenlang_async_storage import ObjectInfo

        found = [info async for info in real(view, prefix, **options)]
        # MinIO stores no such keys, other stores do.
        found += [ObjectInfo(key, 3, "e" * 32) for key in HOSTILE]
        for info in sorted(found, key=lambda each: each.key):
            yield info

    monkeypatch.setattr(type(lake), "list_objects", listing)
    counts, summary = await fetch(lake, tmp_path / "t")
    assert (counts.new, counts.failed, counts.skipped) == (2, len(HOSTILE), 1)
    assert {failure.key for failure in summary.failures} == set(HOSTILE)
    assert all(isinstance(failure.error, S3InvalidRequestError) for failure in summary.failures)
    assert read_tree(tmp_path) == {"t/good": b"1", "t/folder/x": b"2"}


async def test_links_are_not_followed(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """A link in the directory is no way out of it, whether it was there before the plan or came after."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "early").symlink_to(tmp_path / "outside")
    seeder.put("pre/early/x", b"1")
    seeder.put("pre/late/x", b"2")
    async with await plan_download(lake, "pre", tmp_path / "t") as plan:
        assert (plan.counts.new, plan.counts.failed) == (1, 1)
        (tmp_path / "t" / "late").symlink_to(tmp_path / "outside")
        summary = await plan.apply()
    assert {failure.key for failure in summary.failures} == {"early/x", "late/x"}
    assert list((tmp_path / "outside").iterdir()) == []


async def test_local_work_is_not_lost(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """A file written or made since the plan is neither replaced nor deleted."""
    make_tree(tmp_path / "t", {"edited": b"1", "old": b"2"})
    seeder.put("pre/edited", b"9")
    seeder.put("pre/new", b"8")
    async with await plan_download(lake, "pre", tmp_path / "t", delete=True) as plan:
        assert (plan.counts.new, plan.counts.changed, plan.counts.deletes) == (1, 1, 1)
        write(tmp_path / "t" / "edited", b"mine")
        write(tmp_path / "t" / "new", b"mine")
        summary = await plan.apply()
        assert (summary.done, summary.failed, summary.held_back) == (0, 2, 1)
    async with await plan_download(lake, "pre", tmp_path / "t", delete=True) as plan:
        write(tmp_path / "t" / "old", b"mine too")
        summary = await plan.apply()
    assert (summary.done, summary.failed, summary.deleted) == (2, 1, 0)
    [failure] = summary.failures
    assert isinstance(failure.error, S3LocalFileError)
    assert "is not what it was when the plan was made" in str(failure.error)
    assert read_tree(tmp_path / "t") == {"edited": b"9", "new": b"8", "old": b"mine too"}


async def test_a_delete_never_passes_a_link(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """A folder that became a link after the plan leads nowhere."""
    make_tree(tmp_path / "t", {"sub/old": b"1", "keep": b"2"})
    seeder.put("pre/keep", b"2")
    async with await plan_download(lake, "pre", tmp_path / "t", delete=True) as plan:
        os.rename(tmp_path / "t" / "sub", tmp_path / "elsewhere")  # noqa: PTH104  # plain
        (tmp_path / "t" / "sub").symlink_to(tmp_path / "elsewhere")
        summary = await plan.apply()
    assert (summary.deleted, summary.failed) == (0, 1)
    assert (tmp_path / "elsewhere" / "old").read_bytes() == b"1"


async def test_disks_that_ignore_case(
    lake: Bucket, seeder: Seeder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the first of two keys that meet in one file comes, the other is a failure that names it."""
    for key in ("README", "readme", "stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"):
        seeder.put(f"pre/{key}", key.encode())
    counts, _ = await fetch(lake, tmp_path / "sensitive")
    assert (counts.new, counts.failed) == (4, 0)
    monkeypatch.setattr(_api, "is_case_insensitive", lambda _folder: True)
    counts, summary = await fetch(lake, tmp_path / "not")
    assert (counts.new, counts.failed) == (2, 2)
    assert any("'README' has the same file name" in str(each.error) for each in summary.failures)


async def test_a_file_in_the_way_of_a_folder(lake: Bucket, seeder: Seeder, tmp_path: Path) -> None:
    """A failure with a reason; the file stays."""
    make_tree(tmp_path / "t", {"a": b"1"})
    seeder.put("pre/a/b", b"2")
    seeder.put("pre/c", b"3")
    _, summary = await fetch(lake, tmp_path / "t")
    assert (summary.done, summary.failed) == (1, 1)
    assert read_tree(tmp_path / "t") == {"a": b"1", "c": b"3"}


async def test_a_store_out_of_order_is_refused(
    lake: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merging needs order; a store without would make deletes of what is there."""
    from greenlang_async_storage import ObjectInfo, S3Error

    async def listing(view: Bucket, prefix: str = "", **options: Any) -> Any:
        for key in ("b", "a"):
            yield ObjectInfo(key, 3, "e" * 32)

    monkeypatch.setattr(type(lake), "list_objects", listing)
    with pytest.raises(S3Error, match="lists 'a' after 'b'"):
        await plan_download(lake, "", tmp_path / "t", delete=True)
