"""Row of the fault matrix about what the operating system refuses: space, size, descriptors, permission."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import child_jobs
from tests.support.child_jobs import Refusal
from tests.support.children import Nursery
from tests.support.faults import BUCKET, MIB, PART
from tests.support.killing import Ending, Scene

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

LARGE = child_jobs.content(23, 3 * MIB + 5)
SMALL = LARGE[:1000]
OLD = b"what was there before"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children for all tests of this module."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def scene(request: pytest.FixtureRequest, nursery: Nursery, tmp_path: Path) -> Scene:
    """A store with two objects, through both paths."""
    made = Scene(nursery, tmp_path / "work", request.param)
    made.store.put(BUCKET, "large", LARGE)
    made.store.put(BUCKET, "small", SMALL)
    return made


async def refused(scene: Scene, how: Refusal, kind: str, places: dict[str, Path], **more: Any) -> Ending:
    """A call that ends in an error because the system refuses something; it holds nothing afterwards."""
    ending = await attempted(scene, how, kind, places, **more)
    error, in_flight = ending.heard
    assert error["type"] == "S3LocalFileError", error
    assert (error["retryable"], in_flight) == (False, 0)
    return ending


async def attempted(scene: Scene, how: Refusal, kind: str, places: dict[str, Path], **more: Any) -> Ending:
    """A call in a process the system refuses something to."""
    named = {key: str(path) for key, path in places.items()}
    options: dict[str, int] = {"concurrency": 1}
    if kind != "fetch-many":
        options["part_size"] = MIB if kind == "fetch" else PART
    ending = await scene.run(
        job=child_jobs.refused, how=how, kind=kind, places=named, options=options, **more
    )
    assert ending.code == 0
    return ending


def untouched(scene: Scene, ending: Ending) -> None:
    """One request, none after the failure; nothing in the folder but what was there."""
    assert ending.wire.count("GetObject") == 1
    assert [path.name for path in scene.folder.iterdir()] == ["file"]
    assert (scene.folder / "file").read_bytes() == OLD


CASES: list[tuple[Refusal, int, str]] = [
    ("file-size", len(SMALL) - 1, "EFBIG"),
    ("full-disk", 0, "ENOSPC"),
    ("descriptors", 0, "EMFILE"),
]
REMEDIES = {"EFBIG": "ulimit -f", "ENOSPC": "Free space", "EMFILE": "ulimit -n"}


@pytest.mark.parametrize(("how", "limit", "name"), CASES)
@pytest.mark.parametrize("key", ["small", "large"])
async def test_f23_a_download_that_finds_no_place(
    scene: Scene, how: Refusal, limit: int, name: str, key: str
) -> None:
    """`S3LocalFileError` with errno and remedy, nothing asked for again, the old file and no other left."""
    target = scene.folder / "file"
    target.write_bytes(OLD)
    ending = await refused(scene, how, "fetch", {key: target}, limit=limit)
    assert ending.heard[0]["errno"] == name
    assert REMEDIES[name] in ending.heard[0]["text"]
    untouched(scene, ending)


async def test_f23_the_last_byte_that_fits(scene: Scene) -> None:
    """A file of exactly the largest size allowed is written."""
    for key, data in (("small", SMALL), ("large", LARGE)):
        ending = await attempted(scene, "file-size", "fetch", {key: scene.folder / key}, limit=len(data))
        assert ending.heard == ["done", 0]
        assert (scene.folder / key).read_bytes() == data


async def test_f23_a_folder_that_may_not_be_written(scene: Scene) -> None:
    """EACCES before a byte is on disk, for a file over an old one."""
    target = scene.folder / "file"
    target.write_bytes(OLD)
    with read_only(scene.folder):
        for key in ("small", "large"):
            ending = await refused(scene, "read-only", "fetch", {key: target})
            assert ending.heard[0]["errno"] == "EACCES"
            assert "write to the directory" in ending.heard[0]["text"]
            untouched(scene, ending)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody but root may write to *folder*; everybody may look into it."""
    above = [folder, *folder.parents]
    before = {path: path.stat().st_mode for path in above if path.stat().st_uid == os.geteuid()}
    try:
        for path, mode in before.items():
            path.chmod(mode & ~0o222 | 0o555 if path == folder else mode | 0o555)
        yield
    finally:
        for path, mode in before.items():
            path.chmod(mode)


async def test_f23_one_of_a_batch(scene: Scene) -> None:
    """What fits is there, what does not is told, and nothing unfinished is left."""
    places = {key: scene.folder / key for key in ("small", "large")}
    ending = await attempted(scene, "file-size", "fetch-many", places, limit=MIB)
    error, in_flight = ending.heard
    assert (error["errno"], in_flight) == ("EFBIG", 0)
    assert (scene.folder / "small").read_bytes() == SMALL
    assert [path.name for path in scene.folder.iterdir()] == ["small"]
    assert ending.wire.count("GetObject") == 2


@pytest.mark.parametrize(("how", "limit", "name"), [("file-size", 10, "EFBIG"), ("full-disk", 0, "ENOSPC")])
async def test_f23_a_journal_that_finds_no_place(scene: Scene, how: Refusal, limit: int, name: str) -> None:
    """The upload is aborted: without its journal nobody could go on with it."""
    source = scene.folder / "source"
    source.write_bytes(child_jobs.content(1, PART + 1))
    ending = await refused(scene, how, "journal", {"key": source}, limit=limit)
    assert ending.heard[0]["errno"] == name
    assert ending.wire.count("UploadPart") == 0
    assert ending.wire.count("AbortMultipartUpload") == 2
    assert scene.store.open_uploads(BUCKET) == []
    assert [path.name for path in scene.folder.iterdir()] == ["source"]


async def test_f23_a_source_without_a_descriptor(scene: Scene) -> None:
    """An upload whose file cannot be opened sends nothing."""
    source = scene.folder / "source"
    source.write_bytes(SMALL)
    ending = await refused(scene, "descriptors", "file", {"key": source})
    assert ending.heard[0]["errno"] == "EMFILE"
    assert ending.wire.count("PutObject") == 0
    assert scene.store.get(BUCKET, "key") is None


async def test_f23_a_connection_without_a_descriptor(scene: Scene) -> None:
    """No socket either: a typed error that says why, and no slot held."""
    ending = await attempted(scene, "descriptors", "fetch", {"small": scene.folder / "file"}, warm=False)
    error, in_flight = ending.heard
    assert error["type"] == "S3ConnectionError"
    assert "Too many open files" in error["text"]
    assert REMEDIES["EMFILE"] in error["text"]
    assert in_flight == 0
    assert ending.wire.requests == []
    assert list(scene.folder.iterdir()) == []
