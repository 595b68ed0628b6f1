"""Head, exists, delete and tags, on moto and MinIO."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from greenlang_async_storage import (
    Bucket,
    S3AccessDeniedError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

pytestmark = pytest.mark.asyncio

Verb = Callable[[Bucket, str], Awaitable[Any]]
# The client's method, and the call of ours that uses it.
VERBS: dict[str, tuple[str, Verb]] = {
    "head": ("head_object", lambda lake, key: lake.head(key)),
    "exists": ("head_object", lambda lake, key: lake.exists(key)),
    "delete": ("delete_object", lambda lake, key: lake.delete(key)),
    "get_tags": ("get_object_tagging", lambda lake, key: lake.get_tags(key)),
    "set_tags": ("put_object_tagging", lambda lake, key: lake.set_tags(key, {"a": "b"})),
}


async def test_head_tells_what_was_written(lake: Bucket, observer: Any) -> None:
    """Size, type, metadata, headers, encryption and time come back as they were written."""
    observer.put_object(
        Bucket=lake.name,
        Key="reports/a.pdf",
        Body=b"12345",
        ContentType="application/pdf",
        ContentDisposition='attachment; filename="a.pdf"',
        CacheControl="max-age=60",
        ContentEncoding="identity",
        Metadata={"tenant-id": "t1", "note": "a  b"},
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="greenlang-s3-key",
    )
    info = await lake.head("reports/a.pdf")
    assert (info.key, info.size, info.content_type) == ("reports/a.pdf", 5, "application/pdf")
    assert info.metadata == {"tenant-id": "t1", "note": "a  b"}
    assert info.content_disposition == 'attachment; filename="a.pdf"'
    assert (info.cache_control, info.content_encoding) == ("max-age=60", "identity")
    assert info.encryption == "aws:kms"
    assert info.etag
    assert '"' not in info.etag
    assert info.last_modified is not None
    assert str(info.last_modified.tzinfo) == "UTC"
    assert info.verified is False


async def test_head_and_get_of_a_missing_key_raise_the_same(lake: Bucket) -> None:
    """A missing key is `S3NotFoundError` from both, with every field filled and a remedy."""
    errors = []
    for call in (lake.head("no/such"), lake.download_bytes("no/such")):
        with pytest.raises(S3NotFoundError) as caught:
            await call
        errors.append(caught.value)
    assert [error.operation for error in errors] == ["HeadObject", "GetObject"]
    for error in errors:
        assert (error.bucket, error.key, error.status) == (lake.name, "no/such", 404)
        assert (error.attempts, error.retryable, error.outcome) == (1, False, "not_applied")
        assert "Check the bucket and key" in str(error)


async def test_head_conditions(lake: Bucket) -> None:
    """`if_match` and `if_none_match` compare the ETag, quoted or not."""
    await lake.upload_bytes("k", b"x")
    etag = (await lake.head("k")).etag
    assert (await lake.head("k", if_match=etag)).etag == etag
    assert (await lake.head("k", if_match=f'"{etag}"')).etag == etag
    assert (await lake.head("k", if_none_match="another")).etag == etag
    with pytest.raises(S3PreconditionFailedError):
        await lake.head("k", if_match="another")
    with pytest.raises(S3PreconditionFailedError):
        await lake.head("k", if_none_match=etag)
    with pytest.raises(S3InvalidRequestError, match="is not an ETag"):
        await lake.head("k", if_match="a b")


async def test_versions_are_pinned_and_deleted_one_by_one(lake: Bucket, observer: Any) -> None:
    """`version_id` reads and removes exactly that version; a plain delete only hides the object."""
    observer.put_bucket_versioning(Bucket=lake.name, VersioningConfiguration={"Status": "Enabled"})
    first = await lake.upload_bytes("k", b"1")
    second = await lake.upload_bytes("k", b"22")
    assert first.version_id != second.version_id
    assert (await lake.head("k", version_id=first.version_id)).size == 1
    assert (await lake.head("k")).size == 2
    await lake.delete("k")
    assert not await lake.exists("k")
    assert (await lake.head("k", version_id=second.version_id)).size == 2
    await lake.delete("k", version_id=second.version_id)
    with pytest.raises(S3NotFoundError):
        await lake.head("k", version_id=second.version_id)
    assert (await lake.head("k", version_id=first.version_id)).size == 1


async def test_exists(lake: Bucket) -> None:
    """Only a missing object is a no; a prefix of one is not an object."""
    await lake.upload_bytes("folder/k", b"")
    assert await lake.exists("folder/k") is True
    assert await lake.exists("folder") is False
    assert await lake.exists("folder/k2") is False


async def test_refused_is_not_missing(settings: StorageSettings, server: StorageServer) -> None:
    """`exists` raises when the store refuses the credentials: no object is reported missing for it."""
    servers.require(server, "signatures")
    wrong = settings.model_copy(update={"secret_access_key": SecretStr("wrong" * 8)})
    async with StorageSession(wrong) as session:
        with pytest.raises(S3AccessDeniedError) as caught:
            await session.data_lake.exists("k")
    assert caught.value.status == 403


async def test_delete_is_idempotent(lake: Bucket) -> None:
    """Deleting removes the object; deleting again, or what never was, is no error."""
    await lake.upload_bytes("k", b"x")
    await lake.delete("k")
    assert not await lake.exists("k")
    await lake.delete("k")
    await lake.delete("never/was")


async def test_missing_bucket(session: StorageSession) -> None:
    """A delete and a tag request in a bucket that is not there say so, and what to do."""
    nowhere = session.bucket("no-such-bucket-anywhere")
    for call in (nowhere.delete("k"), nowhere.get_tags("k")):
        with pytest.raises(S3NotFoundError) as caught:
            await call
        assert (caught.value.code, caught.value.bucket) == ("NoSuchBucket", nowhere.name)
        assert "ensure_buckets" in str(caught.value)


async def test_tags_are_replaced_whole(lake: Bucket) -> None:
    """`set_tags` stores exactly these tags, with every sign S3 allows; `{}` removes them."""
    await lake.upload_bytes("k", b"x", tags={"greenlang:tenant-id": "t 1", "sum": "a+b=c"})
    assert await lake.get_tags("k") == {"greenlang:tenant-id": "t 1", "sum": "a+b=c"}
    tags = {"signs": "+ - = . _ : / @", "empty": ""}
    await lake.set_tags("k", tags)
    assert await lake.get_tags("k") == tags
    await lake.set_tags("k", {})
    assert await lake.get_tags("k") == {}


async def test_tags_of_any_script_where_the_store_takes_them(lake: Bucket, server: StorageServer) -> None:
    """Letters of any script are legal in S3's tags; MinIO refuses them, and the refusal is typed."""
    await lake.upload_bytes("k", b"x")
    tags = {"größe": "日本"}
    if server.name == "minio":
        with pytest.raises(S3InvalidRequestError):
            await lake.set_tags("k", tags)
        return
    await lake.set_tags("k", tags)
    assert await lake.get_tags("k") == tags


async def test_bad_tags_are_refused_unsent(lake: Bucket, session: StorageSession) -> None:
    """Tags S3 would refuse are refused here, before any request."""
    before = session.statistics().requests
    with pytest.raises(S3InvalidRequestError, match="at most 10"):
        await lake.set_tags("k", {f"k{n}": "" for n in range(11)})
    assert session.statistics().requests == before


async def test_tags_of_a_missing_key(lake: Bucket) -> None:
    """Reading or writing tags of a missing key is `S3NotFoundError`."""
    with pytest.raises(S3NotFoundError):
        await lake.get_tags("no/such")
    with pytest.raises(S3NotFoundError):
        await lake.set_tags("no/such", {"a": "b"})


@pytest.mark.parametrize("verb", VERBS)
async def test_cancelled_half_way(
    verb: str, lake: Bucket, session: StorageSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled call ends at once with CancelledError, gives its slot back, and the session goes on."""
    method, call = VERBS[verb]
    await lake.upload_bytes("k", b"x")
    sent = asyncio.Event()

    async def never(**_kwargs: object) -> None:
        sent.set()
        await asyncio.get_running_loop().create_future()

    with monkeypatch.context() as patch:
        patch.setattr(session.client, method, never)
        task = asyncio.ensure_future(call(lake, "k"))
        await sent.wait()
        assert session.statistics().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert session.statistics().in_flight == 0
    await call(lake, "k")


@pytest.mark.parametrize("verb", VERBS)
async def test_twice_at_once(verb: str, lake: Bucket) -> None:
    """Two of the same call at the same time both succeed."""
    _, call = VERBS[verb]
    await lake.upload_bytes("k", b"x")
    first, second = await asyncio.gather(call(lake, "k"), call(lake, "k"))
    assert first == second


ODD_KEYS = [
    "räume/日本/🙂.json",
    "with space/and  two.txt",
    "plus+minus-equals=amp&.csv",
    "percent%41%2F%.csv",
    "quote'double\"back`tick",
    "tilde~star*paren()[]{}<>|^",
    "question?mark#hash",
    "semi;colon:comma,at@",
    "dots...and..more/.hidden",
    "trailing/",
    "x" * 200 + "/" + "y" * 200,
]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys_go_round(key: str, lake: Bucket) -> None:
    """A legal key of any shape is stored, listed, read, copied and deleted under exactly that name."""
    body = b"" if key.endswith("/") else key.encode()
    await lake.upload_bytes(key, body)
    assert [info.key async for info in lake.list_objects()] == [key]
    assert (await lake.head(key)).size == len(body)
    assert await lake.download_bytes(key) == body
    await lake.copy(key, f"copy of/{key}")
    assert await lake.download_bytes(f"copy of/{key}") == body
    assert [info.key async for info in lake.list_objects(f"copy of/{key}")] == [f"copy of/{key}"]
    await lake.set_tags(key, {"a": "b"})
    assert await lake.get_tags(key) == {"a": "b"}
    await lake.delete(key)
    assert not await lake.exists(key)
    assert await lake.exists(f"copy of/{key}")


async def test_empty_segments_go_round_where_the_store_takes_them(
    lake: Bucket, server: StorageServer
) -> None:
    """`a//b` is another key than `a/b`; MinIO refuses it, and the refusal is typed."""
    if server.name == "minio":
        with pytest.raises(S3InvalidRequestError):
            await lake.upload_bytes("a//b", b"x")
        return
    await lake.upload_bytes("a//b", b"x")
    await lake.copy("a//b", "a/b")
    await lake.delete("a//b")
    assert [info.key async for info in lake.list_objects()] == ["a/b"]


@pytest.mark.parametrize("key", ["", "new\nline", "nul\x00", "/leading", "a/../b", "\ud800"])
async def test_impossible_keys_are_refused_unsent(key: str, lake: Bucket, session: StorageSession) -> None:
    """A key no store keeps as it is never leaves this process, whatever the verb."""
    before = session.statistics().requests
    for call in (
        lake.head(key),
        lake.delete(key),
        lake.copy("ok", key),
        lake.copy(key, "ok"),
        lake.get_tags(key),
    ):
        with pytest.raises(ValueError, match="key"):
            await call
    assert session.statistics().requests == before
