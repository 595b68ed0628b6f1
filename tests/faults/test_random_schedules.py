"""Random faults on a small life of one key: every promise holds, and a seed is run again exactly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import S3Error
from greenlang_async_storage.testing import MemoryS3, Schedule, shrink
from tests.support.faults import FULL, MIB, PART, Door, Lab, laboratory

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(1800 if FULL else 240)]

OPERATIONS = [
    "PutObject",
    "GetObject",
    "HeadObject",
    "DeleteObject",
    "CopyObject",
    "ListObjectsV2",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
]
OLD = b"old" * 1000
SMALL = bytes(range(256)) * 40
LARGE = bytes(range(256)) * ((PART + MIB) // 256) + b"end"
BEHAVIOURS: list[Any] = ["aws", "minio", "moto"]
SCHEDULES = 10_000 if FULL else 80
SERVED = 2_000 if FULL else 20
REGRESSIONS: list[str] = []
"""Schedules that once found a fault, as `Schedule.to_json` prints them."""


async def outcome(work: Any) -> S3Error | None:
    """None, or the typed error; anything else is a fault of ours and comes out."""
    try:
        await work
    except S3Error as error:
        return error
    return None


def told_truly(error: S3Error | None, *, old: object, new: object, found: object) -> None:
    """Success means the new state, `not_applied` the old one, `unknown` one of them; never another."""
    assert found in (old, new), "half of something, or something else"
    if error is None:
        assert found == new, "acknowledged, and yet not there"
    elif error.outcome == "not_applied":
        assert found == old, "said not to be applied, and yet it was"
    elif error.outcome == "applied":
        assert found == new
    if error is not None:
        assert error.operation
        assert error.attempts <= 3


async def live(lab: Lab, folder: Path) -> None:
    """Put, read, list, upload in parts, copy, download to a file, delete; each checked at the store."""
    lake, check = lab.lake, lab.check
    error = await outcome(lake.upload_bytes("key", SMALL))
    told_truly(error, old=OLD, new=SMALL, found=check.content("key"))
    before = check.content("key")
    try:
        assert await lake.download_bytes("key") == before
    except S3Error as refused:
        assert refused.operation  # noqa: PT017  # any refusal will do, as long as it is typed
    error = await outcome(lake.upload_bytes("parts", LARGE))
    told_truly(error, old=None, new=LARGE, found=check.content("parts"))
    error = await outcome(lake.upload_bytes("once", SMALL, if_none_match=True))
    told_truly(error, old=None, new=SMALL, found=check.content("once"))
    error = await outcome(lake.copy("key", "copy"))
    told_truly(error, old=None, new=before, found=check.content("copy"))
    path = folder / "file"
    path.write_bytes(OLD)
    error = await outcome(lake.download_file("parts", path, part_size=PART))
    told_truly(error, old=OLD, new=check.content("parts"), found=path.read_bytes())
    path.unlink()
    assert list(folder.iterdir()) == []
    listed = [name for name in ("copy", "key", "once", "parts") if check.content(name) is not None]
    try:
        assert [found.key async for found in lake.list_objects()] == listed
    except S3Error as refused:
        assert refused.operation == "ListObjectsV2"  # noqa: PT017
    error = await outcome(lake.delete("key"))
    told_truly(error, old=before, new=None, found=check.content("key"))


async def attempt(schedule: Schedule, folder: Path, door: Door) -> list[str]:
    """One life under *schedule*; the log of it."""
    store = MemoryS3(behaviour=BEHAVIOURS[schedule.seed % 3])
    async with laboratory(door, store=store, read_timeout=20, retry_mode="standard") as lab:
        store.put("lake", "key", OLD)
        lab.faults.schedule = schedule
        async with asyncio.timeout(60):
            await live(lab, folder)
        lab.faults.schedule = Schedule()
        statistics = lab.session.statistics()
        open_uploads = lab.check.open_uploads()
        # An upload that a proxy opened a second time is nobody's to know of.
        doubled = sum(
            request.operation == "CreateMultipartUpload"
            and any(fault.action == "twice" for fault in request.faults)
            for request in lab.faults.requests
        )
        assert len(open_uploads) <= statistics.possible_orphans + doubled, "left open, uncounted"
        for key, upload_id in open_uploads:
            store.handle("DELETE", f"/lake/{key}?uploadId={upload_id}", {}, b"")
        return lab.faults.trace()


async def examine(schedules: list[Schedule], folder: Path, door: Door) -> None:
    """Fail with the smallest part of a schedule that breaks a promise."""

    async def fails(schedule: Schedule) -> bool:
        try:
            await attempt(schedule, folder, door)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is what we look for
            return not isinstance(error, KeyboardInterrupt)
        return False

    for schedule in schedules:
        try:
            await attempt(schedule, folder, door)
        except Exception as error:
            smallest = await shrink(schedule, fails)
            error.add_note(f"seed {schedule.seed}: {schedule.to_json()}")
            error.add_note(f"smallest: {smallest.to_json()}")
            raise


@pytest.mark.parametrize("block", range(4))
async def test_random_faults_in_memory(tmp_path: Path, block: int) -> None:
    """Nothing lost, mixed, half visible or left behind, no untyped error, no hang."""
    seeds = range(block, SCHEDULES, 4)
    await examine([Schedule.random(seed, operations=OPERATIONS) for seed in seeds], tmp_path, "direct")


async def test_random_faults_on_the_wire(tmp_path: Path) -> None:
    """The same through sockets, with the fast path."""
    seeds = range(100_000, 100_000 + SERVED)
    await examine([Schedule.random(seed, operations=OPERATIONS) for seed in seeds], tmp_path, "served")


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_schedules_that_once_failed(tmp_path: Path, door: Door) -> None:
    """They do not any more, through either door."""
    await examine([Schedule.from_json(text) for text in REGRESSIONS], tmp_path, door)


async def test_a_seed_is_run_again_exactly(tmp_path: Path) -> None:
    """The same seed, the same requests in the same order with the same replies."""
    for seed in range(5):
        schedule = Schedule.random(seed, operations=OPERATIONS)
        first = await attempt(schedule, tmp_path, "direct")
        assert await attempt(schedule, tmp_path, "direct") == first
