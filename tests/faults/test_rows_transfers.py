"""Rows of the fault matrix about bodies, sources, batches and listings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    S3ConnectionError,
    S3Error,
    S3IntegrityError,
    S3LocalFileError,
    S3ObjectChangedError,
    S3SessionClosedError,
    S3SourceChangedError,
    S3TimeoutError,
    UploadItem,
)
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

pytestmark = pytest.mark.asyncio

LARGE = os.urandom(11 * MIB + 5)
SMALL = LARGE[:1000]
BREAKS = [0, 1, 999, PART - 1, PART, len(LARGE) - 1]


async def pieces(data: bytes = LARGE) -> AsyncIterator[bytes]:
    """*data* as a producer gives it."""
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


@pytest.mark.parametrize("at", BREAKS)
@pytest.mark.parametrize("action", ["reset", "close"])
async def test_f04_a_truncated_reply(lab: Lab, tmp_path: Path, at: int, action: Any) -> None:
    """Whole data, by asking for the rest only, pinned to what was begun."""
    lab.store.put(BUCKET, "key", LARGE)
    for read in ("bytes", "file"):
        lab.plan(Fault("GetObject", 1, "reply_body", action, at=at))
        lab.faults.requests.clear()
        if read == "bytes":
            assert await lab.lake.download_bytes("key") == LARGE
        else:
            await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
            assert (tmp_path / "file").read_bytes() == LARGE
        later = [request for request in lab.faults.requests[1:] if request.operation == "GetObject"]
        assert later
        assert all("if-match" in request.headers for request in later if "range" in request.headers)


async def test_f04_replies_that_never_end(lab: Lab, tmp_path: Path) -> None:
    """Tries without progress are limited: a typed error, and no half file."""
    lab.store.put(BUCKET, "key", LARGE)
    lab.plan(Fault("GetObject", 0, "reply_body", "reset", at=0))
    with pytest.raises(S3ConnectionError):
        await lab.lake.download_file("key", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [0, 500, -1])
async def test_f05_a_byte_flipped_in_a_download(lab: Lab, tmp_path: Path, at: int) -> None:
    """Found, fetched once more, right."""
    lab.store.put(BUCKET, "key", LARGE)
    lab.plan(Fault("GetObject", 1, "reply_body", "flip", at=at))
    assert await lab.lake.download_bytes("key") == LARGE
    lab.plan(Fault("GetObject", 2, "reply_body", "flip", at=at))
    await lab.lake.download_file("key", tmp_path / "file", part_size=PART)
    assert (tmp_path / "file").read_bytes() == LARGE


async def test_f05_flips_that_stay(lab: Lab, tmp_path: Path) -> None:
    """`S3IntegrityError`, and the old file is untouched."""
    lab.store.put(BUCKET, "key", LARGE)
    (tmp_path / "file").write_bytes(b"old")
    lab.plan(Fault("GetObject", 0, "reply_body", "flip", at=7))
    with pytest.raises(S3IntegrityError):
        await lab.lake.download_file("key", tmp_path / "file")
    with pytest.raises(S3IntegrityError):
        await lab.lake.download_bytes("key")
    async with lab.lake.open_download("key") as body:
        with pytest.raises(S3IntegrityError):
            async for _ in body:
                pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("action", ["drip", "stall"])
async def test_f08_a_dripping_or_silent_body(door: Any, action: Any) -> None:
    """Below 1 KiB a second the reply is given up and resumed; when it stays so, the call ends."""
    async with laboratory(door, stall_timeout=0.3) as lab:
        lab.store.put(BUCKET, "key", LARGE)
        lab.plan(Fault("GetObject", 1, "reply_body", action, at=MIB, seconds=0.05))
        assert await lab.lake.download_bytes("key") == LARGE
        lab.plan(Fault("GetObject", 0, "reply_body", action, at=0, seconds=0.05))
        with pytest.raises(S3TimeoutError):
            await lab.lake.download_bytes("key")


async def test_f09_a_reader_that_leaves(lab: Lab) -> None:
    """Leaving half-way gives the slot back at once, by a break, an error or a cancel."""
    lab.store.put(BUCKET, "key", LARGE)
    begun = asyncio.Event()

    async def read(*, fails: bool, stays: bool) -> None:
        async with lab.lake.open_download("key") as body:
            await anext(body)
            begun.set()
            if fails:
                raise KeyError
            if stays:
                await asyncio.Event().wait()

    await read(fails=False, stays=False)
    lab.assert_at_rest()
    with pytest.raises(KeyError):
        await read(fails=True, stays=False)
    lab.assert_at_rest()
    begun.clear()
    reader = asyncio.create_task(read(fails=False, stays=True))
    await begun.wait()
    assert lab.session.statistics().in_flight == 1
    reader.cancel()
    await asyncio.wait([reader])
    lab.assert_at_rest()


@pytest.mark.parametrize("failing", range(4))
async def test_f20_one_item_of_a_batch_fails(lab: Lab, failing: int) -> None:
    """One result per item in order, the failed one typed; with fail_fast that error, bare."""
    keys = [f"key-{index}" for index in range(4)]
    lab.plan(Fault("PutObject", failing + 1, "unforwarded", "replace", status=403, code="AccessDenied"))
    items = [UploadItem(key, SMALL) for key in keys]
    report = await lab.lake.upload_many(items, concurrency=1)
    assert [outcome.key for outcome in report.failed] == [keys[failing]]
    assert [outcome.key for outcome in report.succeeded] == keys[:failing] + keys[failing + 1 :]
    lab.plan(Fault("PutObject", failing + 1, "unforwarded", "replace", status=403, code="AccessDenied"))
    with pytest.raises(S3Error, match="AccessDenied"):
        await lab.lake.upload_many(items, concurrency=2, fail_fast=True)


@pytest.mark.parametrize("change", ["append", "truncate", "replace"])
async def test_f25_the_source_changes(lab: Lab, tmp_path: Path, change: str) -> None:
    """Told apart from success at whatever part it happens, and nothing is stored."""
    path = tmp_path / "source"
    path.write_bytes(LARGE)

    def meddle() -> None:
        if change == "append":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "truncate":
            os.truncate(path, 6 * MIB)
        else:
            (tmp_path / "other").write_bytes(LARGE[::-1])
            (tmp_path / "other").replace(path)

    lab.faults.hooks["meddle"] = lambda: asyncio.to_thread(meddle)
    lab.plan(Fault("UploadPart", 1, "unforwarded", "hook", hook="meddle"))
    with pytest.raises(S3SourceChangedError):
        await lab.lake.upload_file("key", path, part_size=PART, concurrency=1)
    assert lab.check.content("key") is None


@pytest.mark.parametrize("times", ["once", "always"])
async def test_f26_the_object_is_overwritten(lab: Lab, tmp_path: Path, times: str) -> None:
    """The bytes of one version only: the new one whole, or `S3ObjectChangedError` when it never rests."""
    versions = [LARGE]
    lab.store.put(BUCKET, "key", versions[0])

    def overwrite() -> None:
        versions.append(os.urandom(len(LARGE)))
        lab.store.put(BUCKET, "key", versions[-1])

    lab.faults.hooks["overwrite"] = overwrite
    nth = 2 if times == "once" else 0
    lab.plan(Fault("GetObject", nth, "unforwarded", "hook", hook="overwrite"))
    path = tmp_path / "file"
    if times == "once":
        await lab.lake.download_file("key", path, part_size=PART, concurrency=2)
        assert len(versions) == 2
        assert path.read_bytes() == versions[-1]
    else:
        with pytest.raises(S3ObjectChangedError):
            await lab.lake.download_file("key", path, part_size=PART, concurrency=2)
        assert not path.exists()


@pytest.mark.parametrize("after", [0, 1, 7, 11])
async def test_f27_the_producer_raises(lab: Lab, after: int) -> None:
    """The same exception comes out, the generator is closed, nothing is left or stored."""
    closed = []

    async def produce() -> AsyncIterator[bytes]:
        try:
            for index in range(after):
                yield LARGE[index * MIB : (index + 1) * MIB]
            raise LookupError("mine")
        finally:
            closed.append(after)

    with pytest.raises(LookupError, match="mine"):
        await lab.lake.upload_stream("key", produce(), part_size=PART)
    assert closed == [after]
    assert lab.check.content("key") is None


async def test_f28_the_producer_blocks(lab: Lab) -> None:
    """A part that fails is told at once although the producer never gives another byte."""

    async def produce() -> AsyncIterator[bytes]:
        yield LARGE[: PART + 1]
        await asyncio.Event().wait()

    lab.plan(Fault("UploadPart", 0, "unforwarded", "replace", status=403, code="AccessDenied"))
    async with asyncio.timeout(20):
        with pytest.raises(S3Error, match="AccessDenied"):
            await lab.lake.upload_stream("key", produce(), part_size=PART)


@pytest.mark.parametrize("status", [500, 503])
async def test_f29_the_abort_fails(lab: Lab, status: int) -> None:
    """It is tried again; the first failure is the one that is raised."""
    lab.plan(
        Fault("UploadPart", 0, "unforwarded", "replace", status=403, code="AccessDenied"),
        Fault("AbortMultipartUpload", 1, "unforwarded", "replace", status=status),
        Fault("AbortMultipartUpload", 2, "withheld", "reset"),
    )
    with pytest.raises(S3Error, match="AccessDenied"):
        await lab.lake.upload_stream("key", pieces(), part_size=PART)
    lab.assert_at_rest()


async def test_f30_a_page_fails(lab: Lab) -> None:
    """The listing goes on where it was; no key twice, none left out."""
    keys = [f"{index:03}" for index in range(25)]
    for key in keys:
        lab.store.put(BUCKET, key, b"")
    lab.plan(
        Fault("ListObjectsV2", 2, "withheld", "reset"),
        Fault("ListObjectsV2", 4, "reply_body", "close", at=300),
    )
    assert [found.key async for found in lab.lake.list_objects(page_size=10)] == keys


async def test_f30_a_token_that_repeats(lab: Lab) -> None:
    """A store that never gets on ends in an error, not in an endless listing."""
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>same"
        "</NextContinuationToken><Contents><Key>a</Key><Size>1</Size><ETag>e</ETag></Contents></ListBucketResult>"
    )
    lab.plan(Fault("ListObjectsV2", 0, "unforwarded", "replace", status=200, body=page))
    with pytest.raises(S3Error, match="never end"):
        _ = [found async for found in lab.lake.list_objects()]
    assert lab.count("ListObjectsV2") <= 3


async def test_f31_deletes_that_fail_inside_a_200(lab: Lab) -> None:
    """Each key has its own result, and only the retryable ones are sent again."""
    for key in ("a", "b", "c"):
        lab.store.put(BUCKET, key, b"")
    answer = (
        "<DeleteResult><Deleted><Key>a</Key></Deleted>"
        "<Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        "<Error><Key>c</Key><Code>InternalError</Code><Message>later</Message></Error></DeleteResult>"
    )
    lab.plan(Fault("DeleteObjects", 1, "unforwarded", "replace", status=200, body=answer))
    report = await lab.lake.delete_many(["a", "b", "c"])
    assert [outcome.key for outcome in report.failed] == ["b"]
    assert [outcome.key for outcome in report.succeeded] == ["a", "c"]
    assert lab.store.keys(BUCKET) == ["a", "b"]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1])
async def test_f32_odd_sizes(lab: Lab, tmp_path: Path, size: int) -> None:
    """Exactly the bytes, up and down, by every way."""
    data = LARGE[:size]
    (tmp_path / "source").write_bytes(data)
    await lab.lake.upload_bytes("bytes", data)
    await lab.lake.upload_file("file", tmp_path / "source", part_size=PART)
    await lab.lake.upload_stream("stream", pieces(data), part_size=PART)
    for key in ("bytes", "file", "stream"):
        assert lab.check.content(key) == data
        assert await lab.lake.download_bytes(key) == data
        await lab.lake.download_file(key, tmp_path / key, part_size=PART)
        assert (tmp_path / key).read_bytes() == data


async def test_f33_used_after_close() -> None:
    """At once and typed; a batch, a listing and a download as well as a call."""
    async with laboratory(store=MemoryS3()) as lab:
        lake = lab.lake
        await lab.session.aclose()
        sent = len(lab.faults.requests)
        with pytest.raises(S3SessionClosedError):
            await lake.upload_bytes("key", SMALL)
        with pytest.raises(S3SessionClosedError):
            _ = [found async for found in lake.list_objects()]
        with pytest.raises(S3SessionClosedError):
            async with lake.open_download("key"):
                pass
        assert len(lab.faults.requests) == sent


async def test_f34_a_hook_that_raises_or_blocks(lab: Lab) -> None:
    """The transfer is unharmed."""
    calls = 0

    async def hook(_: object) -> None:
        nonlocal calls
        calls += 1
        raise LookupError

    await lab.lake.upload_stream("key", pieces(), part_size=PART, on_progress=hook)
    assert lab.check.content("key") == LARGE
    assert calls >= 1


async def test_f22_f23_a_path_that_cannot_be_written(lab: Lab, tmp_path: Path) -> None:
    """A typed error with errno, no retry of the network, no slot or file left."""
    lab.store.put(BUCKET, "key", LARGE)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(S3LocalFileError) as caught:
        await lab.lake.download_file("key", tmp_path / "file" / "below")
    assert caught.value.errno is not None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
