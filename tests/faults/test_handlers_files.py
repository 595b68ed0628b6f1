"""Handlers around local files: journals that are none, locks that are held, disks that refuse."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3SourceChangedError,
)
from greenlang_async_storage.testing import Fault
from tests.faults.test_handlers_requests import aborted, refused
from tests.faults.test_rows_transfers import LARGE, SMALL
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """In memory, with one large object."""
    async with laboratory() as made:
        made.store.put(BUCKET, "key", LARGE)
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "source"
    path.write_bytes(LARGE)
    return path


def fails(code: int, of: Callable[..., Any], *, nth: int = 1) -> Callable[..., Any]:
    """*of*, whose *nth* call is refused by the system."""
    calls = 0

    def function(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(code, os.strerror(code))
        return of(*arguments, **options)

    return function


def broken_off() -> list[Fault]:
    """A download that has its first part when it is refused the rest."""
    return [Fault("GetObject", 1, "reply_body", "close", at=9 * MIB), refused("GetObject", nth=2)]


async def download(lab: Lab, folder: Path, **options: Any) -> None:
    """The large object, part after part, resumable."""
    await lab.lake.download_file(
        "key", folder / "file", part_size=PART, concurrency=1, resume=folder / "journal", **options
    )


# Downloads.


async def test_f22_a_journal_that_is_none(lab: Lab, tmp_path: Path) -> None:
    """A file of somebody else is not overwritten, whatever is in it."""
    for content in (b"\xff no JSON\n", b'["a list"]\n', b'{"format": "greenlang-download-1"}\n'):
        (tmp_path / "journal").write_bytes(content)
        with pytest.raises(S3LocalFileError) as caught:
            await download(lab, tmp_path)
        assert caught.value.errno == errno.EEXIST
        assert (tmp_path / "journal").read_bytes() == content
    assert not (tmp_path / "file").exists()


async def test_f22_a_line_that_a_kill_cut_short(lab: Lab, tmp_path: Path) -> None:
    """It is no part; the rest of the journal holds."""
    lab.plan(*broken_off())
    with pytest.raises(S3AccessDeniedError):
        await download(lab, tmp_path)
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b"[1, 12")
    lab.plan()
    await download(lab, tmp_path)
    assert (tmp_path / "file").read_bytes() == LARGE


async def test_f13_two_downloads_with_one_journal(lab: Lab, tmp_path: Path) -> None:
    """The second is told at once, and the first is unharmed."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    lab.faults.hooks.update(arrived=arrived.set, wait=go_on.wait)
    lab.plan(
        Fault("GetObject", 1, "reply_body", "hook", at=9 * MIB, hook="arrived"),
        Fault("GetObject", 1, "reply_body", "hook", at=9 * MIB, hook="wait"),
    )
    first = asyncio.create_task(download(lab, tmp_path))
    await arrived.wait()
    with pytest.raises(S3LocalFileError) as caught:
        await download(lab, tmp_path)
    assert caught.value.errno == errno.EAGAIN
    go_on.set()
    await first
    assert (tmp_path / "file").read_bytes() == LARGE


async def test_s08_a_link_in_the_place_of_the_partial_file(lab: Lab, tmp_path: Path) -> None:
    """Removed, not followed: what it leads to is untouched."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".file.resume.part").symlink_to(victim)
    await download(lab, tmp_path)
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == LARGE


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)])
@pytest.mark.parametrize("name", ["fsync", "replace", "fchmod"])
async def test_f23_a_disk_that_refuses_at_the_end(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, name: str
) -> None:
    """The old file stays, no temporary one is left, and the error has the errno."""
    (tmp_path / "file").write_bytes(b"old")
    lab.store.put(BUCKET, "key", LARGE[:size])
    monkeypatch.setattr(os, name, fails(errno.EIO, getattr(os, name)))
    with pytest.raises(S3LocalFileError) as caught:
        await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
    assert caught.value.errno == errno.EIO
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize(("code", "harmless"), [(errno.EINVAL, True), (errno.EIO, False)])
async def test_f23_a_folder_that_cannot_be_synced(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, harmless: bool
) -> None:
    """File systems without it are no failure; a broken disk is one."""
    monkeypatch.setattr(os, "fsync", fails(code, os.fsync, nth=2))
    if harmless:
        await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
        assert (tmp_path / "file").read_bytes() == LARGE
        return
    with pytest.raises(S3LocalFileError):
        await lab.lake.download_file("key", tmp_path / "file", part_size=PART)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no posix_fallocate")
@pytest.mark.parametrize(("code", "harmless"), [(errno.EOPNOTSUPP, True), (errno.ENOSPC, False)])
async def test_f23_no_room_for_the_whole_file(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, harmless: bool
) -> None:
    """Found before anything more is transferred; a file system that cannot tell is tried."""
    monkeypatch.setattr(os, "posix_fallocate", fails(code, os.posix_fallocate))
    if harmless:
        await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
        assert (tmp_path / "file").read_bytes() == LARGE
        return
    with pytest.raises(S3LocalFileError) as caught:
        await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
    assert caught.value.errno == code
    assert list(tmp_path.iterdir()) == []


async def test_f20_a_batch_into_a_folder_with_a_link(lab: Lab, tmp_path: Path) -> None:
    """The key that would leave the folder fails alone, one that does not exist as well."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(outside)
    for key in ("link/file", "good"):
        lab.store.put(BUCKET, key, SMALL)
    report = await lab.lake.download_many(["good", "link/file", "missing"], tmp_path / "in")
    assert [outcome.key for outcome in report.succeeded] == ["good"]
    kinds = [type(outcome.error) for outcome in report.failed]
    assert kinds == [S3InvalidRequestError, S3NotFoundError]
    assert list(outside.iterdir()) == []


async def test_f23_a_batch_below_a_name_too_long(lab: Lab, tmp_path: Path) -> None:
    """What no folder can be called is that key's outcome."""
    key = f"{'x' * 300}/file"
    lab.store.put(BUCKET, key, SMALL)
    report = await lab.lake.download_many([key], tmp_path)
    assert isinstance(report.failed[0].error, S3LocalFileError)


# Uploads.


async def begun(lab: Lab, source: Path, journal: Path) -> None:
    """An upload with a journal that got its first part to the store."""
    lab.plan(refused("UploadPart", nth=2), refused("UploadPart", nth=3))
    with pytest.raises(S3AccessDeniedError):
        await lab.lake.upload_file("new", source, part_size=PART, concurrency=1, resume=journal)
    lab.plan()
    assert len(lab.check.open_uploads()) == 1


async def go_on(lab: Lab, source: Path, journal: Path) -> None:
    """The same call again."""
    await lab.lake.upload_file("new", source, part_size=PART, concurrency=1, resume=journal)


async def test_f21_an_upload_that_is_gone_at_its_second_part(lab: Lab, source: Path, tmp_path: Path) -> None:
    """Begun anew: the store has lost the upload while it was gone on with."""
    await begun(lab, source, tmp_path / "journal")
    lab.plan(refused("UploadPart", 404, "NoSuchUpload", nth=1))
    await go_on(lab, source, tmp_path / "journal")
    assert lab.check.content("new") == LARGE
    assert not (tmp_path / "journal").exists()


async def test_f25_a_source_that_changes_while_it_is_gone_on_with(
    lab: Lab, source: Path, tmp_path: Path
) -> None:
    """Not begun anew behind the caller's back."""
    await begun(lab, source, tmp_path / "journal")

    def append() -> None:
        with source.open("ab") as file:
            file.write(b"more")

    lab.faults.hooks["append"] = lambda: asyncio.to_thread(append)
    lab.plan(Fault("UploadPart", 1, "unforwarded", "hook", hook="append"))
    with pytest.raises(S3SourceChangedError):
        await go_on(lab, source, tmp_path / "journal")
    assert lab.check.content("new") is None


async def test_f21_a_bucket_that_is_gone(lab: Lab, source: Path, tmp_path: Path) -> None:
    """Told; the journal stays for when it is back."""
    await begun(lab, source, tmp_path / "journal")
    lab.plan(refused("ListParts", 404, "NoSuchBucket"))
    with pytest.raises(S3NotFoundError):
        await go_on(lab, source, tmp_path / "journal")
    lab.plan()
    await go_on(lab, source, tmp_path / "journal")
    assert lab.check.content("new") == LARGE


async def test_f21_finished_by_somebody_who_died(lab: Lab, source: Path, tmp_path: Path) -> None:
    """An upload that is no longer there and left no object is begun anew."""
    await begun(lab, source, tmp_path / "journal")
    await aborted(lab)
    await go_on(lab, source, tmp_path / "journal")
    assert lab.check.content("new") == LARGE


async def test_f29_an_old_upload_that_cannot_be_aborted(lab: Lab, source: Path, tmp_path: Path) -> None:
    """The new source is sent; the old upload counts as a possible orphan."""
    await begun(lab, source, tmp_path / "journal")
    source.write_bytes(LARGE[1:])
    lab.plan(refused("AbortMultipartUpload"))
    await go_on(lab, source, tmp_path / "journal")
    assert lab.check.content("new") == LARGE[1:]
    assert lab.session.statistics().possible_orphans == 1
    await aborted(lab)


async def test_f13_two_uploads_with_one_journal(lab: Lab, source: Path, tmp_path: Path) -> None:
    """The second is told at once, and the first is unharmed."""
    arrived, wait = asyncio.Event(), asyncio.Event()
    lab.faults.hooks.update(arrived=arrived.set, wait=wait.wait)
    lab.plan(
        Fault("UploadPart", 1, "unforwarded", "hook", hook="arrived"),
        Fault("UploadPart", 1, "unforwarded", "hook", hook="wait"),
    )
    first = asyncio.create_task(go_on(lab, source, tmp_path / "journal"))
    await arrived.wait()
    with pytest.raises(S3LocalFileError) as caught:
        await go_on(lab, source, tmp_path / "journal")
    assert caught.value.errno == errno.EAGAIN
    wait.set()
    await first
    assert lab.check.content("new") == LARGE


async def test_f22_an_uploads_journal_that_is_none(lab: Lab, source: Path, tmp_path: Path) -> None:
    """Not overwritten: it may be anything."""
    (tmp_path / "journal").write_bytes(b"my diary")
    with pytest.raises(S3InvalidRequestError, match="is no journal"):
        await go_on(lab, source, tmp_path / "journal")
    assert (tmp_path / "journal").read_bytes() == b"my diary"


async def test_f23_a_disk_too_full_for_a_journal(
    lab: Lab, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload that nobody could go on with is aborted; nothing is left."""
    monkeypatch.setattr(os, "fsync", fails(errno.ENOSPC, os.fsync))
    with pytest.raises(S3LocalFileError) as caught:
        await go_on(lab, source, tmp_path / "journal")
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


async def test_f25_a_source_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    """Told by its path, whatever kind of source it was given as."""
    with pytest.raises(S3LocalFileError):
        await lab.lake.upload_file("new", tmp_path / "missing")
    with pytest.raises(S3LocalFileError):
        await lab.lake.upload_stream("new", tmp_path / "missing")


# Values.


class _Nested(list[Any]):
    """Nested deeper than an encoder goes."""

    def __init__(self) -> None:
        super().__init__()
        inner: list[Any] = []
        for _ in range(100_000):
            inner = [inner]
        self.append(inner)


@pytest.mark.parametrize("fast", [True, False])
async def test_f27_values_that_are_no_json(lab: Lab, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """A TypeError that names the place, before anything is sent; with and without orjson."""
    if not fast:
        monkeypatch.setitem(sys.modules, "orjson", None)
    for value in ({"a": {1}}, [float("nan")], "\ud800", {"deep": _Nested()}):
        with pytest.raises(TypeError):
            await lab.lake.upload_json("new", value)
    assert lab.faults.requests == []
    await lab.lake.upload_json("new", {"large": 2**70})
    assert await lab.lake.download_json("new") == {"large": 2**70}
