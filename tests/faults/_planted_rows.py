"""Rows for planted bugs that no test of the fault matrix is short enough for: each passes as things are."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3Error,
    S3ObjectChangedError,
    _retry,
)
from greenlang_async_storage.testing import Fault
from tests.faults import test_rows_requests as requests
from tests.faults import test_rows_transfers as transfers
from tests.support.faults import BUCKET, MIB, PART, Lab

SMALL = requests.SMALL
OUTAGE_CALLS = 200
_PAUSE = _retry.RetryPolicy.pause


async def silent_attempt(lab: Lab, _: Path) -> None:
    """An attempt that hears nothing ends, and the next one works."""
    lab.plan(Fault("PutObject", 1, "unforwarded", "stall"))
    await lab.lake.upload_bytes("key", SMALL)


async def silent_body(lab: Lab, _: Path) -> None:
    """A body that stops coming is resumed."""
    lab.store.put(BUCKET, "key", transfers.LARGE)
    lab.plan(Fault("GetObject", 1, "reply_body", "stall", at=9))
    assert await lab.lake.download_bytes("key") == transfers.LARGE


async def lost_complete(lab: Lab, _: Path) -> None:
    """A Complete that is done and never answered is a success."""
    lab.plan(Fault("CompleteMultipartUpload", 0, "withheld", "reset"))
    await requests.upload_large(lab)


async def cancelled(lab: Lab, _: Path) -> None:
    """A cancelled call is cancelled."""
    arrived = asyncio.Event()
    lab.faults.hooks["arrived"] = arrived.set
    lab.plan(
        Fault("PutObject", 1, "unforwarded", "hook", hook="arrived"),
        Fault("PutObject", 1, "unforwarded", "stall"),
    )
    upload = asyncio.create_task(lab.lake.upload_bytes("key", SMALL))
    await arrived.wait()
    upload.cancel()
    await asyncio.wait([upload])
    assert upload.cancelled()


async def cancelled_before_the_reply(lab: Lab, _: Path) -> None:
    """The reply to a cancelled request is nobody else's: not that of the next request either."""
    for key in ("one", "two"):
        lab.store.put(BUCKET, key, key.encode() * 100)
    assert await lab.lake.download_bytes("one") == b"one" * 100
    arrived = asyncio.Event()
    lab.faults.hooks["arrived"] = arrived.set
    lab.plan(
        Fault("GetObject", 1, "unforwarded", "hook", hook="arrived"),
        Fault("GetObject", 1, "unforwarded", "delay", seconds=0.05),
    )
    download = asyncio.create_task(lab.lake.download_bytes("one"))
    await arrived.wait()
    download.cancel()
    await asyncio.wait([download])
    before = lab.session.statistics().attempts
    assert await lab.lake.download_bytes("two") == b"two" * 100
    assert lab.session.statistics().attempts == before + 1


async def acknowledged_wrongly(lab: Lab, _: Path) -> None:
    """A part that the store acknowledges with another checksum is sent again."""
    wrong = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}
    lab.plan(Fault("UploadPart", 2, "reply_head", "replace", headers=wrong))
    await requests.upload_large(lab)
    assert lab.count("UploadPart") == 4


async def other_tenant(lab: Lab, _: Path) -> None:
    """`t1` sees nothing of `t10`."""
    for key in ("t1/mine", "t10/theirs"):
        lab.store.put(BUCKET, key, SMALL)
    scoped = lab.lake.scoped("t1")
    assert [found.key async for found in scoped.list_objects()] == ["mine"]


async def a_range(lab: Lab, _: Path) -> None:
    """A range has the bytes it says, neither one more nor one less."""
    lab.store.put(BUCKET, "key", transfers.LARGE)
    for start, stop in ((0, 10), (7, 8), (MIB, 2 * MIB)):
        assert await lab.lake.download_bytes("key", range=(start, stop)) == transfers.LARGE[start:stop]


async def durable_download(lab: Lab, folder: Path) -> None:
    """The bytes are synced, then named, then the name is synced."""
    order: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append("fsync")
        sync(descriptor)

    def renamed(*arguments: Any, **options: Any) -> None:
        order.append("rename")
        replace(*arguments, **options)

    lab.store.put(BUCKET, "key", transfers.LARGE)
    with patch.object(os, "fsync", synced), patch.object(os, "replace", renamed):
        await lab.lake.download_file("key", folder / "file", part_size=PART)
    assert order == ["fsync", "rename", "fsync"]


async def replaced_before_the_resume(lab: Lab, folder: Path) -> None:
    """What an earlier version left behind is no part of this one, also where the store has no checksum."""
    lab.store.put(BUCKET, "key", transfers.LARGE)
    lab.plan(
        Fault("GetObject", 1, "reply_body", "close", at=9 * MIB),
        Fault("GetObject", 2, "unforwarded", "replace", status=403, code="AccessDenied"),
    )
    target, journal = folder / "file", folder / "journal"
    with pytest.raises(S3AccessDeniedError):
        await lab.lake.download_file("key", target, part_size=PART, concurrency=1, resume=journal)
    other = transfers.LARGE[::-1]
    lab.store.put(BUCKET, "key", other)
    lab.plan()
    await lab.lake.download_file("key", target, part_size=PART, concurrency=1, resume=journal)
    assert target.read_bytes() == other


async def hostile_filename(lab: Lab, _: Path) -> None:
    """A file name is one quoted value of one header."""
    url = await lab.lake.presign_download("key", filename='a"\r\nX-Evil: 1; filename="b.exe')
    [value] = parse_qs(urlsplit(url).query)["response-content-disposition"]
    assert "\r" not in value
    assert "\n" not in value
    assert value.partition(";")[2].split("filename*")[0].count('"') == 2


async def outage(lab: Lab, _: Path) -> None:
    """All calls of a client share one budget of retries."""
    lab.plan(Fault("HeadObject", 0, "unforwarded", "replace", status=503))
    calls = (lab.lake.exists(f"key-{index}") for index in range(OUTAGE_CALLS))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, S3Error) for each in found)
    most = _retry.BUDGET // _retry.RETRY_COST
    assert lab.count("HeadObject") <= OUTAGE_CALLS + most


async def told_to_wait(lab: Lab, _: Path) -> None:
    """A store that names the seconds is not asked earlier."""
    pauses: list[float] = []

    def pause(policy: _retry.RetryPolicy, error: S3Error, attempts: int) -> float:
        pauses.append(_PAUSE(policy, error, attempts))
        return 0.0

    headers = {"Retry-After": "7"}
    lab.plan(Fault("PutObject", 1, "unforwarded", "replace", status=503, code="SlowDown", headers=headers))
    with patch.object(_retry.RetryPolicy, "pause", pause):
        await lab.lake.upload_bytes("key", SMALL)
    assert len(pauses) == 1
    assert 7 <= pauses[0] < 8


async def source_overwritten(lab: Lab, _: Path) -> None:
    """A copy has the bytes of the object that was looked at, or fails."""
    lab.store.put(BUCKET, "from", SMALL)
    lab.faults.hooks["overwrite"] = lambda: lab.store.put(BUCKET, "from", b"another writer's")
    lab.plan(Fault("CopyObject", 1, "unforwarded", "hook", hook="overwrite"))
    with pytest.raises(S3ObjectChangedError):
        await lab.lake.copy("from", "to")
    assert lab.check.content("to") is None


async def expired(lab: Lab, _: Path) -> None:
    """Credentials the store calls expired are renewed once, and the call goes on with the new ones."""
    engine = lab.session._require_connection()._engine
    renewals: list[int] = []

    async def renew() -> bool:
        renewals.append(1)
        return True

    lab.plan(Fault("PutObject", 1, "unforwarded", "replace", status=400, code="ExpiredToken"))
    with patch.object(engine, "_refresh", renew):
        await lab.lake.upload_bytes("key", SMALL)
    assert (len(renewals), lab.count("PutObject")) == (1, 2)
