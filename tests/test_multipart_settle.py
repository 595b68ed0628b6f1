"""Completing an upload whose reply is lost: the object decides, and nothing is aborted before."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3Error,
    S3IntegrityError,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
)
from tests.support.faulty import (
    FaultyClient,
    answer,
    change_reply,
    lose_reply,
    lose_request,
    no_reply,
    send_twice,
)
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
DATA = random.Random(2).randbytes(PART + 100)
COMPLETE = "complete_multipart_upload"
GONE = error_reply("NoSuchUpload", 404)


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


async def upload(lake: Bucket, **options: Any) -> Any:
    """One stream of two parts."""
    return await lake.upload_stream("key", [DATA], part_size=PART, **options)


def stored(observer: Any, bucket: str) -> bytes:
    """What a plain client reads."""
    return bytes(observer.get_object(Bucket=bucket, Key="key")["Body"].read())


def order(client: FaultyClient) -> list[str]:
    """The requests after the parts."""
    names = [method for method, _ in client.arguments]
    return names[names.index(COMPLETE) :]


async def overwrite(call: Any, arguments: dict[str, Any]) -> Any:
    """The store completes the upload, somebody overwrites the object, and the reply is lost."""
    await call(**arguments)
    put = call.__self__.put_object
    await put(Bucket=arguments["Bucket"], Key=arguments["Key"], Body=b"theirs")
    raise no_reply()


async def test_complete_carries_size_and_checksum(lake: Bucket, client: FaultyClient) -> None:
    """S3 is told what the object must be: its size and full-object CRC, and its parts in order."""
    result = await upload(lake)
    [sent] = [arguments for method, arguments in client.arguments if method == COMPLETE]
    assert sent["MpuObjectSize"] == len(DATA)
    assert sent["ChecksumType"] == "FULL_OBJECT"
    assert sent["ChecksumCRC64NVME"] == result.checksum.value
    assert [part["PartNumber"] for part in sent["MultipartUpload"]["Parts"]] == [1, 2]


@pytest.mark.parametrize("conditions", [{}, {"if_none_match": True}])
@pytest.mark.parametrize("losses", [1, 2, 3])
async def test_lost_replies_are_success(
    lake: Bucket, observer: Any, client: FaultyClient, losses: int, conditions: dict[str, Any]
) -> None:
    """Lost once or always: the object is ours, so the upload succeeded; it is never aborted."""
    client.plan(COMPLETE, *[lose_reply] * losses)
    result = await upload(lake, **conditions)
    head = observer.head_object(Bucket=lake.name, Key="key")
    assert (result.size, result.etag) == (len(DATA), head["ETag"].strip('"'))
    assert result.checksum is not None
    assert stored(observer, lake.name) == DATA
    assert client.calls["abort_multipart_upload"] == 0


async def test_lost_requests_are_sent_again(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """No attempt arrived: HEAD finds no object of ours, the upload is still open, so Complete is repeated."""
    client.plan(COMPLETE, lose_request, lose_request, lose_request)
    await upload(lake)
    assert order(client) == [*[COMPLETE] * 3, "head_object", "list_parts", COMPLETE]
    assert stored(observer, lake.name) == DATA


async def test_an_older_object_is_not_taken_for_ours(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The old object under the key proves nothing; the new one takes its place."""
    observer.put_object(Bucket=lake.name, Key="key", Body=DATA)
    client.plan(COMPLETE, lose_request, lose_request, lose_request)
    await upload(lake)
    metadata = observer.head_object(Bucket=lake.name, Key="key")["Metadata"]
    assert "greenlang-upload-token" in metadata


async def test_requests_lost_for_ever_end_in_doubt(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Nothing ever arrives: the error says `unknown`, and only after the HEADs the upload is aborted."""
    client.always[COMPLETE] = lose_request
    with pytest.raises(S3ConnectionError) as caught:
        await upload(lake)
    assert caught.value.outcome == "unknown"
    assert order(client).index("head_object") < order(client).index("abort_multipart_upload")
    assert client.still_open(observer, lake.name) == []
    assert not await lake.exists("key")


async def test_another_writers_object_leaves_doubt(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Completed, then overwritten, the reply lost, the upload gone: nobody can tell, and it says so."""
    client.plan(COMPLETE, overwrite, answer(GONE))
    with pytest.raises(S3NotFoundError, match="another upload's") as caught:
        await upload(lake)
    assert (caught.value.outcome, caught.value.code) == ("unknown", "NoSuchUpload")
    assert stored(observer, lake.name) == b"theirs"


async def test_a_denied_head_leaves_doubt(lake: Bucket, client: FaultyClient) -> None:
    """A role that may write but not read cannot prove anything; Complete is not blindly repeated."""
    client.plan(COMPLETE, lose_reply, answer(GONE))
    client.always["head_object"] = answer(error_reply("403", 403))
    with pytest.raises(S3Error, match="HEAD could not tell") as caught:
        await upload(lake)
    assert caught.value.outcome == "unknown"
    assert client.calls[COMPLETE] == 2
    assert order(client).index("head_object") < order(client).index("abort_multipart_upload")


async def test_a_request_sent_twice_by_a_proxy_is_success(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The second copy is told that the upload is gone (MinIO) or succeeds again (AWS, moto): one object."""
    client.plan(COMPLETE, send_twice)
    await upload(lake)
    assert stored(observer, lake.name) == DATA
    client.plan(COMPLETE, send_twice)
    await lake.upload_stream("new", [DATA], part_size=PART, if_none_match=True)
    assert client.calls["abort_multipart_upload"] == 0


@pytest.mark.parametrize("server", ["minio"], indirect=True)
async def test_an_upload_aborted_by_others_is_not_found(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """Never completed and gone: not found, and certainly not applied (moto answers 500)."""

    async def sweep(call: Any, arguments: dict[str, Any]) -> Any:
        await call.__self__.abort_multipart_upload(
            **{name: arguments[name] for name in ("Bucket", "Key", "UploadId")}
        )
        return await call(**arguments)

    client.plan(COMPLETE, sweep)
    with pytest.raises(S3NotFoundError) as caught:
        await upload(lake)
    assert (caught.value.code, caught.value.outcome) == ("NoSuchUpload", "not_applied")


async def test_a_lost_condition_stays_lost(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Create only, and somebody was faster: refused, not applied, and the upload is aborted."""
    observer.put_object(Bucket=lake.name, Key="key", Body=b"theirs")
    with pytest.raises(S3PreconditionFailedError) as caught:
        await upload(lake, if_none_match=True)
    assert caught.value.outcome == "not_applied"
    assert client.still_open(observer, lake.name) == []
    assert stored(observer, lake.name) == b"theirs"


async def test_an_error_inside_a_200_is_repeated(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """`InternalError` as botocore finds it in a 200 is a failure, tried again."""
    client.plan(COMPLETE, answer(error_reply("InternalError", 200)))
    await upload(lake)
    assert stored(observer, lake.name) == DATA
    assert client.calls[COMPLETE] == 2


async def test_a_reply_without_an_etag_is_no_reply(lake: Bucket, client: FaultyClient) -> None:
    """An empty 200 proves nothing; the object does."""
    client.plan(COMPLETE, change_reply(ETag=None))
    result = await upload(lake)
    assert result.etag
    assert (client.calls[COMPLETE], client.calls["head_object"]) == (1, 1)


async def test_another_checksum_in_the_reply_is_an_integrity_error(
    lake: Bucket, client: FaultyClient
) -> None:
    """What the store says it stored is compared with what was sent."""
    client.plan(COMPLETE, change_reply(ChecksumCRC64NVME="AAAAAAAAAAA="))
    with pytest.raises(S3IntegrityError) as caught:
        await upload(lake)
    assert caught.value.outcome == "applied"


@pytest.mark.parametrize("changed", [{"ContentLength": 7}, {"ChecksumCRC64NVME": "AAAAAAAAAAA="}])
async def test_the_token_alone_is_no_proof(
    lake: Bucket, client: FaultyClient, changed: dict[str, Any]
) -> None:
    """The object has our token, but another size or checksum: in doubt."""
    client.plan(COMPLETE, lose_reply, answer(GONE))
    client.plan("head_object", change_reply(ChecksumType="FULL_OBJECT", **changed))
    with pytest.raises(S3NotFoundError) as caught:
        await upload(lake)
    assert caught.value.outcome == "unknown"


async def test_two_writers_lose_their_replies(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Both are applied and both replies lost: the last wins, none is mixed, the loser may be in doubt."""
    client.plan(COMPLETE, lose_reply, lose_reply)
    data = DATA, DATA[::-1]
    outcomes = await asyncio.gather(
        *(lake.upload_stream("key", [each], part_size=PART) for each in data), return_exceptions=True
    )
    for outcome in outcomes:
        assert not isinstance(outcome, BaseException) or getattr(outcome, "outcome", "") == "unknown"
    assert stored(observer, lake.name) in data
    assert client.still_open(observer, lake.name) == []


@pytest.mark.parametrize("lie", [{"ETag": None}, {"ChecksumCRC64NVME": "AAAAAAAAAAA="}])
async def test_a_part_acknowledged_wrongly_is_resent_once(
    lake: Bucket, observer: Any, client: FaultyClient, lie: dict[str, Any]
) -> None:
    """One wrong acknowledgement is repaired; two in a row are `S3IntegrityError`, and nothing stays open."""
    client.plan("upload_part", change_reply(**lie))
    await upload(lake)
    assert client.calls["upload_part"] == 3
    client.always["upload_part"] = change_reply(**lie)
    with pytest.raises(S3IntegrityError, match=r"part [12] was sent twice"):
        await upload(lake)
    assert client.still_open(observer, lake.name) == []


async def test_a_lost_part_is_sent_again(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """The same bytes, once more, whether the request or the reply was lost."""
    client.plan("upload_part", lose_request, lose_reply, lose_reply)
    await upload(lake)
    assert stored(observer, lake.name) == DATA


async def test_a_lost_reply_to_create_may_leave_an_orphan(
    lake: Bucket, observer: Any, client: FaultyClient, session: StorageSession
) -> None:
    """It is retried, counted as a possible orphan, and the other upload is never touched."""
    client.plan("create_multipart_upload", lose_reply)
    await upload(lake)
    assert session.statistics().possible_orphans == 1
    assert len(client.uploads) == 2
    [orphan] = client.still_open(observer, lake.name)
    observer.abort_multipart_upload(Bucket=lake.name, Key="key", UploadId=orphan)


async def test_a_refused_create_is_no_orphan(
    lake: Bucket, client: FaultyClient, session: StorageSession
) -> None:
    """An answer that says no opened nothing."""
    client.plan("create_multipart_upload", answer(error_reply("SlowDown", 503)))
    await upload(lake)
    assert session.statistics().possible_orphans == 0


async def test_parts_that_land_after_the_abort_are_removed(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """The store still lists the upload after an abort: it is aborted again until it is gone."""
    client.plan("upload_part", answer(error_reply("AccessDenied", 403)))

    async def still_there(_call: Any, _arguments: dict[str, Any]) -> Any:
        return {"Parts": [], "IsTruncated": False}

    client.plan("list_parts", still_there, still_there)
    with pytest.raises(S3Error):
        await lake.upload_stream("key", [DATA], part_size=PART)
    assert client.calls["abort_multipart_upload"] >= 2
    assert client.still_open(observer, lake.name) == []


async def test_a_conflict_at_complete_is_told_as_one(lake: Bucket, client: FaultyClient) -> None:
    """S3 drops the upload with its 409: Complete is not sent again, and nothing is called missing."""
    client.plan(COMPLETE, answer(error_reply("ConditionalRequestConflict", 409)), answer(GONE))
    with pytest.raises(S3PreconditionFailedError) as caught:
        await upload(lake, if_none_match=True)
    assert (client.calls[COMPLETE], caught.value.status, caught.value.outcome) == (1, 409, "not_applied")
