"""The multipart primitives for browsers and other processes: plain data in, one object out, or nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import random
from dataclasses import asdict, replace
from typing import Any

import pytest
from awscrt import checksums

from greenlang_async_storage import (
    Bucket,
    MultipartUpload,
    S3AccessDeniedError,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
    UploadedPart,
)
from greenlang_async_storage._multipart import create as create_with_checksum
from greenlang_async_storage._multipart import whole_checksum
from greenlang_async_storage._options import prepare_write
from tests.support.cancel import cancel_everywhere
from tests.support.faulty import FaultyClient, answer, lose_reply
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

PART = 5 * 1024 * 1024
DATA = random.Random(8).randbytes(2 * PART + 77)
PIECES = [DATA[:PART], DATA[PART : 2 * PART], DATA[2 * PART :]]


@pytest.fixture
def client(lake: Bucket) -> FaultyClient:
    """The client under `lake`, ready for faults."""
    return FaultyClient.install(lake)


def send(observer: Any, upload: MultipartUpload, *numbers: int, **extra: Any) -> list[UploadedPart]:
    """Parts of DATA sent by somebody else, who keeps number and ETag only."""
    return [
        UploadedPart(
            number,
            observer.upload_part(
                Bucket=upload.bucket,
                Key=upload.key,
                UploadId=upload.upload_id,
                PartNumber=number,
                Body=PIECES[number - 1],
                **extra,
            )["ETag"],
        )
        for number in numbers
    ]


def stored(observer: Any, bucket: str, key: str = "key") -> bytes:
    """What a plain client reads."""
    return bytes(observer.get_object(Bucket=bucket, Key=key)["Body"].read())


def crc(data: bytes) -> str:
    """CRC64NVME as S3 writes it."""
    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


async def test_parts_in_any_order_become_one_object(lake: Bucket, observer: Any) -> None:
    """A sender that knows numbers and quoted ETags is enough; options given at the start are kept."""
    upload = await lake.create_multipart("key", content_type="video/mp4", metadata={"a": "b"})
    parts = send(observer, upload, 3, 1, 2)
    result = await lake.complete_multipart(upload, parts)
    assert stored(observer, lake.name) == DATA
    assert (result.key, result.size) == ("key", len(DATA))
    info = await lake.head("key")
    assert (info.content_type, info.metadata, info.etag) == ("video/mp4", {"a": "b"}, result.etag)


async def test_an_upload_travels_as_plain_data(lake: Bucket, observer: Any) -> None:
    """Pickled or as JSON, it is the same upload in another process."""
    upload = await lake.create_multipart("key")
    copy = MultipartUpload(**json.loads(json.dumps(asdict(upload))))
    assert pickle.loads(pickle.dumps(upload)) == copy == upload  # noqa: S301  # made here
    await lake.complete_multipart(copy, send(observer, copy, 1))
    assert stored(observer, lake.name) == PIECES[0]


async def test_parts_are_listed_by_number(lake: Bucket, observer: Any) -> None:
    """What S3 holds: number, bare ETag and size; an empty list before the first."""
    upload = await lake.create_multipart("key")
    assert await lake.list_parts(upload) == []
    etags = {part.number: part.etag.strip('"') for part in send(observer, upload, 3, 1)}
    listed = await lake.list_parts(upload)
    assert [(part.number, part.etag, part.size) for part in listed] == [
        (1, etags[1], PART),
        (3, etags[3], 77),
    ]
    await lake.abort_multipart(upload)
    with pytest.raises(S3NotFoundError) as caught:
        await lake.list_parts(upload)
    assert caught.value.code == "NoSuchUpload"


async def test_long_lists_of_parts_come_in_pages(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """Every page is asked for, and a store that goes round in circles is not followed."""

    async def one_by_one(call: Any, arguments: dict[str, Any]) -> Any:
        return await call(**{**arguments, "MaxParts": 1})

    upload = await lake.create_multipart("key")
    send(observer, upload, 1, 2, 3)
    client.always["list_parts"] = one_by_one
    assert [part.number for part in await lake.list_parts(upload)] == [1, 2, 3]
    assert client.calls["list_parts"] >= 3

    async def circle(call: Any, arguments: dict[str, Any]) -> Any:
        reply = await call(**{**arguments, "PartNumberMarker": 0})
        return {**reply, "IsTruncated": True}

    client.always["list_parts"] = circle
    with pytest.raises(S3Error, match="lists none"):
        await lake.list_parts(upload)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no part to complete"),
        ([UploadedPart(0, "e")], "no part number 0"),
        ([UploadedPart(10_001, "e")], "no part number 10001"),
        ([UploadedPart(2, "e"), UploadedPart(1, "e"), UploadedPart(2, "f")], "part 2 is given twice"),
        ([UploadedPart(1, "")], "part 1 has no ETag"),
        ([UploadedPart(1, "e", 5, "not base64!")], "not base64"),
    ],
)
async def test_lists_that_cannot_be_right_are_refused(
    lake: Bucket, client: FaultyClient, parts: list[UploadedPart], message: str
) -> None:
    """Nothing is asked from the store for them."""
    upload = MultipartUpload(lake.name, "key", "id", checksum="CRC64NVME")
    with pytest.raises(S3InvalidRequestError, match=message):
        await lake.complete_multipart(upload, parts)
    assert not client.calls


async def test_a_part_the_store_does_not_hold_is_named(
    lake: Bucket, observer: Any, client: FaultyClient
) -> None:
    """A wrong ETag and a missing part are found before Complete; the upload stays open."""
    upload = await lake.create_multipart("key")
    parts = send(observer, upload, 1, 2)
    for wrong, message in (
        (
            [parts[0], replace(parts[1], etag="0" * 32)],
            "part 2 is given with the ETag 0+, but the store holds",
        ),
        ([*parts, UploadedPart(3, "1" * 32)], "part 3 .* does not hold it"),
    ):
        with pytest.raises(S3InvalidRequestError, match=message):
            await lake.complete_multipart(upload, wrong)
    assert client.calls["complete_multipart_upload"] == 0
    await lake.complete_multipart(upload, parts)
    assert stored(observer, lake.name) == DATA[: 2 * PART]


async def test_a_part_below_the_minimum_is_the_stores_refusal(lake: Bucket, observer: Any) -> None:
    """Only the last part may be below 5 MiB: `S3InvalidRequestError` with a remedy."""
    upload = await lake.create_multipart("key")
    parts = send(observer, upload, 3)
    again = observer.upload_part(
        Bucket=lake.name, Key="key", UploadId=upload.upload_id, PartNumber=4, Body=b"x"
    )
    with pytest.raises(S3InvalidRequestError, match="at least 5 MiB") as caught:
        await lake.complete_multipart(upload, [*parts, UploadedPart(4, again["ETag"])])
    assert caught.value.code == "EntityTooSmall"
    await lake.abort_multipart(upload)


async def test_conditions_belong_to_complete(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """At the start they are refused with the way out; at Complete they are enforced."""
    with pytest.raises(S3InvalidRequestError, match=r"Pass the condition to complete_multipart\(\)"):
        await lake.create_multipart("key", if_none_match=True)
    assert not client.calls
    upload = await lake.create_multipart("key")
    parts = send(observer, upload, 1)
    observer.put_object(Bucket=lake.name, Key="key", Body=b"theirs")
    with pytest.raises(S3PreconditionFailedError):
        await lake.complete_multipart(upload, parts, if_none_match=True)
    etag = (await lake.head("key")).etag
    await lake.complete_multipart(upload, parts, if_match=etag)
    assert stored(observer, lake.name) == PIECES[0]


async def test_checksums_that_were_agreed_are_checked(
    lake: Bucket, observer: Any, session: StorageSession
) -> None:
    """Parts sent with CRC64NVME make an object with the CRC of the whole, though the sender kept none."""
    connection: Any = lake._connection
    write = prepare_write(connection.settings, "key", {})
    upload = await create_with_checksum(connection, lake.name, write, checksum="CRC64NVME")
    parts = [
        send(observer, upload, number, ChecksumCRC64NVME=crc(PIECES[number - 1]))[0] for number in (1, 2, 3)
    ]
    known = [
        replace(part, size=len(piece), checksum=crc(piece)) for part, piece in zip(parts, PIECES, strict=True)
    ]
    whole = whole_checksum(upload, known)
    assert whole is not None
    assert (whole.value, whole.type) == (crc(DATA), "FULL_OBJECT")
    result = await lake.complete_multipart(upload, known[::-1])
    assert result.checksum == whole
    head = observer.head_object(Bucket=lake.name, Key="key", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == crc(DATA)


@pytest.mark.parametrize("server", ["minio"], indirect=True)
async def test_checksums_the_sender_did_not_keep_are_read_from_the_store(lake: Bucket, observer: Any) -> None:
    """MinIO refuses a Complete without them where one was agreed."""
    connection: Any = lake._connection
    write = prepare_write(connection.settings, "key", {})
    upload = await create_with_checksum(connection, lake.name, write, checksum="CRC64NVME")
    parts = [
        send(observer, upload, number, ChecksumCRC64NVME=crc(PIECES[number - 1]))[0] for number in (1, 2, 3)
    ]
    result = await lake.complete_multipart(upload, parts)
    assert result.checksum is not None
    assert (result.checksum.value, result.size) == (crc(DATA), len(DATA))


@pytest.mark.parametrize("known", [True, False])
async def test_a_lost_complete_of_others_parts_is_settled(
    lake: Bucket, observer: Any, client: FaultyClient, known: bool
) -> None:
    """The token is part of the plain data, so the other process proves it as well."""
    upload = await lake.create_multipart("key")
    parts = send(observer, upload, 1, 2, 3)
    if known:
        parts = [replace(part, size=len(piece)) for part, piece in zip(parts, PIECES, strict=True)]
    client.plan("complete_multipart_upload", lose_reply, lose_reply, lose_reply)
    result = await lake.complete_multipart(upload, parts)
    assert (result.size, client.calls["abort_multipart_upload"]) == (len(DATA), 0)
    assert stored(observer, lake.name) == DATA


async def test_without_a_token_nothing_is_proved(lake: Bucket, observer: Any, client: FaultyClient) -> None:
    """An upload somebody else opened has no token of ours: in doubt, although the object is there."""
    upload_id = observer.create_multipart_upload(Bucket=lake.name, Key="key")["UploadId"]
    upload = MultipartUpload(lake.name, "key", upload_id)
    parts = send(observer, upload, 1)
    client.plan("complete_multipart_upload", lose_reply, answer(error_reply("NoSuchUpload", 404)))
    with pytest.raises(S3NotFoundError) as caught:
        await lake.complete_multipart(upload, parts)
    assert caught.value.outcome == "unknown"


async def test_aborting_is_idempotent(lake: Bucket, observer: Any) -> None:
    """Twice, at once, and after Complete: the upload is gone, an object stays."""
    upload = await lake.create_multipart("key")
    send(observer, upload, 1)
    await asyncio.gather(lake.abort_multipart(upload), lake.abort_multipart(upload))
    await lake.abort_multipart(upload)
    upload = await lake.create_multipart("key")
    await lake.complete_multipart(upload, send(observer, upload, 1))
    await lake.abort_multipart(upload)
    assert stored(observer, lake.name) == PIECES[0]


async def test_a_role_that_may_not_list_may_abort(lake: Bucket, client: FaultyClient) -> None:
    """Where ListParts is denied the store's word for the abort is taken; a denied abort is an error."""
    upload = await lake.create_multipart("key")
    client.always["list_parts"] = answer(error_reply("AccessDenied", 403))
    client.plan("abort_multipart_upload", answer(error_reply("AccessDenied", 403)))
    with pytest.raises(S3AccessDeniedError):
        await lake.abort_multipart(upload)
    await lake.abort_multipart(upload)
    assert client.calls["abort_multipart_upload"] == 2


async def test_an_upload_that_will_not_go_is_an_error(lake: Bucket, client: FaultyClient) -> None:
    """After some rounds the caller is told, with the way out."""

    async def still_there(_call: Any, _arguments: dict[str, Any]) -> Any:
        return {"Parts": [], "IsTruncated": False}

    client.always["list_parts"] = still_there
    client.always["abort_multipart_upload"] = still_there
    with pytest.raises(S3Error, match=r"still open after 5 aborts.*abort_stale_uploads"):
        await lake.abort_multipart(MultipartUpload(lake.name, "key", "id"))


async def test_uploads_stay_in_their_bucket_and_scope(lake: Bucket, observer: Any) -> None:
    """A view completes its own uploads only, and names keys as its users do."""
    mine = await lake.scoped("t1").create_multipart("key")
    assert mine.key == "t1/key"
    with pytest.raises(S3InvalidRequestError):
        await lake.scoped("t10").abort_multipart(mine)
    result = await lake.scoped("t1").complete_multipart(mine, send(observer, mine, 1))
    assert result.key == "key"


async def test_a_cancel_while_the_reply_to_create_is_on_its_way(
    lake: Bucket, observer: Any, client: FaultyClient, session: StorageSession
) -> None:
    """The store has opened the upload already: its reply is awaited, and the upload aborted."""
    opened, proceed = asyncio.Event(), asyncio.Event()

    async def slow(call: Any, arguments: dict[str, Any]) -> Any:
        reply = await call(**arguments)
        opened.set()
        await proceed.wait()
        return reply

    client.plan("create_multipart_upload", slow)
    task = asyncio.create_task(lake.create_multipart("key"))
    await opened.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(proceed.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(client.uploads) == 1
    assert client.still_open(observer, lake.name) == []
    assert session.statistics().possible_orphans == 0


async def test_a_cancel_at_every_await_of_create_leaves_nothing(
    lake: Bucket, observer: Any, client: FaultyClient, session: StorageSession
) -> None:
    """Also when the request was sent already: its reply is waited for, and what it opened is aborted."""
    finished: list[MultipartUpload] = []

    async def work() -> None:
        finished.append(await lake.create_multipart("key"))

    async def check() -> None:
        known = {upload.upload_id for upload in finished}
        assert set(client.still_open(observer, lake.name)) <= known
        statistics = session.statistics()
        assert (statistics.in_flight, statistics.cleanups_pending) == (0, 0)

    for again_after in (0, 1):
        assert await cancel_everywhere(work, check, again_after=again_after) > 0
    assert len(finished) == 2
    for upload in finished:
        await lake.abort_multipart(upload)
