"""Rows of the fault matrix about requests: lost, broken, refused, late, sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenlang_async_storage import (
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3ThrottlingError,
    S3TimeoutError,
)
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

pytestmark = pytest.mark.asyncio

SMALL = b"0123456789" * 10
LARGE = bytes(range(256)) * (11 * MIB // 256) + b"tail"
SLOW_DOWN: dict[str, Any] = {"status": 503, "code": "SlowDown"}
INTERNAL: dict[str, Any] = {"status": 500, "code": "InternalError"}


async def pieces(data: bytes = LARGE, size: int = MIB) -> AsyncIterator[bytes]:
    """*data* as a producer gives it."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def upload_large(lab: Lab, **options: Any) -> None:
    """A stream in three parts, which the store holds whole afterwards."""
    await lab.lake.upload_stream("key", pieces(), part_size=PART, **options)
    assert lab.check.content("key") == LARGE


@pytest.mark.parametrize("phase", ["connect", "request_head", "idle"])
@pytest.mark.parametrize("action", ["reset", "close"])
async def test_f01_refused_or_reset_before_the_body(lab: Lab, phase: Any, action: Any) -> None:
    """Nothing is noticed, reads and writes alike; a stale kept-alive connection neither."""
    lab.plan(*(Fault(name, 1, phase, action) for name in ("PutObject", "GetObject", "HeadObject")))
    await lab.lake.upload_bytes("key", SMALL)
    assert await lab.lake.exists("key")
    assert await lab.lake.download_bytes("key") == SMALL


@pytest.mark.parametrize("at", [0, 1, PART // 2, PART - 1])
@pytest.mark.parametrize("nth", [1, 2])
async def test_f02_reset_in_the_request_body(lab: Lab, at: int, nth: int) -> None:
    """The same bytes are sent again, wherever the connection broke."""
    lab.plan(Fault("UploadPart", nth, "request_body", "reset", at=at))
    await upload_large(lab)
    assert lab.count("UploadPart") == 4


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObject", "PutObjectTagging", "CopyObject"])
async def test_f03_reply_lost_of_a_repeatable_write(lab: Lab, operation: str) -> None:
    """Sent again, and done once as far as anybody can see."""
    lab.store.put(BUCKET, "old", SMALL)
    lab.plan(Fault(operation, 1, "withheld", "reset"))
    await lab.lake.upload_bytes("key", SMALL)
    await lab.lake.set_tags("key", {"a": "1"})
    await lab.lake.copy("old", "new")
    await lab.lake.delete("old")
    assert lab.store.keys(BUCKET) == ["key", "new"]
    assert await lab.lake.get_tags("key") == {"a": "1"}


async def test_f03_reply_lost_of_a_conditional_write(lab: Lab) -> None:
    """The 412 to the second try is our own echo: the object's token proves it, and the call succeeds."""
    lab.plan(Fault("PutObject", 1, "withheld", "reset"))
    result = await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert (result.size, lab.check.content("key")) == (len(SMALL), SMALL)


async def test_f03_the_object_of_another_is_no_echo(lab: Lab) -> None:
    """A lost reply and a 412 because of somebody else's object: never a success, and said to be unknown."""

    async def overtaken() -> None:
        lab.store.put(BUCKET, "key", b"another writer's")

    lab.faults.hooks["overtaken"] = overtaken
    lab.plan(
        Fault("PutObject", 1, "unforwarded", "hook", hook="overtaken"),
        Fault("PutObject", 1, "unforwarded", "reset"),
    )
    with pytest.raises(S3PreconditionFailedError) as caught:
        await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert caught.value.outcome == "unknown"
    assert lab.check.content("key") == b"another writer's"


async def test_f03_a_request_sent_twice_and_a_store_that_does_not_tell(lab: Lab) -> None:
    """A proxy repeats the request, the 412 answers its echo, and HEAD fails: said to be unknown."""
    lab.plan(
        Fault("PutObject", 1, "withheld", "twice"),
        Fault("HeadObject", 0, "unforwarded", "replace", **SLOW_DOWN),
    )
    with pytest.raises(S3PreconditionFailedError, match="HEAD could not tell") as caught:
        await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert caught.value.outcome == "unknown"
    assert lab.check.content("key") == SMALL


async def test_f03_replies_that_stay_lost(lab: Lab) -> None:
    """The error says that the write may have been applied, and how often it was tried."""
    lab.plan(Fault("PutObject", 0, "withheld", "reset"))
    with pytest.raises(S3ConnectionError) as caught:
        await lab.lake.upload_bytes("key", SMALL)
    error = caught.value
    assert (error.outcome, error.attempts, error.retryable) == ("unknown", 3, True)
    assert (error.operation, error.bucket, error.key) == ("PutObject", BUCKET, "key")


@pytest.mark.parametrize("at", [0, 1, -1, PART // 3])
async def test_f06_a_byte_flipped_in_an_upload(lab: Lab, at: int) -> None:
    """The store refuses what arrived, the part is sent once more, and the object is the right one."""
    lab.plan(Fault("UploadPart", 2, "request_body", "flip", at=at))
    await upload_large(lab)


async def test_f06_flips_that_stay(lab: Lab) -> None:
    """`S3IntegrityError`, nothing stored, nothing left open."""
    lab.plan(Fault("*", 0, "request_body", "flip"))
    with pytest.raises(S3IntegrityError):
        await lab.lake.upload_bytes("key", SMALL)
    assert lab.check.content("key") is None


@pytest.mark.parametrize("phase", ["request_head", "request_body", "unforwarded", "withheld", "reply_head"])
@pytest.mark.parametrize("door", ["direct", "served"])
async def test_f07_no_reply(phase: Any, door: Any) -> None:
    """Each attempt ends by its deadline, in whatever phase the store went silent, and the next one works."""
    async with laboratory(door, attempt_timeout=0.5) as lab:
        lab.plan(Fault("PutObject", 1, phase, "stall"))
        await lab.lake.upload_bytes("key", b"x" * MIB)
        assert lab.count("PutObject") == 2


async def test_f07_no_100_continue() -> None:
    """A server that never says `100 Continue` costs one attempt, not for ever."""
    async with laboratory("served", attempt_timeout=0.5, multipart_threshold=64 * MIB) as lab:
        lab.plan(Fault("PutObject", 1, "request_head", "stall"))
        await lab.lake.upload_bytes("key", b"x" * MIB)
        assert "expect" in lab.faults.requests[0].headers
        assert [request.status for request in lab.faults.requests] == [None, 200]


async def test_f07_silence_for_ever(lab: Lab) -> None:
    """`timeout=` ends the call, with a typed error that says what is not known."""
    lab.plan(Fault("*", 0, "withheld", "stall"))
    started = asyncio.get_running_loop().time()
    with pytest.raises(S3TimeoutError) as caught:
        await lab.lake.upload_bytes("key", SMALL, timeout=0.3)
    assert asyncio.get_running_loop().time() - started < 10
    assert caught.value.outcome == "unknown"


@pytest.mark.parametrize("reply", [SLOW_DOWN, INTERNAL, {"status": 502}, {"status": 504}, {"status": 429}])
async def test_f10_a_store_that_is_busy(lab: Lab, reply: dict[str, Any]) -> None:
    """Every request is refused once, and the upload is whole."""
    lab.plan(
        *(
            Fault(name, 1, "unforwarded", "replace", **reply)
            for name in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "GetObject")
        )
    )
    await upload_large(lab)
    assert await lab.lake.download_bytes("key") == LARGE


async def test_f10_a_gateways_503_tells_nothing_of_a_write(lab: Lab) -> None:
    """Without S3's own code a 503 may be a proxy's that lost the reply: our own object is no conflict."""
    lab.plan(Fault("PutObject", 1, "reply_head", "replace", status=503, body="<html>no upstream</html>"))
    await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert lab.check.content("key") == SMALL
    lab.plan(Fault("PutObject", 0, "reply_head", "replace", status=503, body="<html>no upstream</html>"))
    with pytest.raises(S3ThrottlingError) as caught:
        await lab.lake.upload_bytes("other", SMALL)
    assert (caught.value.outcome, caught.value.attempts) == ("unknown", 3)


async def test_f10_a_503_with_the_body_of_a_listing(lab: Lab) -> None:
    """A gateway that changed nothing but the status: botocore stumbles over it, and the call is repeated."""
    for name in ("list/1", "list/2"):
        lab.store.put(BUCKET, name, SMALL)
    lab.plan(Fault("ListObjectsV2", 1, "reply_head", "replace", status=503))
    assert [found.key async for found in lab.lake.list_objects("list/")] == ["list/1", "list/2"]
    lab.plan(Fault("ListObjectsV2", 0, "reply_head", "replace", status=503))
    with pytest.raises(S3Error) as caught:
        await anext(lab.lake.list_objects("list/"))
    error = caught.value
    assert (error.operation, error.bucket, error.attempts) == ("ListObjectsV2", BUCKET, 3)
    assert error.retryable


async def test_f10_a_store_that_stays_busy(lab: Lab) -> None:
    """`S3ThrottlingError` after the configured attempts, and nothing is left open."""
    lab.plan(Fault("UploadPart", 0, "unforwarded", "replace", **SLOW_DOWN))
    with pytest.raises(S3ThrottlingError) as caught:
        await upload_large(lab)
    assert caught.value.attempts == 3


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": 400, "code": "InvalidArgument"}, S3InvalidRequestError),
        ({"status": 403, "code": "AccessDenied"}, S3Error),
        ({"status": 404, "code": "NoSuchKey"}, S3NotFoundError),
        ({"status": 412, "code": "PreconditionFailed"}, S3PreconditionFailedError),
    ],
)
async def test_f10_permanent_refusals_are_sent_once(
    lab: Lab, reply: dict[str, Any], error: type[S3Error]
) -> None:
    """What cannot get better is not asked again."""
    lab.store.put(BUCKET, "key", SMALL)
    lab.plan(Fault("GetObject", 0, "unforwarded", "replace", **reply))
    with pytest.raises(error):
        await lab.lake.download_bytes("key")
    assert lab.count("GetObject") == 1


@pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "CopyObject"])
async def test_f11_an_error_inside_a_200(lab: Lab, operation: str) -> None:
    """Treated as the failure it is: tried again, and never taken for an object."""
    lab.store.put(BUCKET, "from", SMALL)
    lab.plan(Fault(operation, 1, "unforwarded", "replace", status=200, code="InternalError"))
    await upload_large(lab)
    await lab.lake.copy("from", "to")
    assert lab.check.content("to") == SMALL
    assert lab.count(operation) == 2


@pytest.mark.parametrize("body", ["", "   \n", "<html>no</html>"])
async def test_f11_a_200_that_says_nothing(lab: Lab, body: str) -> None:
    """A Complete without an ETag is settled by the object itself."""
    lab.plan(Fault("CompleteMultipartUpload", 1, "reply_head", "replace", status=200, body=body))
    await upload_large(lab)


@pytest.mark.parametrize("behaviour", ["aws", "minio", "moto"])
@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("lost", [1, 0], ids=["once", "always"])
async def test_f12_reply_to_complete_lost(behaviour: Any, door: Any, lost: int) -> None:
    """Success, since it happened, whatever the store says to the second Complete; never an abort."""
    async with laboratory(door, store=MemoryS3(behaviour=behaviour)) as lab:
        lab.plan(Fault("CompleteMultipartUpload", lost, "withheld", "reset"))
        await upload_large(lab)
        assert lab.count("AbortMultipartUpload") == 0


async def test_f12_a_denied_head_is_unknown(lab: Lab) -> None:
    """Who may not look cannot know; the error says so."""
    lab.plan(
        Fault("CompleteMultipartUpload", 0, "withheld", "reset"),
        Fault("HeadObject", 0, "unforwarded", "replace", status=403),
    )
    with pytest.raises(S3Error) as caught:
        await upload_large(lab)
    assert caught.value.outcome == "unknown"


@pytest.mark.parametrize("behaviour", ["aws", "minio", "moto"])
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
async def test_f13_a_proxy_sends_everything_twice(behaviour: Any, operation: str) -> None:
    """One object, one result; an upload that was opened twice is the store's to list, not ours to abort."""
    async with laboratory("served", store=MemoryS3(behaviour=behaviour)) as lab:
        lab.plan(Fault(operation, 0, "withheld", "twice"))
        await upload_large(lab)
        for key, upload_id in lab.check.open_uploads():
            assert operation == "CreateMultipartUpload"
            place = {"Bucket": BUCKET, "Key": key, "UploadId": upload_id}
            await lab.session.client.abort_multipart_upload(**place)  # type: ignore[arg-type]


async def test_f13_two_writers(lab: Lab) -> None:
    """Of two uploads to one key at the same time one wins whole; with If-None-Match exactly one may."""
    one, two = b"1" * (PART + 9), b"2" * (PART + 9)
    await asyncio.gather(*(lab.lake.upload_stream("key", pieces(data)) for data in (one, two)))
    assert lab.check.content("key") in {one, two}
    racers = (lab.lake.upload_stream("new", pieces(data), if_none_match=True) for data in (one, two))
    results = await asyncio.gather(*racers, return_exceptions=True)
    lost = [result for result in results if isinstance(result, BaseException)]
    assert [type(error) for error in lost] == [S3PreconditionFailedError]


async def test_f14_an_expired_token_that_cannot_be_renewed(lab: Lab) -> None:
    """Fixed keys: one request, `S3CredentialsError`."""
    lab.plan(Fault("PutObject", 0, "unforwarded", "replace", status=400, code="ExpiredToken"))
    with pytest.raises(S3CredentialsError):
        await lab.lake.upload_bytes("key", SMALL)
    assert lab.count("PutObject") == 1


async def test_f15_clock_skew_is_told(lab: Lab) -> None:
    """The error has the offset between the clocks, read from the reply."""
    reply: dict[str, Any] = {
        "status": 403,
        "code": "RequestTimeTooSkewed",
        "headers": {"Date": "Sun, 01 Mar 2026 12:00:00 GMT"},
    }
    lab.plan(Fault("PutObject", 0, "unforwarded", "replace", **reply))
    with pytest.raises(S3CredentialsError, match=r"clock is [+-]\d+ s from this machine's"):
        await lab.lake.upload_bytes("key", SMALL)


@pytest.mark.parametrize("status", [301, 307])
async def test_f16_a_redirect_leads_nowhere_else(lab: Lab, status: int) -> None:
    """With an endpoint of one's own no other host is ever asked, whatever a reply says."""
    headers = {"location": "http://127.0.0.1:9/stolen", "x-amz-bucket-region": "eu-west-1"}
    lab.plan(
        Fault(
            "GetObject", 0, "unforwarded", "replace", status=status, code="PermanentRedirect", headers=headers
        )
    )
    with pytest.raises(S3InvalidRequestError, match="AWS_REGION"):
        await lab.lake.download_bytes("key")
    hosts = {request.headers["host"] for request in lab.faults.requests}
    assert len(hosts) == 1
    assert hosts != {"127.0.0.1:9"}


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_f18_the_pool_is_exhausted(door: Any) -> None:
    """Who waits too long hears of it, unsent; who waits long enough is served."""
    async with laboratory(door, max_pool_connections=2, pool_timeout=0.2) as lab:
        lab.store.put(BUCKET, "key", LARGE)
        async with lab.lake.open_download("key") as one, lab.lake.open_download("key") as two:
            await anext(one)
            await anext(two)
            with pytest.raises(S3PoolTimeoutError):
                await lab.lake.exists("key")
            assert lab.count("HeadObject") == 0
    async with laboratory(door, max_pool_connections=2) as lab:
        lab.store.put(BUCKET, "key", SMALL)
        found = await asyncio.gather(*(lab.lake.exists("key") for _ in range(100)))
        assert found == [True] * 100


async def test_f38_reply_to_create_lost(lab: Lab) -> None:
    """Tried again; the upload nobody knows the id of is counted, and left to the sweep."""
    lab.plan(Fault("CreateMultipartUpload", 1, "withheld", "reset"))
    await upload_large(lab)
    assert lab.session.statistics().possible_orphans == 1
    [(key, upload_id)] = lab.check.open_uploads()
    place = {"Bucket": BUCKET, "Key": key, "UploadId": upload_id}
    await lab.session.client.abort_multipart_upload(**place)  # type: ignore[arg-type]
