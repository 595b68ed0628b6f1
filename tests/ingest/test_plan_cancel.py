"""Cancelled and interrupted runs: nothing stays open, and the next one goes on."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3AccessDeniedError, StorageSession
from greenlang_async_storage.ingest import plan_download, plan_upload
from tests.ingest.support import make_tree, read_tree, stored, sync, upload, write
from tests.support.faulty import FaultyClient
from tests.support.scripted import error_reply
from tests.support.seeding import Seeder

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

MIB = 1024 * 1024
LARGE = random.Random(3).randbytes(20 * MIB)
SMALL = {f"{number % 3}/{number}": b"x" * number for number in range(40)}


class Blocked:
    """A fault that lets so many calls through, to their ends, and holds up the rest for ever."""

    def __init__(self, after: int) -> None:
        self.started = 0
        self.left = self.after = after
        self.reached = asyncio.Event()

    async def __call__(self, call: Any, arguments: dict[str, Any]) -> Any:
        self.started += 1
        if self.started > self.after:
            self._look()
            await asyncio.Event().wait()
        reply = await call(**arguments)
        self.left -= 1
        self._look()
        return reply

    def _look(self) -> None:
        if not self.left and self.started > self.after:
            self.reached.set()


async def cancelled_at(client: FaultyClient, method: str, after: int, plan: Any) -> None:
    """A run of *plan*, cancelled twice while a call of *method* is held up."""
    client.always[method] = blocked = Blocked(after)
    run = asyncio.create_task(plan.apply())
    await blocked.reached.wait()
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    del client.always[method]


@pytest.mark.parametrize("journal", [True, False])
async def test_a_cancel_leaves_no_upload_open(
    session: StorageSession, lake: Bucket, observer: Any, tmp_path: Path, journal: bool
) -> None:
    """In the middle of a multipart upload: it is aborted, the connections are free, and the rest goes on."""
    make_tree(tmp_path / "t", {"large": LARGE, "z": b"1"})
    client = FaultyClient.install(lake)
    path = tmp_path / "j" if journal else None
    async with await plan_upload(tmp_path / "t", lake, journal=path) as plan:
        await cancelled_at(client, "upload_part", 1, plan)
        assert client.uploads
        assert client.still_open(observer, lake.name) == []
        assert session.statistics().in_flight == 0
        assert session.statistics().possible_orphans == 0
        summary = await plan.apply()
        assert summary.ok
    assert stored(observer, lake.name) == {"large": LARGE, "z": b"1"}
    assert {each.name for each in tmp_path.iterdir()} == ({"t", "j"} if journal else {"t"})


async def test_a_cancelled_run_goes_on_where_it_stopped(
    session: StorageSession, lake: Bucket, tmp_path: Path
) -> None:
    """What was done is in the journal, and not sent again by the next plan."""
    make_tree(tmp_path / "t", SMALL)
    client = FaultyClient.install(lake)
    async with await plan_upload(tmp_path / "t", lake, journal=tmp_path / "j") as plan:
        await cancelled_at(client, "put_object", 15, plan)
    assert session.statistics().in_flight == 0
    client.calls.clear()
    client.arguments.clear()
    counts, summary = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert (counts.new, counts.unchanged, summary.done) == (25, 15, 25)
    assert client.calls["put_object"] == 25


async def test_a_cancelled_download_leaves_no_file(
    session: StorageSession, lake: Bucket, observer: Any, tmp_path: Path
) -> None:
    """No temporary file, no half file, and the connections are free."""
    seeder = Seeder(observer, lake.name)
    for key, data in SMALL.items():
        seeder.put(f"pre/{key}", data)
    client = FaultyClient.install(lake)
    async with await plan_download(lake, "pre", tmp_path / "t") as plan:
        await cancelled_at(client, "get_object", 15, plan)
        left = {path.relative_to(tmp_path / "t").as_posix() for path in (tmp_path / "t").glob("*/*")}
        assert left <= SMALL.keys()
        assert session.statistics().in_flight == 0
        summary = await plan.apply()
        assert summary.failed == 0
    assert read_tree(tmp_path / "t") == SMALL


async def test_cancelled_planning_frees_the_journal(lake: Bucket, tmp_path: Path) -> None:
    """In the middle of the comparison; the next plan gets it at once."""
    make_tree(tmp_path / "t", SMALL)
    await upload(tmp_path / "t", lake)
    client = FaultyClient.install(lake)
    client.always["head_object"] = blocked = Blocked(5)
    planning = asyncio.create_task(plan_upload(tmp_path / "t", lake, journal=tmp_path / "j"))
    await blocked.reached.wait()
    planning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await planning
    del client.always["head_object"]
    counts, _ = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert counts.unchanged == len(SMALL)


async def interrupt(client: FaultyClient, lake: Bucket, root: Path, journal: Path) -> None:
    """A run that stops in the middle of the large file, as a kill would: the upload stays open."""
    stored_one = asyncio.Event()

    async def fault(call: Any, arguments: dict[str, Any]) -> Any:
        if arguments["PartNumber"] == 1:
            reply = await call(**arguments)
            asyncio.get_running_loop().call_soon(stored_one.set)
            return reply
        await stored_one.wait()
        raise error_reply("AccessDenied", 403)

    client.always["upload_part"] = fault
    summary = await upload(root, lake, journal=journal)
    assert isinstance(summary.failures[0].error, S3AccessDeniedError)
    client.always.clear()
    client.calls.clear()


async def test_large_uploads_are_resumed(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """With a journal the parts that were stored are not sent again, and the note of them goes away."""
    make_tree(tmp_path / "t", {"large": LARGE})
    client = FaultyClient.install(lake)
    await interrupt(client, lake, tmp_path / "t", tmp_path / "j")
    assert client.still_open(observer, lake.name)
    counts, summary = await sync(tmp_path / "t", lake, journal=tmp_path / "j")
    assert (counts.new, summary.done) == (1, 1)
    assert client.calls["upload_part"] == 2
    assert client.calls["create_multipart_upload"] == 0
    assert client.still_open(observer, lake.name) == []
    assert {each.name for each in tmp_path.iterdir()} == {"t", "j"}
    assert stored(observer, lake.name) == {"large": LARGE}


async def test_uploads_nobody_goes_on_with_are_aborted(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """The file of an interrupted upload is gone: the next good run gives it up."""
    make_tree(tmp_path / "t", {"large": LARGE})
    client = FaultyClient.install(lake)
    await interrupt(client, lake, tmp_path / "t", tmp_path / "j")
    (tmp_path / "t" / "large").unlink()
    write(tmp_path / "t" / "small", b"1")
    summary = await upload(tmp_path / "t", lake, journal=tmp_path / "j")
    assert summary.ok
    assert client.still_open(observer, lake.name) == []
    assert {each.name for each in tmp_path.iterdir()} == {"t", "j"}
