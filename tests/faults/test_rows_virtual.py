"""Rows about time: F8, replies a byte at a time and long calls, in virtual time; F19, a cancelled reply."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from greenlang_async_storage import S3TimeoutError, _retry
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.faults import BUCKET, Lab, laboratory
from tests.support.virtual_time import run_virtual

REAL_PAUSE = _retry.RetryPolicy.pause
STALL = 20.0
"""Seconds, as configured unless told otherwise."""
DATA = bytes(range(251)) * 1200
SMALL = b"known bytes"


@pytest.fixture(autouse=True)
def retries_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting costs nothing here."""
    monkeypatch.setattr(_retry.RetryPolicy, "pause", REAL_PAUSE)


def drip(nth: int, seconds: float = 1.0) -> Fault:
    """The body of the *nth* GetObject comes a byte at a time from its 1,000th on."""
    return Fault("GetObject", nth, "reply_body", "drip", at=1000, seconds=seconds)


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def in_laboratory(work: Any, **settings: Any) -> float:
    """Do `work(lab)` before a store in memory; how long it took, opening and closing aside."""

    async def main() -> float:
        async with laboratory("direct", store=MemoryS3(), **{"read_timeout": 60, **settings}) as lab:
            started = now()
            await work(lab)
            return now() - started

    return run_virtual(main())[0]


@pytest.mark.parametrize("way", ["bytes", "stream"])
def test_f08_one_byte_a_second_is_given_up_and_resumed(way: str) -> None:
    """After the stall limit, not after the 80 hours the body would take; what came is not asked for again."""

    async def work(lab: Lab) -> None:
        lab.store.put(BUCKET, "key", DATA)
        lab.plan(drip(1))
        if way == "bytes":
            found = await lab.lake.download_bytes("key")
        else:
            async with lab.lake.open_download("key") as body:
                found = b"".join([piece async for piece in body])
        assert found == DATA
        ranges = [request.headers.get("range") for request in lab.faults.requests]
        assert (len(ranges), ranges[0]) == (2, None)
        assert ranges[1] is not None
        assert int(ranges[1].removeprefix("bytes=").split("-")[0]) >= 1000

    took = in_laboratory(work)
    assert STALL - 1 <= took <= 2 * STALL + 5


def test_f08_a_drip_that_never_ends() -> None:
    """`S3TimeoutError` after the configured connections, each given up at the stall limit."""

    async def work(lab: Lab) -> None:
        lab.store.put(BUCKET, "key", DATA)
        lab.plan(drip(0))
        with pytest.raises(S3TimeoutError) as caught:
            await lab.lake.download_bytes("key")
        assert (caught.value.code, caught.value.attempts, caught.value.retryable) == ("Stalled", 3, True)
        assert lab.count("GetObject") == 3

    assert in_laboratory(work) <= 3 * (2 * STALL + 5)


def test_f08_slow_is_not_stalled() -> None:
    """A reply above 1 KiB a second is read to its end, however long that takes: here minutes."""

    async def work(lab: Lab) -> None:
        lab.store.put(BUCKET, "key", DATA)
        slow = Fault("GetObject", 1, "reply_body", "drip", at=len(DATA) - 50_000, seconds=1 / 1100)
        lab.plan(slow)
        assert await lab.lake.download_bytes("key") == DATA
        assert lab.count("GetObject") == 1

    took = in_laboratory(work)
    assert took > 2 * STALL


@pytest.mark.parametrize("operation", ["CopyObject", "CompleteMultipartUpload"])
def test_f08_copy_and_complete_may_take_minutes(operation: str) -> None:
    """They answer when the store is done: ten minutes of silence are no stall, and nothing is sent twice."""

    async def work(lab: Lab) -> None:
        lab.store.put(BUCKET, "from", SMALL)
        lab.plan(Fault(operation, 1, "withheld", "delay", seconds=600.0))
        if operation == "CopyObject":
            await lab.lake.copy("from", "to")
        else:
            await lab.lake.upload_bytes("to", DATA * 25)
        assert lab.count(operation) == 1
        assert lab.check.content("to") in (SMALL, DATA * 25)

    # S3 sends blanks meanwhile; before a store that does not, the socket has to be told to wait.
    assert in_laboratory(work, read_timeout=900) >= 600


@pytest.mark.asyncio
@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("phase", ["withheld", "reply_body"])
async def test_f19_a_cancelled_reply_is_nobody_elses(door: Any, phase: Any) -> None:
    """Its connection is closed, never used again: the next reader gets its own bytes, through every slot."""
    async with laboratory(door, max_pool_connections=2) as lab:
        lab.store.put(BUCKET, "large", DATA)
        lab.store.put(BUCKET, "small", SMALL)
        for _ in range(6):
            reached = asyncio.Event()
            lab.faults.hooks["reached"] = reached.set
            at = 1000 if phase == "reply_body" else 0
            lab.plan(
                Fault("GetObject", 1, phase, "hook", at=at, hook="reached"),
                Fault("GetObject", 1, phase, "stall", at=at),
            )
            reader = asyncio.create_task(lab.lake.download_bytes("large"))
            await asyncio.wait_for(reached.wait(), 20)
            reader.cancel()
            await asyncio.wait([reader])
            assert reader.cancelled()
            lab.assert_at_rest()
            assert await lab.lake.download_bytes("small") == SMALL
