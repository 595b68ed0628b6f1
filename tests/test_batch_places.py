"""Downloads into a directory in which somebody else moves folders and links about at the same time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, ObjectInfo, S3InvalidRequestError, _partial_file
from greenlang_async_storage._batch import _downloads as downloads
from greenlang_async_storage._batch._paths import LocalTree
from greenlang_async_storage._download_file import download_file

ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""
KIB = 1024


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder nothing may be written to."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def swap(root: Path, outside: Path) -> None:
    """What an attacker does between the check of the folder and its use."""
    (root / "folder").rename(root / "moved")
    (root / "folder").symlink_to(outside)


@ON_MOTO
@pytest.mark.asyncio
@pytest.mark.parametrize("size", [KIB, 40 * KIB], ids=["one request", "parts"])
async def test_s02_a_folder_that_becomes_a_link_leads_nowhere(
    lake: Bucket, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The file goes into the folder that was checked, wherever its name leads by then."""
    await lake.upload_bytes("folder/file", bytes(size))
    root = tmp_path / "root"

    async def swapped(*args: Any, **options: Any) -> ObjectInfo:
        await asyncio.to_thread(swap, root, outside)
        return await download_file(*args, **{**options, "part_size": 16 * KIB})

    monkeypatch.setattr(downloads, "download_file", swapped)
    report = await lake.download_many(["folder/file"], root)
    report.raise_for_errors()
    assert list(outside.iterdir()) == []
    assert [path.name for path in (root / "moved").iterdir()] == ["file"]
    assert (root / "moved" / "file").read_bytes() == bytes(size)


@ON_MOTO
@pytest.mark.asyncio
async def test_a_failed_download_cleans_up_where_it_wrote(
    lake: Bucket, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unfinished file is removed from the folder that was checked, and the folder is let go."""
    await lake.upload_bytes("folder/file", bytes(40 * KIB))
    root = tmp_path / "root"
    held: list[int] = []

    async def swapped(*args: Any, at: int, **options: Any) -> ObjectInfo:
        held.append(at)
        await asyncio.to_thread(swap, root, outside)
        # A directory of the file's name, so that the last step fails.
        await asyncio.to_thread((root / "moved" / "file").mkdir)
        monkeypatch.setattr(_partial_file, "check_target", lambda *_: None)
        return await download_file(*args, at=at, **{**options, "part_size": 16 * KIB})

    monkeypatch.setattr(downloads, "download_file", swapped)
    report = await lake.download_many(["folder/file"], root, durable=False)
    assert len(report.failed) == 1
    assert list(outside.iterdir()) == []
    assert [path.name for path in (root / "moved").iterdir()] == ["file"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held[0])


@pytest.mark.parametrize("name", ["link/file", "folder/link/file", "file/file", "link"])
def test_s02_links_and_files_are_no_folders(tmp_path: Path, outside: Path, name: str) -> None:
    """A link on the way or at the end, or a file on the way, is refused; nothing stays open."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "folder" / "link").symlink_to(outside)
    place = LocalTree(tmp_path, remember=False).place("key", name)
    try:
        with pytest.raises(S3InvalidRequestError, match="is a symlink"):
            place.enter()
    finally:
        place.close()
    assert place.descriptor == -1
    assert list(outside.iterdir()) == []


def test_the_directory_itself_may_be_a_link(tmp_path: Path, outside: Path) -> None:
    """Where the caller's own path leads is the caller's affair."""
    (tmp_path / "link").symlink_to(outside)
    place = LocalTree(tmp_path / "link", remember=False).place("key", "a/b")
    place.enter()
    place.close()
    place.close()
    assert (outside / "a").is_dir()
