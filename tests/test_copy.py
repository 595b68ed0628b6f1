"""Copy and move in one request: what is kept, what is refused, what a race leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from greenlang_async_storage import (
    Bucket,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    StorageSession,
)
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

pytestmark = pytest.mark.asyncio

Before = Callable[[], Awaitable[object]]


def interrupt(
    monkeypatch: pytest.MonkeyPatch, session: StorageSession, method: str, before: Before
) -> list[dict[str, Any]]:
    """Do *before* ahead of the first request of *method*; gives the arguments of them all."""
    client: Any = session.client
    original = getattr(client, method)
    calls: list[dict[str, Any]] = []

    async def wrapped(**kwargs: Any) -> Any:
        calls.append(kwargs)
        if len(calls) == 1:
            await before()
        return await original(**kwargs)

    monkeypatch.setattr(client, method, wrapped)
    return calls


async def nothing() -> None:
    """No interruption."""


async def test_copy_keeps_everything(lake: Bucket, observer: Any) -> None:
    """Metadata, content headers, tags, encryption and bytes of the copy are the source's."""
    observer.put_object(
        Bucket=lake.name,
        Key="a",
        Body=b"bytes",
        ContentType="text/x-odd",
        ContentDisposition="inline",
        ContentLanguage="de",
        CacheControl="no-cache",
        Metadata={"tenant-id": "t1"},
        Tagging="colour=green",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="greenlang-s3-key",
    )
    result = await lake.copy("a", "b")
    copied = observer.head_object(Bucket=lake.name, Key="b")
    assert (copied["ContentType"], copied["ContentDisposition"]) == ("text/x-odd", "inline")
    assert (copied["ContentLanguage"], copied["CacheControl"]) == ("de", "no-cache")
    assert copied["Metadata"] == {"tenant-id": "t1"}
    assert copied["ServerSideEncryption"] == "aws:kms"
    assert "greenlang-s3-key" in copied["SSEKMSKeyId"]
    assert observer.get_object(Bucket=lake.name, Key="b")["Body"].read() == b"bytes"
    assert await lake.get_tags("b") == {"colour": "green"}
    assert (result.key, result.size, result.etag) == ("b", 5, copied["ETag"].strip('"'))
    assert await lake.exists("a")


async def test_copy_of_an_unencrypted_object_is_encrypted(lake: Bucket, observer: Any) -> None:
    """A source in the clear gets the configured encryption, not less than any other write."""
    observer.put_object(Bucket=lake.name, Key="a", Body=b"x")
    assert "ServerSideEncryption" not in observer.head_object(Bucket=lake.name, Key="a")
    await lake.copy("a", "b")
    assert (await lake.head("b")).encryption == "aws:kms"


async def test_copy_keeps_another_encryption(lake: Bucket) -> None:
    """A source under AES256 stays so, whatever is configured."""
    await lake.upload_bytes("a", b"x", encryption="AES256")
    await lake.copy("a", "b")
    assert (await lake.head("b")).encryption == "AES256"


async def test_copy_gets_a_checksum(
    lake: Bucket, observer: Any, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source without a checksum gets the configured one as a copy; one that has one keeps its own."""
    calls = interrupt(monkeypatch, session, "copy_object", nothing)
    observer.put_object(Bucket=lake.name, Key="a", Body=b"x")
    await lake.copy("a", "b")
    observer.put_object(Bucket=lake.name, Key="a", Body=b"x", ChecksumAlgorithm="CRC32")
    await lake.copy("a", "c")
    assert [call.get("ChecksumAlgorithm") for call in calls] == ["CRC64NVME", None]
    checksum = (await lake.head("b")).checksum
    assert checksum is not None
    assert (checksum.algorithm, checksum.type) == ("CRC64NVME", "FULL_OBJECT")


async def test_copy_from_another_bucket(lake: Bucket, session: StorageSession, observer: Any) -> None:
    """`source_bucket` names where the source lies; the copy is made in the bucket that was asked."""
    other = f"{lake.name}-b"
    observer.create_bucket(Bucket=other)
    try:
        await session.bucket(other).upload_bytes("ü b+c%.txt", b"x")
        await lake.copy("ü b+c%.txt", "copy", source_bucket=other)
        assert await lake.download_bytes("copy") == b"x"
    finally:
        servers.empty_and_remove(observer, other)


async def test_copy_brings_an_old_version_back(lake: Bucket, observer: Any) -> None:
    """An old version may be copied, also onto its own key, where it becomes the current one."""
    observer.put_bucket_versioning(Bucket=lake.name, VersioningConfiguration={"Status": "Enabled"})
    old = await lake.upload_bytes("k", b"old")
    await lake.upload_bytes("k", b"newer")
    await lake.copy("k", "elsewhere", version_id=old.version_id)
    assert await lake.download_bytes("elsewhere") == b"old"
    back = await lake.copy("k", "k", version_id=old.version_id)
    assert await lake.download_bytes("k") == b"old"
    assert back.version_id not in (None, old.version_id)


async def test_copy_onto_itself_is_refused(lake: Bucket, session: StorageSession) -> None:
    """The current version onto itself is refused before anything is sent, with what to do."""
    await lake.upload_bytes("k", b"x")
    before = session.statistics().requests
    with pytest.raises(S3InvalidRequestError, match="version_id="):
        await lake.copy("k", "k")
    with pytest.raises(S3InvalidRequestError, match="version_id="):
        await lake.copy("k", "k", source_bucket=lake.name)
    with pytest.raises(S3InvalidRequestError, match="nothing was changed"):
        await lake.move("k", "k")
    assert session.statistics().requests == before
    assert await lake.exists("k")


async def test_missing_source_is_named(lake: Bucket) -> None:
    """A missing source is `S3NotFoundError` with the source's key, and nothing is written."""
    for call in (lake.copy("no/such", "b"), lake.move("no/such", "b")):
        with pytest.raises(S3NotFoundError) as caught:
            await call
        assert caught.value.key == "no/such"
    assert not await lake.exists("b")


async def test_replaced_source_is_not_copied(
    lake: Bucket, session: StorageSession, server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source replaced between HEAD and copy gives `S3ObjectChangedError`, and no copy."""
    if server.name == "moto":
        pytest.skip("moto ignores x-amz-copy-source-if-match: proved on the other server")
    await lake.upload_bytes("a", b"first")
    interrupt(monkeypatch, session, "copy_object", lambda: lake.upload_bytes("a", b"second"))
    with pytest.raises(S3ObjectChangedError) as caught:
        await lake.copy("a", "b")
    assert (caught.value.key, caught.value.operation) == ("a", "CopyObject")
    assert not await lake.exists("b")


async def test_every_copy_is_pinned(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ETag HeadObject gave is the condition of the copy and of a move's delete."""
    etag = (await lake.upload_bytes("a", b"x")).etag
    copies = interrupt(monkeypatch, session, "copy_object", nothing)
    deletes = interrupt(monkeypatch, session, "delete_object", nothing)
    await lake.move("a", "b")
    assert [call["CopySourceIfMatch"] for call in copies] == [f'"{etag}"']
    assert [call["IfMatch"] for call in deletes] == [f'"{etag}"']


async def test_source_deleted_meanwhile(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source deleted between HEAD and copy counts as changed, not as never there."""
    await lake.upload_bytes("a", b"first")
    interrupt(monkeypatch, session, "copy_object", lambda: lake.delete("a"))
    with pytest.raises(S3ObjectChangedError):
        await lake.copy("a", "b")


async def test_move(lake: Bucket) -> None:
    """After a move the bytes, metadata and tags are under the new key only."""
    await lake.upload_bytes("a", b"x", metadata={"m": "1"}, tags={"t": "2"})
    result = await lake.move("a", "b")
    assert (result.key, result.size) == ("b", 1)
    assert not await lake.exists("a")
    info = await lake.head("b")
    assert info.metadata["m"] == "1"
    assert await lake.get_tags("b") == {"t": "2"}


async def test_move_never_deletes_what_it_did_not_copy(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source replaced after it was copied is kept; the error says so, and that the copy exists."""
    await lake.upload_bytes("a", b"first")
    original: Any = session.client.copy_object

    async def then_replace(**kwargs: Any) -> Any:
        reply = await original(**kwargs)
        await lake.upload_bytes("a", b"second")
        return reply

    monkeypatch.setattr(session.client, "copy_object", then_replace)
    with pytest.raises(S3ObjectChangedError) as caught:
        await lake.move("a", "b")
    assert any("is kept" in note for note in caught.value.__notes__)
    assert await lake.download_bytes("a") == b"second"
    assert await lake.download_bytes("b") == b"first"


async def test_move_when_the_source_is_gone_already(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's delete of the source after the copy is no failure."""
    await lake.upload_bytes("a", b"x")
    original: Any = session.client.copy_object

    async def then_delete(**kwargs: Any) -> Any:
        reply = await original(**kwargs)
        await lake.delete("a")
        return reply

    monkeypatch.setattr(session.client, "copy_object", then_delete)
    await lake.move("a", "b")
    assert await lake.download_bytes("b") == b"x"


async def test_move_keeps_the_source_when_the_copy_fails(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No delete is sent unless the copy was acknowledged."""
    await lake.upload_bytes("a", b"x")
    deletes = interrupt(monkeypatch, session, "delete_object", nothing)

    async def refuse() -> None:
        raise ConnectionResetError

    async def always(**_kwargs: Any) -> None:
        await refuse()

    monkeypatch.setattr(session.client, "copy_object", always)
    with pytest.raises(S3Error):
        await lake.move("a", "b")
    assert deletes == []
    assert await lake.exists("a")


async def test_lost_reply_of_a_copy_is_asked_again(
    lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy whose reply was lost is sent again and gives one and the same object."""
    await lake.upload_bytes("a", b"x")
    original: Any = session.client.copy_object
    seen = []

    async def lose_first(**kwargs: Any) -> Any:
        reply = await original(**kwargs)
        seen.append(reply)
        if len(seen) == 1:
            raise ConnectionResetError
        return reply

    monkeypatch.setattr(session.client, "copy_object", lose_first)
    await lake.copy("a", "b")
    assert len(seen) == 2
    assert await lake.download_bytes("b") == b"x"


@pytest.mark.parametrize("applied", [True, False])
async def test_lost_reply_of_a_moves_delete_is_settled(
    applied: bool, lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conditional delete that is refused after its reply was lost: the source tells whether it was done."""
    await lake.upload_bytes("a", b"x")
    original: Any = session.client.delete_object
    sent = []

    async def lose_first(**kwargs: Any) -> None:
        sent.append(kwargs)
        if len(sent) == 1:
            if applied:
                await original(**kwargs)
            raise ConnectionResetError
        error = {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"HTTPStatusCode": 412}}
        raise ClientError(error, "DeleteObject")

    monkeypatch.setattr(session.client, "delete_object", lose_first)
    if applied:
        await lake.move("a", "b")
    else:
        with pytest.raises(S3ObjectChangedError):
            await lake.move("a", "b")
    assert len(sent) == 2
    assert await lake.exists("a") is not applied
    assert await lake.exists("b")


@pytest.mark.parametrize("verb", ["copy", "move"])
async def test_cancelled_half_way(
    verb: str, lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled copy or move gives its slot back and never deletes the source."""
    await lake.upload_bytes("a", b"x")
    sent = asyncio.Event()

    async def never(**_kwargs: object) -> None:
        sent.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(session.client, "copy_object", never)
    task = asyncio.ensure_future(getattr(lake, verb)("a", "b"))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.statistics().in_flight == 0
    assert await lake.exists("a")


async def test_twice_at_once(lake: Bucket) -> None:
    """Two copies at once leave that copy; of two moves at least one succeeds and nothing is lost."""
    await lake.upload_bytes("a", b"x")
    await asyncio.gather(lake.copy("a", "b"), lake.copy("a", "b"))
    assert await lake.download_bytes("b") == b"x"
    outcomes = await asyncio.gather(lake.move("a", "c"), lake.move("a", "c"), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(failures) < 2
    assert all(isinstance(failure, S3NotFoundError | S3ObjectChangedError) for failure in failures)
    assert await lake.download_bytes("c") == b"x"
    assert not await lake.exists("a")


async def test_scoped_copies_stay_in_their_prefix(lake: Bucket) -> None:
    """In a scoped view source, destination and result are relative to the prefix."""
    one = lake.scoped("t1")
    await one.upload_bytes("a", b"x")
    await lake.upload_bytes("t10/a", b"other")
    result = await one.copy("a", "b")
    assert result.key == "b"
    assert [info.key async for info in lake.list_objects("t1/")] == ["t1/a", "t1/b"]
    with pytest.raises(ValueError, match=r"\.\."):
        await one.copy("../t10/a", "b")
