"""F19: a cancel at every await of public coroutines: once, twice, by deadline, sibling, child, client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlang_async_storage import S3Error, S3SessionClosedError, StorageSession
from greenlang_async_storage.testing import Fault
from tests.faults._cancel_lab import LARGE, OLD, PART, Scene, scene, small_parts
from tests.faults._cancel_ring import RING, prepare
from tests.faults._cancel_run import cancelled, children_cancelled
from tests.faults._cancel_served import clients_leave, served
from tests.faults._cancel_works import CHILDREN, EVERY, SESSION
from tests.support.cancel import CancelAt, Tally, cancel_everywhere, cancel_twice_everywhere
from tests.support.faults import Door
from tests.test_api import CONTEXTS, COROUTINES, ITERATORS, OF_A_SESSION

pytestmark = pytest.mark.timeout(240)
DOORS: list[Door] = ["direct", "served"]
SHORT = 5.0
"""Seconds a call may take to clean up."""


@pytest.fixture(autouse=True)
def parts_are_small() -> Iterator[None]:
    """A part is 16 KiB here."""
    with small_parts():
        yield


@pytest.mark.asyncio
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("weather", ["fair", "ends lost"])
async def test_f19_cancelled_at_every_await(tmp_path: Path, door: Door, weather: str) -> None:
    """Every call of a bucket: the cancel comes out, nothing is left, nothing half, replies are one's own."""
    tally = Tally()
    async with scene(door, tmp_path) as at:
        at.weather = weather
        await cancelled(at, EVERY, list(EVERY), tally)
    assert tally.points.total() > 200
    assert set(tally.points) == {"cancel", "second cancel", "timeout", "sibling"}
    assert tally.slowest < SHORT


@pytest.mark.asyncio
@pytest.mark.parametrize("door", DOORS)
async def test_f19_what_is_built_on_it(tmp_path: Path, door: Door) -> None:
    """Artifacts, directories and tables, cancelled twice n by m: no spool, thread, folder or half version."""
    tally = Tally()
    async with scene(door, tmp_path, prepare=prepare) as at:
        for work in RING.values():
            await cancel_twice_everywhere(at.begin(work), at.check, tally=tally)
    assert tally.points.total() > 50
    assert tally.slowest < SHORT


@pytest.mark.asyncio
@pytest.mark.parametrize("weather", ["fair", "parts lost"])
@pytest.mark.parametrize("door", DOORS)
async def test_f19_a_child_cancelled_at_every_await(tmp_path: Path, door: Door, weather: str) -> None:
    """A stray cancel inside a call ends it or is survived; it never hangs, leaks or stores half an object."""
    tally = Tally()
    async with scene(door, tmp_path) as at:
        at.weather = weather
        await children_cancelled(at, EVERY, CHILDREN, tally)
    assert tally.points["cancelled child"] > len(CHILDREN)


@pytest.mark.asyncio
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", SESSION)
async def test_f19_opening_and_probing(tmp_path: Path, door: Door, name: str) -> None:
    """A session cancelled while it opens, works or closes leaves no socket, task or object."""
    async with scene(door, tmp_path) as at:
        assert await cancel_everywhere(at.begin(SESSION[name]), at.check) > 1


@pytest.mark.asyncio
@pytest.mark.parametrize("door", DOORS)
async def test_f19_closing_under_load(tmp_path: Path, door: Door) -> None:
    """`aclose()` cancelled at each of its awaits, once and twice: closed all the same, and the call ended."""
    async with scene(door, tmp_path) as at:
        for again_after in (0, 1, 2):
            for point in range(1, 100):
                if await _close_cancelled(at, point, point + again_after) < point:
                    break
                await at.check()
            assert 1 < point < 99


async def _close_cancelled(at: Scene, *points: int) -> int:
    session = StorageSession(at.lab.session.settings)
    await session.__aenter__()
    if at.door == "direct":
        await at.lab.store.attach(session)
    asked = asyncio.Event()

    async def endless() -> object:
        async def pieces() -> object:
            yield LARGE
            asked.set()
            await asyncio.Event().wait()
            yield b""

        return await session.data_lake.upload_stream("key", pieces(), part_size=PART)  # type: ignore[arg-type]

    call = asyncio.create_task(endless())
    await asked.wait()
    attempt = CancelAt(session.aclose(drain=0.01), *points)
    task = asyncio.create_task(_awaited(attempt))
    await asyncio.wait([task], timeout=20)
    assert task.done()
    assert task.cancelled() is (attempt.seen >= min(points))
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], S3SessionClosedError)
    with pytest.raises(S3SessionClosedError):
        session.bucket("lake")
    await session.aclose()
    return attempt.seen


async def _awaited(attempt: CancelAt[None]) -> None:
    await attempt


@pytest.mark.parametrize("fast_path", [False, True], ids=["plain", "fast"])
def test_f19_clients_that_leave(fast_path: bool) -> None:
    """A served application: whichever byte was the last, slots are free, no upload is open, replies fit."""
    tally = Tally()
    with served(fast_path=fast_path) as at:
        clients_leave(at, tally, places=8)
    assert tally.points["client gone"] == 35
    assert tally.slowest < SHORT


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["upload_bytes in parts", "upload_file", "upload_stream"])
async def test_f19_a_part_that_ends_in_a_cancel_is_no_success(tmp_path: Path, name: str) -> None:
    """
    CancelledError out of one part, as a thread pool raises it when it is shut down, never makes an object
    without that part.
    """

    def stray() -> None:
        raise asyncio.CancelledError

    async with scene("direct", tmp_path) as at:
        at.lab.faults.hooks["stray"] = stray
        at.lab.plan(Fault("UploadPart", 2, "unforwarded", "hook", hook="stray"))
        with contextlib.suppress(asyncio.CancelledError, S3Error):
            await EVERY[name](at)
        assert at.lab.check.content("key") in {OLD, LARGE}


def test_every_public_coroutine_is_there() -> None:
    """A coroutine added to `Bucket` or `StorageSession` is cancelled here too."""
    inside_multipart = {
        "create_multipart",
        "presign_part",
        "list_parts",
        "complete_multipart",
        "abort_multipart",
    }
    inside_sessions = {"aclose"}
    known = {*EVERY, *SESSION} | inside_multipart | inside_sessions
    assert {*COROUTINES, *ITERATORS, *CONTEXTS, *OF_A_SESSION} <= known
