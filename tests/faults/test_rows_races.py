"""Rows about two at once: F13, one key written by many, and S17, racers of whom one may win."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from greenlang_async_storage import S3PreconditionFailedError, StorageSession, StorageSettings, UploadResult
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage.testing import Fault, FaultProxy, MemoryS3, MinioServer
from tests.support import servers
from tests.support.faults import BUCKET, MIB, PART, Door, Lab, laboratory

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

ROUNDS = 1_000
SERVER_ROUNDS = 50
LATE_PARTS = 60
LANDING_SECONDS = 0.4
"""As many as a store needs that shares its machine with other tests."""
LATEST = 0.12
"""Seconds after which an upload of two parts is cancelled, at the latest."""
BEHAVIOURS = ["aws", "minio", "moto"]


def body(writer: int, size: int) -> bytes:
    """What only this writer sends: a mixture shows."""
    return bytes([writer]) * size


def won(results: list[Any], *, lost: int = 0) -> list[int]:
    """Who succeeded; the others have to have been refused for the condition, and know where they stand."""
    winners = [index for index, result in enumerate(results) if isinstance(result, UploadResult)]
    losers = [result for result in results if not isinstance(result, UploadResult)]
    assert all(isinstance(error, S3PreconditionFailedError) for error in losers), losers
    # Who lost a reply as well cannot know whether its object was there for a moment.
    assert lost or all(error.outcome == "not_applied" for error in losers)
    return winners


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_s17_of_two_racers_exactly_one_wins(door: Door) -> None:
    """1,000 rounds of two creating one key with If-None-Match: one winner, whose bytes are stored."""
    async with laboratory(door, part_size=PART) as lab:
        for number in range(ROUNDS):
            key = f"audit/{number}"
            racers = (lab.lake.upload_bytes(key, body(who, 10), if_none_match=True) for who in (0, 1))
            [winner] = won(await asyncio.gather(*racers, return_exceptions=True))
            assert lab.check.content(key) == body(winner, 10)
            lab.store.delete(BUCKET, key)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_s17_a_lost_reply_makes_no_second_winner(lab: Lab, lost: int) -> None:
    """Replies lost after the store decided: each racer is told the truth, found by its own token."""
    for number in range(40):
        key = f"audit/{number}"
        lab.plan(*(Fault("PutObject", nth + 1, "withheld", "reset") for nth in range(lost)))
        racers = (lab.lake.upload_bytes(key, body(who, 10), if_none_match=True) for who in (0, 1))
        [winner] = won(await asyncio.gather(*racers, return_exceptions=True), lost=lost)
        assert lab.check.content(key) == body(winner, 10)


async def test_s17_of_two_that_replace_one_wins(lab: Lab) -> None:
    """If-Match on the ETag both have read: one replaces it, the other is told that it came too late."""
    etag = lab.store.put(BUCKET, "key", b"first")
    for number in range(100):
        bodies = [b"%d of %d" % (who, number) for who in (0, 1)]
        racers = (lab.lake.upload_bytes("key", data, if_match=etag) for data in bodies)
        results = await asyncio.gather(*racers, return_exceptions=True)
        [winner] = won(results)
        assert lab.check.content("key") == bodies[winner]
        result = results[winner]
        assert isinstance(result, UploadResult)
        etag = result.etag


@pytest.mark.parametrize("fast_path", [False, True], ids=["plain", "fast"])
async def test_s17_of_two_racers_on_minio_one_wins(minio_server: MinioServer, fast_path: bool) -> None:
    """50 rounds on a real server, two sessions: small objects and, now and then, uploads in parts."""
    observer = await asyncio.to_thread(servers.observer_client, minio_server)
    bucket = f"races-{'fast' if fast_path else 'plain'}"
    await asyncio.to_thread(observer.create_bucket, Bucket=bucket)
    try:
        settings = StorageSettings(
            **minio_server.settings_kwargs(),
            data_lake_bucket=bucket,
            fast_path=fast_path,
            part_size=PART,
            multipart_threshold=PART,
            cleanup_timeout=30,
        )
        async with StorageSession(settings) as one, StorageSession(settings) as two:
            for number in range(SERVER_ROUNDS):
                size = PART + 1 if number % 10 == 0 else 1000
                lakes = (one.data_lake, two.data_lake)
                racers = (
                    lake.upload_bytes(f"audit/{number}", body(who, size), if_none_match=True)
                    for who, lake in enumerate(lakes)
                )
                [winner] = won(await asyncio.gather(*racers, return_exceptions=True))
                assert await one.data_lake.download_bytes(f"audit/{number}") == body(winner, size)
    finally:
        await asyncio.to_thread(servers.empty_and_remove, observer, bucket)
        observer.close()


@pytest.mark.parametrize("fast_path", [False, True], ids=["plain", "fast"])
async def test_f29_a_part_lands_on_minio_while_it_is_aborted(
    minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch, fast_path: bool
) -> None:
    """
    A proxy passes a part on whose sender was cancelled: with it MinIO brings the upload back into its lists.

    It does so where another upload of the same key is open, here somebody else's, which has to stay.
    """
    monkeypatch.setattr(_abort, "LANDING_SECONDS", LANDING_SECONDS)
    observer = await asyncio.to_thread(servers.observer_client, minio_server)
    bucket = f"late-parts-{'fast' if fast_path else 'plain'}"
    await asyncio.to_thread(observer.create_bucket, Bucket=bucket)
    place: Any = {"Bucket": bucket, "Key": "late"}
    try:
        other = (await asyncio.to_thread(observer.create_multipart_upload, **place))["UploadId"]
        async with FaultProxy(minio_server) as proxy:
            options: dict[str, Any] = {**minio_server.settings_kwargs(), "endpoint_url": proxy.url}
            settings = StorageSettings(
                **options,
                data_lake_bucket=bucket,
                fast_path=fast_path,
                part_size=PART,
                cleanup_timeout=30,
            )
            async with StorageSession(settings) as session:
                for number in range(LATE_PARTS):
                    upload = session.data_lake.upload_stream("late", [bytes(PART), bytes(1000)])
                    with suppress(TimeoutError):
                        await asyncio.wait_for(upload, LATEST * number / LATE_PARTS)
            assert proxy.faults.count("AbortMultipartUpload") > LATE_PARTS / 6
        listed = await asyncio.to_thread(observer.list_multipart_uploads, Bucket=bucket, Prefix="late")
        assert [each["UploadId"] for each in listed["Uploads"]] == [other]
        await asyncio.to_thread(observer.abort_multipart_upload, **place, UploadId=other)
    finally:
        await asyncio.to_thread(servers.empty_and_remove, observer, bucket)
        observer.close()


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("parts", [False, True], ids=["one-put", "in-parts"])
async def test_f13_writers_of_one_key_are_never_mixed(behaviour: Any, parts: bool) -> None:
    """Rounds of four writers: the object is one of theirs, whole, with its own metadata, and so is a read."""
    size = PART + 3 if parts else 70_000
    async with laboratory("served", store=MemoryS3(behaviour=behaviour)) as lab:
        lab.store.put(BUCKET, "key", body(9, size))
        for _ in range(3 if parts else 25):
            writes = [
                lab.lake.upload_bytes("key", body(who, size), metadata={"writer": str(who)})
                for who in range(4)
            ]
            reading = asyncio.create_task(lab.lake.download_bytes("key"))
            await asyncio.gather(*writes)
            seen = await reading
            assert len(set(seen)) == 1
            assert len(seen) == size
            stored, metadata = lab.check.content("key"), lab.check.metadata("key")
            assert stored is not None
            assert metadata is not None
            assert stored == body(int(metadata["writer"]), size)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_f13_every_request_sent_twice(behaviour: Any) -> None:
    """A proxy that duplicates all it sees: writes, copies, moves and deletes are done as if once."""
    async with laboratory("served", store=MemoryS3(behaviour=behaviour)) as lab:
        names = ("PutObject", "UploadPart", "CompleteMultipartUpload", "CopyObject", "DeleteObject")
        lab.plan(*(Fault(name, 0, "withheld", "twice") for name in names))
        lake = lab.lake
        large = bytes(range(256)) * (11 * MIB // 256)
        await lake.upload_bytes("plain", body(1, 10))
        await lake.upload_bytes("large", large)
        await lake.copy("plain", "copied")
        await lake.move("copied", "moved")
        await lake.delete("plain")
        assert lab.store.keys(BUCKET) == ["large", "moved"]
        assert lab.check.content("large") == large
        # The store refuses the second create, the only answer anybody hears: the token settles it.
        await lake.upload_bytes("once", body(2, 10), if_none_match=True)
        with pytest.raises(S3PreconditionFailedError):
            await lake.upload_bytes("once", body(3, 10), if_none_match=True)
        assert lab.check.content("once") == body(2, 10)


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_f13_a_large_racer_sent_twice_wins_once(door: Door) -> None:
    """Complete duplicated while two race with If-None-Match: the second answer is no second winner."""
    async with laboratory(door) as lab:
        for number in range(5):
            lab.plan(Fault("CompleteMultipartUpload", 1, "withheld", "twice"))
            key, size = f"key-{number}", PART + 1
            racers = (lab.lake.upload_bytes(key, body(who, size), if_none_match=True) for who in (0, 1))
            [winner] = won(await asyncio.gather(*racers, return_exceptions=True))
            assert lab.check.content(key) == body(winner, size)
