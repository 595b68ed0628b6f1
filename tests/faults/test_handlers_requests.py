"""Handlers that only a second fault reaches: refusals during a clean-up, a proof, a copy, a probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
    S3ThrottlingError,
    UploadedPart,
    _copy,
)
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.faults.test_rows_requests import LARGE, SMALL, pieces, upload_large
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """In memory: what is handled here does not depend on how requests travel."""
    async with laboratory() as made:
        yield made


def refused(operation: str, status: int = 403, code: str = "AccessDenied", nth: int = 0) -> Fault:
    """The *nth* request of *operation* (0: each) is refused and never reaches the store."""
    return Fault(operation, nth, "unforwarded", "replace", status=status, code=code)


def lost(operation: str, nth: int = 1) -> Fault:
    """The store does it, and nobody hears of it."""
    return Fault(operation, nth, "withheld", "reset")


async def aborted(lab: Lab) -> None:
    """Remove what a test left open on purpose."""
    lab.plan()
    for key, upload_id in lab.check.open_uploads():
        await lab.session.client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)


async def test_f10_a_bucket_that_refuses(lab: Lab) -> None:
    """Readiness is an answer, also where it is no."""
    lab.plan(refused("HeadBucket"))
    ready = await lab.session.check()
    assert not ready.ok
    assert isinstance(ready.buckets["data_lake"].error, S3AccessDeniedError)


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "AccessDenied"])
async def test_f13_a_bucket_made_by_another_meanwhile(lab: Lab, code: str) -> None:
    """Somebody was faster: nothing to do. Another refusal is told."""
    lab.plan(refused("HeadBucket", 404, "NoSuchBucket"), refused("CreateBucket", 409, code))
    if code == "AccessDenied":
        with pytest.raises(S3AccessDeniedError):
            await lab.session.ensure_buckets()
    else:
        assert await lab.session.ensure_buckets() == []


async def test_f31_a_request_of_deletes_that_fails_whole(lab: Lab) -> None:
    """Every key has the failure as its own, and a key that is none was never sent."""
    lab.plan(refused("DeleteObjects"))
    report = await lab.lake.delete_many(["a", "b", "bad\0key"])
    kinds = [type(outcome.error) for outcome in report.failed]
    assert kinds == [S3AccessDeniedError, S3AccessDeniedError, S3InvalidRequestError]
    assert report.succeeded == []


@pytest.mark.parametrize("data", [b"{half", b"[" * 100_000])
async def test_f05_an_object_that_is_no_json(lab: Lab, data: bytes) -> None:
    """Told as damage, with what to do."""
    lab.store.put(BUCKET, "key", data)
    with pytest.raises(S3IntegrityError, match=r"download_bytes\(\)"):
        await lab.lake.download_json("key")


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (refused("PutObjectTagging"), None),
        (refused("GetObjectTagging"), None),
        (refused("GetObjectTagging", 501, "NotImplemented"), False),
        (refused("GetObjectTagging", 404, "NoSuchKey"), False),
        (refused("GetObjectTagging", 503, "SlowDown"), S3ThrottlingError),
    ],
)
async def test_f10_a_probe_that_is_refused(lab: Lab, fault: Fault, found: Any) -> None:
    """Not supported, not allowed to know, or not answered: three different things; nothing is left."""
    lab.plan(fault)
    if found is S3ThrottlingError:
        with pytest.raises(S3ThrottlingError):
            await lab.session.probe()
    else:
        tags = (await lab.session.probe()).tags
        assert tags is (True if fault.operation == "PutObjectTagging" else found)
    assert lab.store.keys(BUCKET) == []


async def test_f19_a_cancel_while_the_upload_is_opened_and_refused(lab: Lab) -> None:
    """The reply is waited for; it says that nothing was opened, so nothing is aborted."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    lab.faults.hooks.update(arrived=arrived.set, wait=go_on.wait)
    lab.plan(
        Fault("CreateMultipartUpload", 1, "request_head", "hook", hook="arrived"),
        Fault("CreateMultipartUpload", 1, "request_head", "hook", hook="wait"),
        refused("CreateMultipartUpload"),
    )
    upload = asyncio.create_task(lab.lake.upload_stream("key", pieces(), part_size=PART))
    await arrived.wait()
    upload.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([upload])
    assert upload.cancelled()
    assert (lab.count("AbortMultipartUpload"), lab.session.statistics().possible_orphans) == (0, 0)


async def test_f19_a_cancel_before_the_upload_is_opened() -> None:
    """In line for a connection: the request is never sent."""
    async with laboratory(max_pool_connections=1) as lab:
        lab.store.put(BUCKET, "other", LARGE)
        async with lab.lake.open_download("other") as body:
            await anext(body)
            upload = asyncio.create_task(lab.lake.upload_stream("key", pieces(), part_size=PART))
            while not lab.session.statistics().pool_waiting:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0)
            upload.cancel()
            await asyncio.wait([upload])
        assert upload.cancelled()
        assert lab.count("CreateMultipartUpload") == 0


async def test_f29_an_abort_that_is_not_allowed(lab: Lab) -> None:
    """The first failure is raised, with a note; the upload counts as a possible orphan."""
    lab.plan(refused("UploadPart", 400, "InvalidArgument"), refused("AbortMultipartUpload"))
    with pytest.raises(S3InvalidRequestError) as caught:
        await lab.lake.upload_stream("key", pieces(), part_size=PART)
    assert any("clean-up AbortMultipartUpload failed" in note for note in caught.value.__notes__)
    assert lab.session.statistics().possible_orphans == 1
    await aborted(lab)


async def test_f29_an_abort_that_is_never_answered() -> None:
    """It has a deadline of its own; what it could not do is noted."""
    async with laboratory(cleanup_timeout=0.2) as lab:
        lab.plan(refused("UploadPart"), Fault("AbortMultipartUpload", 0, "unforwarded", "stall"))
        with pytest.raises(S3AccessDeniedError) as caught:
            await lab.lake.upload_stream("key", pieces(), part_size=PART)
        assert any("not done within 0.2 s" in note for note in caught.value.__notes__)
        await aborted(lab)


async def test_f29_who_may_not_list_parts_takes_the_stores_word(lab: Lab) -> None:
    """An abort that was acknowledged is done; one that is refused is told."""
    upload = await lab.lake.create_multipart("key")
    lab.plan(refused("AbortMultipartUpload"))
    with pytest.raises(S3AccessDeniedError):
        await lab.lake.abort_multipart(upload)
    lab.plan(refused("ListParts"))
    await lab.lake.abort_multipart(upload)
    assert lab.check.open_uploads() == []


async def test_f13_a_conflict_at_complete_is_final(lab: Lab) -> None:
    """S3 asks for a new upload after this answer: the same Complete is not sent again."""
    lab.plan(refused("CompleteMultipartUpload", 409, "ConditionalRequestConflict"))
    with pytest.raises(S3PreconditionFailedError):
        await upload_large(lab, if_none_match=True)
    assert lab.count("CompleteMultipartUpload") == 1


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown")])
async def test_f12_a_lost_complete_and_parts_that_cannot_be_listed(lab: Lab, status: int, code: str) -> None:
    """Where listing is not allowed Complete is sent again; where it fails the outcome is not known."""
    lab.plan(
        *(Fault("CompleteMultipartUpload", nth, "unforwarded", "reset") for nth in (1, 2, 3)),
        refused("ListParts", status, code),
    )
    if code == "AccessDenied":
        await upload_large(lab)
        return
    with pytest.raises(S3Error) as caught:
        await upload_large(lab)
    assert caught.value.outcome == "unknown"


async def test_f06_a_checksum_that_is_none(lab: Lab) -> None:
    """A part's checksum of another process is looked at before it is sent."""
    upload = await lab.lake.create_multipart("key")
    with pytest.raises(S3InvalidRequestError):
        await lab.lake.complete_multipart(upload, [UploadedPart(1, "etag", 5, "***")])
    await lab.lake.abort_multipart(upload)


async def test_f29_stale_uploads_that_cannot_be_aborted(lab: Lab) -> None:
    """Each is told with its error; a store without a usable Date is judged by this machine's clock."""
    await lab.lake.create_multipart("key")
    lab.plan(
        refused("AbortMultipartUpload"),
        Fault("ListMultipartUploads", 0, "reply_head", "replace", headers={"Date": "some day"}),
    )
    [stale] = await lab.lake.abort_stale_uploads(older_than=timedelta(0))
    assert not stale.aborted
    assert isinstance(stale.error, S3AccessDeniedError)
    await aborted(lab)


async def test_f06_a_wrong_acknowledgement_that_its_own_object_keeps_from_being_corrected(lab: Lab) -> None:
    """Create-only, stored with another checksum: the second try meets the first one's object."""
    wrong = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}
    lab.plan(Fault("PutObject", 1, "reply_head", "replace", headers=wrong))
    with pytest.raises(S3IntegrityError) as caught:
        await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert caught.value.outcome == "unknown"


async def test_f03_an_echo_nobody_may_look_at(lab: Lab) -> None:
    """The lost reply of a conditional put, and HEAD refused: the 412 comes out, with its outcome unknown."""
    lab.plan(lost("PutObject"), refused("HeadObject"))
    with pytest.raises(S3PreconditionFailedError) as caught:
        await lab.lake.upload_bytes("key", SMALL, if_none_match=True)
    assert caught.value.outcome == "unknown"


@pytest.mark.parametrize("header", [{"Date": "some day"}, {}])
async def test_f15_skew_without_a_usable_date(lab: Lab, header: dict[str, str]) -> None:
    """Told without an offset."""
    fault: dict[str, Any] = {"status": 403, "code": "RequestTimeTooSkewed", "headers": header}
    lab.plan(Fault("PutObject", 0, "unforwarded", "replace", **fault))
    with pytest.raises(S3CredentialsError) as caught:
        await lab.lake.upload_bytes("key", SMALL)
    assert "s from this machine's" not in str(caught.value)


async def test_f10_a_retry_after_nobody_can_read(lab: Lab) -> None:
    """Retried as if it were not there."""
    busy: dict[str, Any] = {"status": 503, "code": "SlowDown", "headers": {"Retry-After": "soon"}}
    lab.plan(Fault("PutObject", 1, "unforwarded", "replace", **busy))
    await lab.lake.upload_bytes("key", SMALL)
    assert lab.count("PutObject") == 2


async def test_f29_a_move_whose_delete_is_refused(lab: Lab) -> None:
    """The copy is kept, and a note says so."""
    lab.store.put(BUCKET, "from", SMALL)
    lab.plan(refused("DeleteObject"))
    with pytest.raises(S3AccessDeniedError) as caught:
        await lab.lake.move("from", "to")
    assert any("was made and is kept" in note for note in caught.value.__notes__)
    assert lab.store.keys(BUCKET) == ["from", "to"]


async def test_f03_a_move_whose_source_is_gone_by_then(lab: Lab) -> None:
    """Deleted by somebody else in between: that is what was wanted."""
    lab.store.put(BUCKET, "from", SMALL)
    lab.faults.hooks["delete"] = lambda: lab.store.delete(BUCKET, "from")
    lab.plan(Fault("HeadObject", 2, "unforwarded", "hook", hook="delete"))
    await lab.lake.move("from", "to")
    assert lab.store.keys(BUCKET) == ["to"]


@pytest.mark.parametrize("done", [True, False])
async def test_f03_a_move_whose_delete_is_answered_late(lab: Lab, done: bool) -> None:
    """A condition that fails after a lost reply has failed on our own delete, if the source is gone."""
    lab.store.put(BUCKET, "from", SMALL)
    first = lost("DeleteObject") if done else Fault("DeleteObject", 1, "unforwarded", "reset")
    lab.plan(first, refused("DeleteObject", 412, "PreconditionFailed", nth=2))
    if done:
        await lab.lake.move("from", "to")
        assert lab.store.keys(BUCKET) == ["to"]
        return
    with pytest.raises(S3ObjectChangedError):
        await lab.lake.move("from", "to")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refused("CopyObject", 404, "NoSuchKey"), S3ObjectChangedError),
        (refused("CopyObject", 404, "NoSuchBucket"), S3NotFoundError),
        (refused("CopyObject", 412, "PreconditionFailed"), S3ObjectChangedError),
        (refused("CopyObject"), S3AccessDeniedError),
        (refused("HeadObject", 404), S3NotFoundError),
    ],
)
async def test_f26_a_copy_that_is_refused(lab: Lab, fault: Fault, error: type[S3Error]) -> None:
    """A source that is gone or another one is told as that; other refusals as what they are."""
    lab.store.put(BUCKET, "from", SMALL)
    lab.plan(fault)
    with pytest.raises(error):
        await lab.lake.copy("from", "to")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refused("UploadPartCopy", 501, "NotImplemented", nth=1), None),
        (refused("UploadPartCopy", 400, "EntityTooSmall"), S3InvalidRequestError),
        (refused("UploadPartCopy", 404, "NoSuchUpload"), S3NotFoundError),
        (refused("CompleteMultipartUpload", 412, "PreconditionFailed"), S3PreconditionFailedError),
    ],
)
async def test_f29_a_copy_in_parts_that_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[S3Error] | None
) -> None:
    """Aborted, or made again without checksums where the store computes none of copied parts."""
    monkeypatch.setattr(_copy, "SINGLE_COPY_BYTES", MIB)
    monkeypatch.setattr(_copy, "COPY_PART_BYTES", PART)
    lab.store.put(BUCKET, "from", LARGE)
    lab.plan(fault)
    if error is None:
        await lab.lake.copy("from", "to")
        assert lab.check.content("to") == LARGE
        return
    with pytest.raises(error):
        await lab.lake.copy("from", "to")
    assert lab.check.content("to") is None


async def test_f32_a_range_behind_the_end_of_an_object_nobody_may_look_at(lab: Lab) -> None:
    """The refusal says what is known."""
    lab.store.put(BUCKET, "key", SMALL)
    lab.plan(refused("HeadObject"))
    with pytest.raises(S3InvalidRequestError, match="the object ends before it"):
        await lab.lake.download_bytes("key", range=(1000, 2000))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(416, "InvalidRange", S3ObjectChangedError), (400, "InvalidArgument", S3InvalidRequestError)],
)
async def test_f26_a_resume_that_is_refused(lab: Lab, status: int, code: str, error: type[S3Error]) -> None:
    """An object that ends before the resumed byte is another object."""
    lab.store.put(BUCKET, "key", LARGE)
    lab.plan(
        *(Fault("GetObject", nth, "reply_body", "close", at=MIB) for nth in (1, 3)),
        *(refused("GetObject", status, code, nth=nth) for nth in (2, 4)),
    )
    with pytest.raises(error):
        await lab.lake.download_bytes("key")


async def test_f26_an_old_version_nobody_may_read() -> None:
    """Overwritten while it is read, in a bucket with versions, by who may only read the current one."""
    store = MemoryS3()
    store.create_bucket(BUCKET, versioning=True)
    async with laboratory(store=store) as lab:
        lab.store.put(BUCKET, "key", LARGE)
        versions = iter((LARGE[1:], LARGE[2:]))
        lab.faults.hooks["overwrite"] = lambda: lab.store.put(BUCKET, "key", next(versions))
        lab.plan(
            *(Fault("GetObject", nth, "reply_body", "close", at=MIB) for nth in (1, 4)),
            *(Fault("GetObject", nth, "unforwarded", "hook", hook="overwrite") for nth in (2, 5)),
            *(refused("GetObject", nth=nth) for nth in (3, 6)),
        )
        with pytest.raises(S3ObjectChangedError):
            await lab.lake.download_bytes("key")


@pytest.mark.parametrize(
    ("faults", "verified"),
    [
        ([refused("GetObjectAttributes")], True),
        ([refused("GetObjectAttributes"), refused("HeadObject")], False),
        ([refused("GetObjectAttributes", 503, "SlowDown")], None),
        ([refused("GetObjectAttributes"), refused("HeadObject", 503, "SlowDown")], None),
    ],
)
async def test_f05_a_checksum_of_parts_nobody_lists(faults: list[Fault], verified: bool | None) -> None:
    """Asked part by part; where that is refused the bytes are not verified; a busy store is an error."""
    async with laboratory(checksum="SHA256") as lab:
        await upload_large(lab)
        lab.plan(*faults)
        if verified is None:
            with pytest.raises(S3ThrottlingError):
                async with lab.lake.open_download("key"):
                    pass
            return
        async with lab.lake.open_download("key") as body:
            assert b"".join([piece async for piece in body]) == LARGE
            assert body.info.verified is verified
