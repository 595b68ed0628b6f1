"""The journal: what it spares the next run, who may use it, and what it is never trusted with."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3InvalidRequestError, S3LocalFileError
from greenlang_async_storage.ingest import _digests, plan_copy, plan_download, plan_upload
from tests.ingest.support import make_tree, read_tree, stored, sync, upload, write
from tests.support.faulty import FaultyClient
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

FILES = {"a.txt": b"alpha", "b/c.txt": b"gamma", "b/d.txt": b"", "e/f/g.bin": b"x" * 100_000}
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only."""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of files that were hashed to be compared."""
    found: list[str] = []
    real = _digests._digest

    def digest(path: Path, entry: Any, *rest: Any) -> Any:
        found.append(entry.key)
        return real(path, entry, *rest)

    monkeypatch.setattr(_digests, "_digest", digest)
    return found


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files made a moment ago count as written long ago."""
    monkeypatch.setattr("greenlang_async_storage.ingest._walk.is_settled", lambda *_times: True)
    monkeypatch.setattr("greenlang_async_storage.ingest._senders.is_settled", lambda *_times: True)


async def test_the_second_run_asks_nothing(lake: Bucket, tmp_path: Path, hashed: list[str]) -> None:
    """With a journal, an unchanged tree costs the listing alone: no HEAD and no hashing."""
    make_tree(tmp_path / "t", FILES)
    await upload(tmp_path / "t", lake, journal=tmp_path / "j")
    client = FaultyClient.install(lake)
    counts, summary = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert counts.unchanged == 4
    assert summary.nothing_changed
    assert dict(client.calls) == {"list_objects_v2": 1}
    assert hashed == []


async def test_only_what_changed_is_looked_at(
    lake: Bucket, tmp_path: Path, hashed: list[str], observer: Any
) -> None:
    """A touched file is hashed, a replaced object asked for; each is remembered again."""
    make_tree(tmp_path / "t", FILES)
    await upload(tmp_path / "t", lake, journal=tmp_path / "j")
    os.utime(tmp_path / "t" / "a.txt")
    Seeder(observer, lake.name).put_parts("b/c.txt", b"gamma", checksum="CRC64NVME")
    client = FaultyClient.install(lake)
    counts, _ = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert counts.unchanged + counts.changed == 4
    assert hashed[:1] == ["a.txt"]
    assert client.calls["head_object"] == 1
    client.calls.clear()
    hashed.clear()
    counts, _ = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert counts.unchanged == 4
    assert (client.calls["head_object"], hashed) == (0, [])


async def test_content_is_never_taken_on_trust(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """What the journal knew is worth nothing for a file or an object that changed since."""
    make_tree(tmp_path / "t", {"edited": b"before", "replaced": b"mine!"})
    await upload(tmp_path / "t", lake, journal=tmp_path / "j")
    write(tmp_path / "t" / "edited", b"behind")
    Seeder(observer, lake.name).put("replaced", b"alien")
    counts, _ = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert counts.changed == 2
    assert stored(observer, lake.name) == {"edited": b"behind", "replaced": b"mine!"}


async def test_downloads_and_copies_remember_too(
    lake: Bucket, tmp_path: Path, hashed: list[str], observer: Any
) -> None:
    """Each direction has its own journal, and its second run asks nothing."""
    for key, data in FILES.items():
        Seeder(observer, lake.name).put(f"src/{key}", data)
    client = FaultyClient.install(lake)
    for second in (False, True):
        client.calls.clear()
        async with await plan_download(lake, "src", tmp_path / "t", journal=tmp_path / "down") as plan:
            assert (await plan.apply()).nothing_changed is second
        async with await plan_copy(lake, "src", lake, "dst", journal=tmp_path / "copy") as plan:
            assert (await plan.apply()).nothing_changed is second
    assert dict(client.calls) == {"list_objects_v2": 3}
    assert hashed == []
    assert read_tree(tmp_path / "t") == FILES


async def test_stores_without_checksums(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Objects nobody can compare are sent again and said so; with a journal they are sent once."""
    make_tree(tmp_path / "t", {"a": b"1" * 100})
    client = FaultyClient.install(lake)
    real = observer.head_object(Bucket=lake.name, Key=await _put(lake, "a", b"1" * 100))
    bare = {name: real[name] for name in ("ContentLength", "LastModified", "ETag")}

    async def no_checksum(call: Any, arguments: Any) -> Any:
        found = await call(**arguments)
        return {**bare, "ETag": found["ETag"], "ServerSideEncryption": "aws:kms"}

    client.always["head_object"] = no_checksum
    async with await plan_upload(tmp_path / "t", lake) as plan:
        assert [action.reason async for action in plan] == ["no checksum to compare"]
    assert (await upload(tmp_path / "t", lake, journal=tmp_path / "j")).done == 1
    assert (await upload(tmp_path / "t", lake, journal=tmp_path / "j")).nothing_changed


async def _put(lake: Bucket, key: str, data: bytes) -> str:
    await lake.upload_bytes(key, data)
    return key


@ON_MOTO
async def test_one_run_at_a_time(lake: Bucket, tmp_path: Path) -> None:
    """A second run with the same journal is refused while the first lasts, here and in another process."""
    make_tree(tmp_path / "t", FILES)
    journal = tmp_path / "j"
    async with await plan_upload(tmp_path / "t", lake, journal=journal):
        with pytest.raises(S3LocalFileError, match="another run works with the journal") as caught:
            await plan_upload(tmp_path / "t", lake, journal=journal)
        assert caught.value.errno == errno.EAGAIN
        code = (
            "import sys, pathlib; from greenlang_async_storage.ingest._store import Store\n"
            "try: Store(pathlib.Path(sys.argv[1]), {}).open()\n"
            "except Exception as exc: print(type(exc).__name__, exc.errno)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(journal)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["S3LocalFileError", str(errno.EAGAIN)]
    async with await plan_upload(tmp_path / "t", lake, journal=journal) as plan:
        assert plan.counts.new == 4


@ON_MOTO
async def test_a_journal_belongs_to_one_plan(lake: Bucket, tmp_path: Path) -> None:
    """Another directory, prefix or direction is refused, and the journal stays as it was."""
    make_tree(tmp_path / "t", FILES)
    make_tree(tmp_path / "u", FILES)
    journal = tmp_path / "j"
    await upload(tmp_path / "t", lake, "pre", journal=journal)
    for attempt in (
        plan_upload(tmp_path / "u", lake, "pre", journal=journal),
        plan_upload(tmp_path / "t", lake, "other", journal=journal),
        plan_download(lake, "pre", tmp_path / "t", journal=journal),
    ):
        with pytest.raises(S3InvalidRequestError, match="is the journal of another plan"):
            await attempt
    assert (await upload(tmp_path / "t", lake, "pre", journal=journal)).nothing_changed


@ON_MOTO
@pytest.mark.parametrize("content", [b"not a database at all" * 100, "sqlite"])
async def test_other_files_are_not_overwritten(lake: Bucket, tmp_path: Path, content: Any) -> None:
    """A path that holds something else is refused and kept, byte for byte."""
    journal = tmp_path / "j"
    if content == "sqlite":
        with contextlib.closing(sqlite3.connect(journal)) as db:
            db.execute("CREATE TABLE precious (data)")
    else:
        journal.write_bytes(content)
    before = hashlib.sha256(journal.read_bytes()).digest()
    with pytest.raises(S3InvalidRequestError, match="is no journal of a plan"):
        await plan_upload(tmp_path, lake, journal=journal)
    assert hashlib.sha256(journal.read_bytes()).digest() == before
    journal.unlink()
    journal.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(S3LocalFileError, match="cannot open the journal"):
        await plan_upload(tmp_path, lake, journal=journal)
    with pytest.raises(S3LocalFileError, match="cannot open the journal"):
        await plan_upload(tmp_path, lake, journal=tmp_path / "no" / "folder" / "j")


@ON_MOTO
async def test_the_journal_is_private_and_not_content(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """It is readable by its owner alone, and not sent when it lies in the directory."""
    make_tree(tmp_path / "t", {"a": b"1"})
    journal = tmp_path / "t" / ".journal"
    await upload(tmp_path / "t", lake, journal=journal)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    await upload(tmp_path / "t", lake, journal=journal)
    assert set(stored(observer, lake.name)) == {"a"}
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"a", ".journal"}


@ON_MOTO
async def test_fresh_files_are_hashed_again(
    lake: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    """A file written a moment before it was walked may change within the same tick."""
    monkeypatch.setattr("greenlang_async_storage.ingest._walk.is_settled", lambda *_times: False)
    make_tree(tmp_path / "t", {"a": b"1"})
    await upload(tmp_path / "t", lake, journal=tmp_path / "j")
    client = FaultyClient.install(lake)
    counts, _ = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert (counts.unchanged, hashed, client.calls["head_object"]) == (1, ["a"], 0)


@ON_MOTO
async def test_what_is_deleted_is_forgotten(lake: Bucket, tmp_path: Path) -> None:
    """The journal does not grow with what is gone."""
    make_tree(tmp_path / "t", {"a": b"1", "b": b"2"})
    journal = tmp_path / "j"
    await upload(tmp_path / "t", lake, journal=journal)
    (tmp_path / "t" / "b").unlink()
    await upload(tmp_path / "t", lake, journal=journal, delete=True)
    with contextlib.closing(sqlite3.connect(journal)) as db:
        assert db.execute("SELECT key FROM known").fetchall() == [("a",)]
