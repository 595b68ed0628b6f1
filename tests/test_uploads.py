"""Objects from bytes: what is stored, with which metadata, under which conditions, and what a loss leaves."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3IntegrityError,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
)
from greenlang_async_storage.testing import StorageServer
from tests.support import servers
from tests.support.cancel import cancel_everywhere
from tests.support.faulty import (
    FaultyClient,
    answer,
    change_reply,
    lose_reply,
    lose_request,
)
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
DATA = random.Random(3).randbytes(18 * MIB)


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


def stored(observer: Any, bucket: str, key: str) -> bytes:
    """What a plain client reads."""
    return bytes(observer.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.mark.parametrize(
    "size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1]
)
async def test_bytes_of_every_size(lake: Bucket, observer: Any, client: FaultyClient, size: int) -> None:
    """The stored bytes are those given, in one request below the threshold, with size and checksum known."""
    result = await lake.upload_bytes("a/key.bin", DATA[:size])
    assert stored(observer, lake.name, "a/key.bin") == DATA[:size]
    assert (result.key, result.size) == ("a/key.bin", size)
    assert result.etag
    assert result.checksum is not None
    assert (result.checksum.algorithm, result.checksum.type) == ("CRC64NVME", "FULL_OBJECT")
    head = observer.head_object(Bucket=lake.name, Key="a/key.bin", ChecksumMode="ENABLED")
    # moto forgets the checksum of a single put.
    assert head.get("ChecksumCRC64NVME", result.checksum.value) == result.checksum.value
    assert client.calls["put_object"] == (size < 16 * MIB)
    assert client.calls["upload_part"] == (0 if size < 16 * MIB else -(-size // (8 * MIB)))


@pytest.mark.parametrize("size", [11, 17 * MIB])
async def test_the_content_hash_is_metadata_and_the_token_stays_hidden(
    lake: Bucket, observer: Any, size: int
) -> None:
    """`content-hash` is the SHA-256 of the bytes; our token is on the object and not in `head().metadata`."""
    await lake.upload_bytes("key", DATA[:size], metadata={"colour": "green"})
    metadata = observer.head_object(Bucket=lake.name, Key="key")["Metadata"]
    assert metadata["content-hash"] == hashlib.sha256(DATA[:size]).hexdigest()
    assert len(metadata["greenlang-upload-token"]) == 32
    assert dict((await lake.head("key")).metadata) == {
        "colour": "green",
        "content-hash": metadata["content-hash"],
    }


async def test_a_content_hash_the_caller_gives_is_stored_as_given(lake: Bucket) -> None:
    """Nobody's metadata is replaced by ours."""
    await lake.upload_bytes("key", b"data", metadata={"content-hash": "mine"})
    assert (await lake.head("key")).metadata["content-hash"] == "mine"


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda data: memoryview(data)[::-1]])
async def test_every_kind_of_buffer(lake: Bucket, observer: Any, kind: Any) -> None:
    """Bytearrays and views, also those with gaps or going backwards, are stored as the bytes they show."""
    data = kind(b"some bytes in a buffer")
    await lake.upload_bytes("key", data)
    assert stored(observer, lake.name, "key") == bytes(data)


async def test_no_other_type_is_taken(lake: Bucket, client: FaultyClient) -> None:
    """Text is a TypeError that names the way out; nothing is sent."""
    with pytest.raises(TypeError, match="data is str, not bytes-like: encode text"):
        await lake.upload_bytes("key", "text")  # type: ignore[arg-type]
    assert not client.calls


async def test_write_options_arrive(lake: Bucket, observer: Any) -> None:
    """Content headers and tags of a small and of a large object are those asked for."""
    options: dict[str, Any] = {
        "content_type": "text/x-test",
        "content_disposition": "attachment",
        "cache_control": "no-store",
        "tags": {"team": "a b"},
    }
    for key, data in (("small", b"x"), ("large", DATA)):
        await lake.upload_bytes(key, data, **options)
        head = observer.head_object(Bucket=lake.name, Key=key)
        found = head["ContentType"], head["ContentDisposition"], head["CacheControl"]
        assert found == ("text/x-test", "attachment", "no-store")
        assert await lake.get_tags(key) == {"team": "a b"}


@pytest.mark.parametrize("size", [3, 17 * MIB])
async def test_create_only_and_compare_and_swap(lake: Bucket, observer: Any, size: int) -> None:
    """Both conditions hold in one request and in parts; a failed one leaves the object as it was."""
    first = await lake.upload_bytes("key", DATA[:size], if_none_match=True)
    with pytest.raises(S3PreconditionFailedError) as caught:
        await lake.upload_bytes("key", DATA[1 : size + 1], if_none_match=True)
    assert caught.value.outcome == "not_applied"
    with pytest.raises(S3PreconditionFailedError):
        await lake.upload_bytes("key", b"other", if_match="0" * 32)
    assert stored(observer, lake.name, "key") == DATA[:size]
    await lake.upload_bytes("key", b"next", if_match=first.etag)
    assert stored(observer, lake.name, "key") == b"next"
    with pytest.raises((S3NotFoundError, S3PreconditionFailedError)):
        await lake.upload_bytes("missing", b"x", if_match=first.etag)


async def test_a_refusal_costs_one_look(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """The object is asked once whose it is, for a proxy may have sent the request twice; no more is sent."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"theirs")
    with pytest.raises(S3PreconditionFailedError):
        await lake.upload_bytes("key", b"ours", if_none_match=True)
    assert client.calls == {"put_object": 1, "head_object": 1}


# moto looks first and stores later: two of its threads may both find nothing there.
@pytest.mark.parametrize("server", ["minio"], indirect=True)
async def test_of_two_creators_exactly_one_wins(lake: Bucket, observer: Any) -> None:
    """Twenty rounds of two create-only writers: one result, one refusal, and the winner's bytes."""
    for number in range(20):
        key = f"race/{number}"
        outcomes = await asyncio.gather(
            lake.upload_bytes(key, b"left", if_none_match=True),
            lake.upload_bytes(key, b"right", if_none_match=True),
            return_exceptions=True,
        )
        lost = [isinstance(outcome, S3PreconditionFailedError) for outcome in outcomes]
        assert sorted(lost) == [False, True], outcomes
        assert stored(observer, lake.name, key) == (b"right" if lost[0] else b"left")


@pytest.mark.parametrize("size", [3, 17 * MIB])
async def test_the_same_key_twice_at_once(
    lake: Bucket, observer: Any, client: FaultyClient, size: int
) -> None:
    """Both writers succeed and the object is one of the two, whole."""
    data = DATA[:size], DATA[1 : size + 1]
    results = await asyncio.gather(*(lake.upload_bytes("key", each) for each in data))
    assert len(results) == 2
    assert stored(observer, lake.name, "key") in data
    assert client.still_open(observer, lake.name) == []


async def test_bad_options_are_refused_before_anything_is_sent(lake: Bucket, client: FaultyClient) -> None:
    """A key, a metadata name and an ETag S3 would refuse cost no request."""
    for key, options in (
        ("../key", {}),
        ("key", {"metadata": {"na me": "x"}}),
        ("key", {"if_match": "*"}),
        ("key", {"if_match": "a", "if_none_match": True}),
    ):
        with pytest.raises(ValueError, match=r"\S"):
            await lake.upload_bytes(key, b"", **options)
    assert not client.calls


async def test_a_missing_bucket_is_named(session: StorageSession) -> None:
    """The error is typed, says which bucket, and was not retried."""
    with pytest.raises(S3NotFoundError) as caught:
        await session.bucket("no-such-bucket-here").upload_bytes("key", b"data")
    assert (caught.value.code, caught.value.bucket) == ("NoSuchBucket", "no-such-bucket-here")
    assert (caught.value.operation, caught.value.attempts) == ("PutObject", 1)


async def test_a_lost_reply_to_a_put_is_no_error(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """The same bytes go again, with the same token."""
    client.plan("put_object", lose_reply, lose_request)
    await lake.upload_bytes("key", b"data")
    assert stored(observer, lake.name, "key") == b"data"
    tokens = {arguments["Metadata"]["greenlang-upload-token"] for _, arguments in client.arguments}
    assert (client.calls["put_object"], len(tokens)) == (3, 1)


async def test_a_precondition_that_failed_on_our_own_object_is_success(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """Create only: the reply is lost, the retry is refused, and the token shows whose object it is."""
    client.plan("put_object", lose_reply)
    result = await lake.upload_bytes("key", b"data", if_none_match=True)
    head = observer.head_object(Bucket=lake.name, Key="key")
    assert result.etag == head["ETag"].strip('"')
    assert (result.size, client.calls["put_object"], client.calls["head_object"]) == (4, 2, 1)


async def test_a_precondition_that_failed_on_another_object_stays_a_failure(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The request was lost and somebody else was faster: the error says that our write is in doubt."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"theirs")
    client.plan("put_object", lose_request)
    with pytest.raises(S3PreconditionFailedError) as caught:
        await lake.upload_bytes("key", b"data", if_none_match=True)
    assert caught.value.outcome == "unknown"
    assert stored(observer, lake.name, "key") == b"theirs"


async def test_a_doubt_a_head_cannot_settle_stays_a_failure(lake: Bucket, client: FaultyClient) -> None:
    """Where HEAD is denied the refusal is raised, in doubt, caused by the denial."""
    client.plan("put_object", lose_reply)
    client.always["head_object"] = answer(error_reply("AccessDenied", 403))
    with pytest.raises(S3PreconditionFailedError) as caught:
        await lake.upload_bytes("key", b"data", if_none_match=True)
    assert caught.value.outcome == "unknown"


@pytest.mark.parametrize("lie", [{"ChecksumCRC64NVME": "AAAAAAAAAAA="}, {"ETag": None}])
async def test_an_acknowledgement_of_other_bytes_is_resent_once(
    lake: Bucket, observer: Any, client: FaultyClient, lie: dict[str, Any]
) -> None:
    """One wrong acknowledgement is repaired; a second is `S3IntegrityError`, in doubt."""
    client.plan("put_object", change_reply(**lie))
    await lake.upload_bytes("key", b"data")
    assert client.calls["put_object"] == 2
    client.plan("put_object", change_reply(**lie), change_reply(**lie))
    with pytest.raises(S3IntegrityError) as caught:
        await lake.upload_bytes("key", b"data")
    assert (client.calls["put_object"], caught.value.outcome) == (4, "unknown")


async def test_a_wrong_acknowledgement_of_a_new_object_is_no_refusal(
    lake: Bucket, client: FaultyClient
) -> None:
    """Create-only: the resend meets our own object, and what is told is that its bytes are in doubt."""
    client.plan("put_object", change_reply(ChecksumCRC64NVME="AAAAAAAAAAA="))
    with pytest.raises(S3IntegrityError) as caught:
        await lake.upload_bytes("key", b"data", if_none_match=True)
    assert (client.calls["put_object"], caught.value.outcome) == (2, "unknown")


async def test_bytes_damaged_on_the_way_are_refused_by_the_store(
    lake: Bucket, observer: Any, client: FaultyClient, server: StorageServer
) -> None:
    """The checksum sent with the bytes makes the store refuse others; the retry stores them."""
    servers.require(server, "digests")

    async def damage(call: Any, arguments: dict[str, Any]) -> Any:
        return await call(**{**arguments, "Body": b"DATA"})

    client.plan("put_object", damage)
    await lake.upload_bytes("key", b"data")
    assert client.calls["put_object"] == 2
    assert stored(observer, lake.name, "key") == b"data"
    client.always["put_object"] = damage
    with pytest.raises(S3IntegrityError):
        await lake.upload_bytes("key", b"data")


async def test_a_cancel_at_every_await_leaves_the_old_or_the_new_object(
    lake: Bucket, observer: Any, session: StorageSession
) -> None:
    """No slot, no clean-up and no half object stays, wherever a put is cancelled."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"old")

    async def check() -> None:
        assert stored(observer, lake.name, "key") in {b"old", b"new"}
        statistics = session.statistics()
        assert (statistics.in_flight, statistics.cleanups_pending) == (0, 0)

    assert await cancel_everywhere(lambda: lake.upload_bytes("key", b"new"), check) > 0


async def test_a_scoped_view_writes_under_its_prefix(lake: Bucket, observer: Any) -> None:
    """The caller's key comes back, the store has the whole one."""
    result = await lake.scoped("t1").upload_bytes("key", b"data")
    assert result.key == "key"
    assert stored(observer, lake.name, "t1/key") == b"data"
