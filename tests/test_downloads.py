"""Objects as bytes, JSON and streams: what arrives, what is refused, and that the slot always comes back."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    S3SessionClosedError,
    StorageSession,
    StorageSettings,
)
from tests.support.cancel import cancel_everywhere
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

KIB = 1024
MIB = 1024 * KIB
DATA = random.Random(7).randbytes(3 * MIB + 17)


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket."""
    return Seeder(observer, bucket_name)


async def test_bytes_of_every_size(lake: Bucket, session: StorageSession, seed: Seeder) -> None:
    """The bytes are those that were stored, around the sizes at which reading changes; no slot is kept."""
    for size in (0, 1, 255 * KIB, 256 * KIB, 256 * KIB + 1, len(DATA)):
        seed.put("key", DATA[:size])
        assert await lake.download_bytes("key") == DATA[:size]
        assert session.statistics().in_flight == 0


async def test_ranges_are_half_open(lake: Bucket, seed: Seeder) -> None:
    """A range is what a slice with the same numbers is, also one that reaches behind the end."""
    seed.put("key", DATA)
    end = len(DATA)
    spans: list[tuple[int, int | None]] = [(0, 1), (5, 300 * KIB), (MIB, None), (0, None), (0, end + 1)]
    for span in [*spans, (end - 1, end), (end - 3, end + 50)]:
        expected = DATA[span[0] : span[1]]
        assert await lake.download_bytes("key", range=span) == expected
        async with lake.open_download("key", range=span) as body:
            assert body.info.size == end
            assert await body.read() == expected


async def test_a_range_behind_the_end_names_the_size(lake: Bucket, seed: Seeder) -> None:
    """The error tells how long the object is."""
    for size in (0, 10):
        seed.put("key", DATA[:size])
        with pytest.raises(S3InvalidRequestError, match=f"byte 10, the object has {size} bytes") as caught:
            await lake.download_bytes("key", range=(10, 20))
        assert (caught.value.status, caught.value.key, caught.value.operation) == (416, "key", "GetObject")


async def test_ranges_without_a_byte_are_mistakes(lake: Bucket, session: StorageSession) -> None:
    """An empty, negative or non-numeric range is found before anything is sent."""
    for empty in ((0, 0), (5, 5), (5, 4), (-1, 5), (-5, None)):
        with pytest.raises(ValueError, match="holds no byte"):
            await lake.download_bytes("key", range=empty)
    wrong: list[Any] = [(0.5, 2), ("0", "2"), (True, 2), (None, 5), (1,), slice(0, 2), 5]
    for span in wrong:
        with pytest.raises(TypeError, match="range"):
            await lake.download_bytes("key", range=span)
    assert session.statistics().requests == 0


async def test_max_size_is_checked_before_reading(
    lake: Bucket, session: StorageSession, seed: Seeder
) -> None:
    """An object that is too large is refused with value, limit and remedy, and none of it is read."""
    seed.put("key", DATA)
    with pytest.raises(
        S3InvalidRequestError, match=rf"{len(DATA)} bytes to read and max_size is 1000.*open_download"
    ):
        await lake.download_bytes("key", max_size=1000)
    assert session.statistics().bytes_received == 0
    assert session.statistics().in_flight == 0
    assert await lake.download_bytes("key", max_size=len(DATA)) == DATA
    assert await lake.download_bytes("key", range=(0, 1000), max_size=1000) == DATA[:1000]
    with pytest.raises(ValueError, match="max_size is -1"):
        await lake.download_bytes("key", max_size=-1)


async def test_a_missing_key_is_not_found(lake: Bucket, session: StorageSession) -> None:
    """Bytes, streams and JSON of a missing key raise the same error."""
    for attempt in (lake.download_bytes("no/such"), lake.download_json("no/such")):
        with pytest.raises(S3NotFoundError) as caught:
            await attempt
        assert caught.value.key == "no/such"
    with pytest.raises(S3NotFoundError):
        async with lake.open_download("no/such"):
            pytest.fail("opened what is not there")
    assert session.statistics().in_flight == 0


async def test_versions_are_read_by_their_id(
    lake: Bucket, observer: Any, bucket_name: str, seed: Seeder
) -> None:
    """An older version is read by its id; an id nobody gave is not found."""
    seed.keep_versions()
    seed.put("key", b"old")
    old = (await lake.head("key")).version_id
    seed.put("key", b"new")
    assert await lake.download_bytes("key") == b"new"
    assert await lake.download_bytes("key", version_id=old) == b"old"
    async with lake.open_download("key", version_id=old) as body:
        assert body.info.version_id == old
        assert await body.read() == b"old"
    with pytest.raises(S3NotFoundError):
        await lake.download_bytes("key", version_id="3a1c6d9e-0000-4000-8000-000000000000")


async def test_json_comes_back_as_it_was(lake: Bucket, seed: Seeder) -> None:
    """Every JSON value, integers beyond 64 bits too."""
    values: list[object] = [{"a": [1, 2.5, None, True, "é€"]}, [], "text", 0, None, {"big": 10**30}]
    for value in values:
        seed.put("key.json", json.dumps(value).encode())
        assert await lake.download_json("key.json") == value


async def test_what_is_no_json_is_an_integrity_error(lake: Bucket, seed: Seeder) -> None:
    """Broken text, text nested 100,000 deep and endless numbers end in one typed error."""
    for text in (b"", b"{", b"no", b"\xff\xfe\xff", b"[" * 100_000 + b"]" * 100_000, b"1" * 5000):
        seed.put("key.json", text)
        with pytest.raises(S3IntegrityError) as caught:
            await lake.download_json("key.json")
        assert (caught.value.code, caught.value.retryable) == ("InvalidJson", False)
        assert "download_bytes()" in str(caught.value)


async def test_json_honours_max_size(lake: Bucket, seed: Seeder) -> None:
    """A stranger's JSON is refused by its size."""
    seed.put("key.json", b"[1,2,3]")
    with pytest.raises(S3InvalidRequestError, match="max_size is 3"):
        await lake.download_json("key.json", max_size=3)


async def test_a_stream_gives_large_chunks_and_is_verified(
    lake: Bucket, session: StorageSession, seed: Seeder
) -> None:
    """Chunks add up to the object, `info` knows it at once and says `verified` after the last one."""
    seed.put("key", DATA, Metadata={"tenant-id": "t1"}, ContentType="text/csv")
    pieces = []
    async with lake.open_download("key") as body:
        info = body.info
        assert (info.key, info.size, info.content_type, info.metadata, info.verified) == (
            *("key", len(DATA), "text/csv", {"tenant-id": "t1"}),
            False,
        )
        assert session.statistics().in_flight == 1
        async for chunk in body:
            pieces.append(chunk)
            await asyncio.sleep(0)
        assert body.info.verified
        assert session.statistics().in_flight == 0, "the slot is free once the last byte was read"
    assert b"".join(pieces) == DATA
    assert all(pieces)


async def test_read_gives_the_rest(lake: Bucket, seed: Seeder) -> None:
    """`read()` takes over where iteration stopped, and gives nothing at the end."""
    seed.put("key", DATA)
    async with lake.open_download("key") as body:
        first = await anext(body)
        assert first + await body.read() == DATA
        assert await body.read() == b""
        assert body.info.verified


async def test_every_exit_gives_the_slot_back(lake: Bucket, session: StorageSession, seed: Seeder) -> None:
    """Whatever ends the block, the connection's slot is free and the next call works."""
    seed.put("key", DATA)
    async with lake.open_download("key"):
        assert session.statistics().in_flight == 1
    assert session.statistics().in_flight == 0, "never read"
    async with lake.open_download("key") as body:
        await anext(body)
    assert session.statistics().in_flight == 0, "read in part"
    async with lake.open_download("key") as body:
        async for _chunk in body:
            break
    assert session.statistics().in_flight == 0, "left by break"
    with pytest.raises(LookupError):
        async with lake.open_download("key"):
            raise LookupError("the reader's own")
    assert session.statistics().in_flight == 0, "left by an exception"
    assert await lake.download_bytes("key") == DATA


async def test_a_body_that_was_never_entered_holds_nothing(
    lake: Bucket, session: StorageSession, seed: Seeder
) -> None:
    """`open_download` alone sends nothing."""
    seed.put("key", DATA)
    lake.open_download("key")
    assert (session.statistics().in_flight, session.statistics().requests) == (0, 0)


async def test_a_download_is_read_once(lake: Bucket, seed: Seeder) -> None:
    """A second iteration, and one after the block, say what to do instead of giving nothing."""
    seed.put("key", b"abc")
    async with lake.open_download("key") as body:
        assert [chunk async for chunk in body] == [b"abc"]
        with pytest.raises(S3InvalidRequestError, match=r"read to its end.*open_download"):
            aiter(body)
    for use in (body.read(), anext(body)):
        with pytest.raises(S3InvalidRequestError, match=r"is closed.*open_download"):
            await use


async def test_conditions_of_a_read(lake: Bucket, session: StorageSession, seed: Seeder) -> None:
    """`if_match` and `if_none_match` take an ETag with or without quotes; 304 is told by `status`."""
    etag = seed.put("key", b"abc")
    for given in (etag, etag.strip('"')):
        async with lake.open_download("key", if_match=given) as body:
            assert await body.read() == b"abc"
        with pytest.raises(S3PreconditionFailedError) as caught:
            async with lake.open_download("key", if_none_match=given):
                pytest.fail("opened what did not change")
        assert caught.value.status == 304
    with pytest.raises(S3PreconditionFailedError) as caught:
        async with lake.open_download("key", if_match="0" * 32):
            pytest.fail("opened another version")
    assert caught.value.status == 412
    async with lake.open_download("key", if_none_match="0" * 32) as body:
        assert await body.read() == b"abc"
    assert session.statistics().in_flight == 0


async def test_whole_reads_are_verified(lake: Bucket, seed: Seeder) -> None:
    """Every algorithm S3 stores is recomputed; an object without one is read and says so."""
    for algorithm in ("CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1", None):
        seed.put("key", DATA, checksum=algorithm)
        async with lake.open_download("key") as body:
            assert await body.read() == DATA
        assert body.info.verified is (algorithm is not None)
        assert (body.info.checksum.algorithm if body.info.checksum else None) == algorithm


async def test_a_range_is_not_called_verified(lake: Bucket, seed: Seeder) -> None:
    """The stored checksum says nothing of a part."""
    seed.put("key", DATA)
    async with lake.open_download("key", range=(1, 100)) as body:
        await body.read()
    assert not body.info.verified
    assert body.info.checksum is None


async def test_a_scoped_stream_has_keys_without_the_prefix(lake: Bucket, seed: Seeder) -> None:
    """What goes in without the prefix comes out without it."""
    seed.put("tenants/t1/key", b"abc")
    async with lake.scoped("tenants/t1").open_download("key") as body:
        assert body.info.key == "key"
        assert await body.read() == b"abc"


async def test_cancel_anywhere_gives_the_slot_back(
    lake: Bucket, session: StorageSession, seed: Seeder
) -> None:
    """A cancel at each await of a read and of a stream ends in CancelledError and leaves no slot taken."""
    # More than can come with its head, which is one await for all of it.
    seed.put("key", DATA)

    async def stream() -> None:
        async with lake.open_download("key") as body:
            async for _chunk in body:
                pass

    async def nothing_held() -> None:
        assert session.statistics().in_flight == 0

    assert await cancel_everywhere(lambda: lake.download_bytes("key"), nothing_held) > 1
    assert await cancel_everywhere(stream, nothing_held) > 1
    assert await lake.download_bytes("key") == DATA


async def test_many_streams_through_a_pool_of_one(settings: StorageSettings, seed: Seeder) -> None:
    """Streams wait for each other's slot instead of failing."""
    seed.put("key", DATA)
    narrow = settings.model_copy(update={"max_pool_connections": 1})
    async with StorageSession(narrow) as session:
        lake = session.data_lake

        async def read() -> bytes:
            async with lake.open_download("key") as body:
                return await body.read()

        assert await asyncio.gather(*(read() for _ in range(5))) == [DATA] * 5


async def test_a_closed_session_opens_no_download(settings: StorageSettings, seed: Seeder) -> None:
    """A stream is refused once the session is closed."""
    seed.put("key", DATA)
    async with StorageSession(settings) as session:
        lake = session.data_lake
    with pytest.raises(S3SessionClosedError):
        async with lake.open_download("key"):
            pytest.fail("opened on a closed session")
