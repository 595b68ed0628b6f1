"""Rows of the fault matrix about processes that are killed in the middle of a transfer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support import child_jobs
from tests.support.children import Child, Nursery
from tests.support.faults import BUCKET, MIB, PART
from tests.support.killing import Scene, kill

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

NEW = child_jobs.content(21, 3 * PART - 7)
OLD = b"what was there before"
KILLED = -9

CREATE, SEND, COMPLETE = "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"
UPLOADS = [
    # how it is uploaded, over what, and when its process is killed
    ("file", OLD, kill(CREATE, 1, "request_head", 0)),
    ("stream", None, kill(CREATE, 1, "withheld", 0)),
    ("file", None, kill(CREATE, 1, "idle", 0)),
    ("stream", OLD, kill(SEND, 1, "request_body", 1)),
    ("file", OLD, kill(SEND, 2, "request_body", PART - 1)),
    ("stream", None, kill(SEND, 2, "withheld", 0)),
    ("file", None, kill(SEND, 1, "idle", 0)),
    ("stream", OLD, kill(COMPLETE, 1, "unforwarded", 0)),
    ("file", OLD, kill(COMPLETE, 1, "withheld", 0)),
    ("stream", None, kill(COMPLETE, 1, "reply_body", 10)),
    ("file", None, kill(COMPLETE, 1, "idle", 0)),
]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children for all tests of this module."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def scene(request: pytest.FixtureRequest, nursery: Nursery, tmp_path: Path) -> Scene:
    """A store, and a folder with the file that is uploaded; through both paths."""
    made = Scene(nursery, tmp_path / "work", request.param)
    (made.folder / "source").write_bytes(NEW)
    return made


def source(scene: Scene) -> dict[str, str]:
    """The places of an upload."""
    return {"key": str(scene.folder / "source")}


@pytest.mark.parametrize(("kind", "old", "killed"), UPLOADS)
async def test_f21_killed_in_mid_upload(scene: Scene, kind: str, old: bytes | None, killed: Fault) -> None:
    """The object is the old one or the whole new one; what is left open is found, and swept."""
    completes = killed.operation == COMPLETE  # the request was sent whole before the kill
    if old is not None:
        scene.store.put(BUCKET, "key", old)
    ending = await scene.run(
        killed,
        kind=kind,
        places=source(scene),
        options={"concurrency": 1},
        lingers=True,
    )
    assert ending.code == KILLED
    assert scene.store.get(BUCKET, "key") == (NEW if completes else old)
    orphans = len(scene.store.open_uploads(BUCKET))
    assert orphans == (0 if completes else 1)
    assert await scene.swept() == orphans
    assert scene.store.open_uploads(BUCKET) == []
    assert scene.store.get(BUCKET, "key") == (NEW if completes else old)


async def test_f21_the_sweep_goes_by_age(nursery: Nursery, tmp_path: Path) -> None:
    """Only an orphan older than asked for is aborted: another writer's young upload is left alone."""
    now = datetime(2026, 3, 4, tzinfo=UTC)
    store = MemoryS3(clock=lambda: now)
    scene = Scene(nursery, tmp_path / "work", fast_path=True, store=store)
    (scene.folder / "source").write_bytes(NEW)
    # Before the reply: after it the child may be quicker than the signal.
    await scene.run(kill("UploadPart", 2, "withheld"), kind="file", places=source(scene))
    [orphan] = store.open_uploads(BUCKET)
    now += timedelta(days=2)
    store.handle("POST", f"/{BUCKET}/young?uploads", {}, b"")
    assert len(store.open_uploads(BUCKET)) == 2
    assert await scene.swept(timedelta(days=1)) == 1
    [left] = store.open_uploads(BUCKET)
    assert (left[0], orphan[0]) == ("young", "key")
    assert await scene.swept(timedelta(days=1)) == 0


@pytest.mark.parametrize(("nth", "phase"), [(1, "withheld"), (2, "idle"), (3, "request_body")])
async def test_f21_a_journal_goes_on(scene: Scene, nth: int, phase: Any) -> None:
    """The next process asks which parts the store holds and sends the others only."""
    one_by_one = {"concurrency": 1}
    await scene.run(
        kill("UploadPart", nth, phase, 1000), kind="journal", places=source(scene), options=one_by_one
    )
    [(_, upload_id)] = scene.store.open_uploads(BUCKET)
    listing = scene.store.handle("GET", f"/{BUCKET}/key?uploadId={upload_id}", {}, b"")
    held = listing.body.count(b"<PartNumber>")
    # A body that the dead process had written down to the last byte still arrives.
    assert held in {nth - 1, nth}
    ending = await scene.run(kind="journal", places=source(scene), options=one_by_one)
    assert (ending.code, ending.heard) == (0, ["done"])
    assert ending.wire.count("CreateMultipartUpload") == 0
    assert ending.wire.count("ListParts") >= 1
    assert ending.wire.count("UploadPart") == 3 - held
    assert all(upload_id in request.target for request in ending.wire.requests)
    assert scene.store.get(BUCKET, "key") == NEW
    assert scene.store.open_uploads(BUCKET) == []
    assert [path.name for path in scene.folder.iterdir()] == ["source"]


@pytest.mark.parametrize("phase", ["withheld", "idle"])
async def test_f21_a_journal_of_a_completed_upload(scene: Scene, phase: Any) -> None:
    """Killed after the store completed: the next process finds that out and sends no part again."""
    killed = kill("CompleteMultipartUpload", 1, phase)
    await scene.run(killed, kind="journal", places=source(scene), lingers=True)
    assert scene.store.get(BUCKET, "key") == NEW
    journal = scene.folder / "source.journal"
    known = journal.exists()
    ending = await scene.run(kind="journal", places=source(scene))
    assert (ending.code, ending.heard) == (0, ["done"])
    # A reply that went out may have been read, and the journal removed, before the kill.
    assert known or phase == "idle"
    assert ending.wire.count("UploadPart") == (0 if known else 3)
    assert scene.store.open_uploads(BUCKET) == []
    assert not journal.exists()


DOWNLOADS = [
    # over what; nth GetObject, byte, parts at a time
    (OLD, 1, 0, 1),
    (None, 1, 1, 4),
    (OLD, 1, 2 * MIB + 1, 1),
    (None, 2, 100, 4),
    (OLD, 1, len(NEW) - 1, 1),
]


@pytest.mark.parametrize(("old", "nth", "at", "width"), DOWNLOADS)
async def test_f22_killed_in_mid_download(
    scene: Scene, old: bytes | None, nth: int, at: int, width: int
) -> None:
    """The final path keeps the old file or stays absent; one unfinished file is left, and swept by age."""
    scene.store.put(BUCKET, "key", NEW)
    target = scene.folder / "file"
    if old is not None:
        target.write_bytes(old)
    ending = await scene.run(
        kill("GetObject", nth, "reply_body", at),
        kind="fetch",
        places={"key": str(target)},
        options={"part_size": MIB, "concurrency": width},
    )
    assert ending.code == KILLED
    assert (target.read_bytes() if target.exists() else None) == old
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in scene.leftovers())
    await swept_by_age(scene, at_most=1)
    assert sorted(path.name for path in scene.folder.iterdir()) == (["file"] if old else []) + ["source"]


async def swept_by_age(scene: Scene, *, at_most: int) -> None:
    """Young unfinished files stay, old ones go."""
    left = scene.leftovers()
    assert len(left) <= at_most
    assert await scene.sweep_files(older_than=3600) == []
    for path in left:
        os.utime(path, (0, 0))
    assert await scene.sweep_files(older_than=3600) == left


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("size", [MIB, len(NEW)])
async def test_f22_killed_at_the_rename(scene: Scene, moment: str, size: int) -> None:
    """Before it the old file is there, after it the whole new one; nothing is in between."""
    scene.store.put(BUCKET, "key", NEW[:size])
    target = scene.folder / "file"
    target.write_bytes(OLD)
    ending = await scene.run(
        job=child_jobs.dies_at_rename,
        moment=moment,
        kind="fetch",
        places={"key": str(target)},
        options={"part_size": MIB},
    )
    assert ending.code == KILLED
    assert target.read_bytes() == (OLD if moment == "before" else NEW[:size])
    assert len(scene.leftovers()) == (1 if moment == "before" else 0)
    await swept_by_age(scene, at_most=1)


async def half_way(scene: Scene, target: Path) -> None:
    """A download with a journal, killed once half of the parts are in its file."""

    async def kill_when_there(child: Child) -> None:
        while await child.told() < len(NEW) // 2:
            pass
        await child.kill()

    ending = await scene.run(
        kill("GetObject", 1, "reply_body", len(NEW) - 1),
        hook=kill_when_there,
        kind="fetch-journal",
        places={"key": str(target)},
        options={"part_size": MIB, "concurrency": 1},
        watched=True,
    )
    assert ending.code == KILLED
    assert not target.exists()
    assert [path.name for path in scene.leftovers()] == [".file.resume.part"]
    assert await scene.sweep_files() == [], "a resumable file was swept"


@pytest.mark.parametrize("changed", ["nothing", "etag", "size"])
async def test_f22_resumed_only_when_it_is_the_same_object(scene: Scene, changed: str) -> None:
    """ETag and size of the journal match: the missing bytes are fetched. Else everything is, anew."""
    scene.store.put(BUCKET, "key", NEW)
    target = scene.folder / "file"
    await half_way(scene, target)
    now = {"nothing": NEW, "etag": NEW[::-1], "size": NEW[:-1]}[changed]
    scene.store.put(BUCKET, "key", now)
    ending = await scene.run(
        kind="fetch-journal", places={"key": str(target)}, options={"part_size": MIB, "concurrency": 1}
    )
    assert (ending.code, ending.heard) == (0, ["done"])
    assert await asyncio.to_thread(target.read_bytes) == now
    fetched = [request for request in ending.wire.requests if request.operation == "GetObject"]
    ranged = ["range" in request.headers for request in fetched]
    assert all(ranged) if changed == "nothing" else not ranged[0]
    assert all("if-match" in request.headers for request in fetched if "range" in request.headers)
    assert scene.leftovers() == []
    assert not (scene.folder / "file.journal").exists()
