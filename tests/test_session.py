"""The session: opens once, hands out buckets, closes clean, and says clearly where it cannot work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3InvalidRequestError,
    S3NotFoundError,
    S3SessionClosedError,
    StorageSession,
    StorageSettings,
    StorageSettingsError,
)

if TYPE_CHECKING:
    from greenlang_async_storage.testing import StorageServer

pytestmark = pytest.mark.asyncio


async def test_every_purpose_has_a_bucket(server: StorageServer) -> None:
    """The five attributes give the configured buckets; an unset one names its variable."""
    names = {
        purpose: f"greenlang-dev-{purpose.replace('_', '-')}"
        for purpose in ("data_lake", "reports", "models", "temp", "cache")
    }
    configured: dict[str, Any] = {f"{purpose}_bucket": name for purpose, name in names.items()}
    async with StorageSession(StorageSettings(**server.settings_kwargs(), **configured)) as session:
        assert {purpose: getattr(session, purpose).name for purpose in names} == names
    async with StorageSession(StorageSettings(**server.settings_kwargs())) as session:
        with pytest.raises(StorageSettingsError, match="GREENLANG_REPORTS_BUCKET"):
            _ = session.reports


async def test_settings_come_from_the_environment(
    server: StorageServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`StorageSession()` needs nothing but variables."""
    for variable, value in server.env().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("GREENLANG_DATA_LAKE_BUCKET", bucket_name)
    async with StorageSession() as session:
        await session.data_lake.upload_bytes("a", b"1")
        assert await session.data_lake.download_bytes("a") == b"1"


async def test_a_session_opens_once(settings: StorageSettings) -> None:
    """Opening twice, or again after closing, is refused with a remedy."""
    session = StorageSession(settings)
    async with session:
        with pytest.raises(S3SessionClosedError, match="cannot be opened again"):
            await session.__aenter__()
    with pytest.raises(S3SessionClosedError, match="Make a new StorageSession"):
        await session.__aenter__()


async def test_before_and_after_nothing_works(settings: StorageSettings) -> None:
    """A new and a closed session raise S3SessionClosedError from every door."""
    session = StorageSession(settings)
    with pytest.raises(S3SessionClosedError, match="not open yet"):
        session.bucket("some-bucket")
    async with session:
        lake, client = session.data_lake, session.client
    with pytest.raises(S3SessionClosedError):
        await lake.head("a")
    with pytest.raises(S3SessionClosedError):
        _ = session.client
    with pytest.raises(S3SessionClosedError):
        async for _object in lake.list_objects():
            pass
    with pytest.raises(S3SessionClosedError):
        async with lake.open_download("a"):
            pass
    assert client is not None
    assert session.statistics().in_flight == 0


async def test_closing_is_idempotent(settings: StorageSettings) -> None:
    """`aclose()` twice, at the same time, and on a session never opened."""
    await StorageSession(settings).aclose()
    session = StorageSession(settings)
    await session.__aenter__()
    await asyncio.gather(session.aclose(), session.aclose())
    await session.aclose()


async def test_closing_waits_for_a_transfer(lake: Bucket, session: StorageSession) -> None:
    """An upload in flight is finished, not cut."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def producer() -> Any:
        yield b"first"
        asked.set()
        await go.wait()
        yield b"second"

    upload = asyncio.create_task(lake.upload_stream("a", producer()))
    await asked.wait()
    closing = asyncio.create_task(session.aclose(drain=30))
    await asyncio.sleep(0)
    go.set()
    assert (await upload).size == 11
    await closing


async def test_closing_ends_a_transfer_that_hangs(
    lake: Bucket, session: StorageSession, settings: StorageSettings, observer: Any
) -> None:
    """Past the patience the call raises S3SessionClosedError and leaves no multipart upload."""
    asked = asyncio.Event()

    async def producer() -> Any:
        for _ in range(4):
            yield bytes(5 << 20)
        asked.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(lake.upload_stream("a", producer(), part_size=5 << 20))
    await asked.wait()
    await session.aclose(drain=0)
    with pytest.raises(S3SessionClosedError):
        await upload
    assert settings.data_lake_bucket is not None
    found = await asyncio.to_thread(
        observer.list_multipart_uploads, Bucket=settings.data_lake_bucket, Prefix="a"
    )
    assert found.get("Uploads", []) == []


async def test_closing_ends_an_open_body(lake: Bucket, session: StorageSession) -> None:
    """A reader that never finishes gets an error, and its slot is back."""
    await lake.upload_bytes("a", bytes(1 << 20))
    async with lake.open_download("a") as body:
        await session.aclose(drain=0)
        with pytest.raises((S3SessionClosedError, Exception)):
            await body.read()
    assert session.statistics().in_flight == 0


async def test_one_session_serves_many_tasks(lake: Bucket, session: StorageSession) -> None:
    """200 tasks share the pool; every call is counted and every slot comes back."""

    async def one(number: int) -> None:
        await lake.upload_bytes(f"k/{number}", str(number).encode())
        assert await lake.download_bytes(f"k/{number}") == str(number).encode()

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number))
    stats = session.statistics()
    assert stats.requests >= 400
    assert stats.in_flight == 0
    assert stats.pool_waiting == 0


async def test_check_tells_which_bucket_is_missing(server: StorageServer, bucket_name: str) -> None:
    """Readiness is an answer, not an exception."""
    settings = StorageSettings(
        **server.settings_kwargs(), data_lake_bucket=bucket_name, reports_bucket="no-such-bucket-of-ours"
    )
    async with StorageSession(settings) as session:
        readiness = await session.check()
    assert not readiness.ok
    assert readiness.buckets["data_lake"].ok
    assert isinstance(readiness.buckets["reports"].error, S3NotFoundError)
    assert readiness.credentials_expire_in is None


async def test_ensure_buckets_creates_what_is_missing(
    server: StorageServer, bucket_name: str, observer: Any
) -> None:
    """Only missing buckets are created, and only once."""
    new = f"{bucket_name[:50]}-new"
    settings = StorageSettings(**server.settings_kwargs(), data_lake_bucket=bucket_name, temp_bucket=new)
    async with StorageSession(settings) as session:
        assert await session.ensure_buckets() == [new]
        assert await session.ensure_buckets() == []
    await asyncio.to_thread(observer.delete_bucket, Bucket=new)


async def test_ensure_buckets_refuses_aws() -> None:
    """Production buckets are not made by an SDK, unless told so; nothing is sent."""
    settings = StorageSettings(
        access_key_id="AKIAEXAMPLE",
        secret_access_key="x",
        region="eu-west-1",
        temp_bucket="some-bucket",  # no secret
    )
    async with StorageSession(settings) as session:
        with pytest.raises(S3InvalidRequestError, match="allow_aws=True"):
            await session.ensure_buckets()


async def test_probe_finds_out_what_the_store_supports(
    server: StorageServer, session: StorageSession, observer: Any, bucket_name: str
) -> None:
    """Each server's known abilities are found, and nothing is left behind."""
    found = await session.probe()
    assert found.conditional_writes is True
    assert found.tags is True
    assert found.kms is True
    assert found.versions is False
    assert found.presigned_post is True
    assert found.full_object_checksums is True
    assert found.clock_offset is not None
    assert abs(found.clock_offset) < 60
    left = await asyncio.to_thread(observer.list_objects_v2, Bucket=bucket_name)
    assert left["KeyCount"] == 0


async def test_a_probe_without_a_bucket_says_what_to_set(server: StorageServer) -> None:
    """No configured bucket: the variable is named."""
    async with StorageSession(StorageSettings(**server.settings_kwargs())) as session:
        with pytest.raises(StorageSettingsError, match="GREENLANG_TEMP_BUCKET"):
            await session.probe()


async def test_the_client_is_an_escape_hatch(session: StorageSession, bucket_name: str) -> None:
    """`session.client` is the aioboto3 client, with one attempt per call."""
    reply = await session.client.list_objects_v2(Bucket=bucket_name)
    assert reply["KeyCount"] == 0
    assert session.client.meta.config.retries["total_max_attempts"] == 1


async def test_bad_bucket_names_are_refused(session: StorageSession) -> None:
    """A name S3 would refuse is refused here, with its reason."""
    with pytest.raises(S3InvalidRequestError, match="Upper"):
        session.bucket("Upper")


async def test_a_repr_tells_state_and_endpoint_only() -> None:
    """No secret in a repr."""
    settings = StorageSettings(
        access_key_id="AKIACANARY",
        secret_access_key="canary-secret",
        session_token="canary-token",
        endpoint_url="http://127.0.0.1:1",
    )
    async with StorageSession(settings) as session:
        bucket = session.bucket("some-bucket")
        shown = repr(session) + repr(bucket) + repr(settings) + str(settings.model_dump())
    assert "open" in shown
    assert "127.0.0.1" in shown
    assert "canary-" not in shown
    assert "AKIACANARY" not in repr(session) + repr(bucket) + repr(settings)
