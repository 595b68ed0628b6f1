"""Handlers around replies that break, damage or contradict themselves, and around what waits for them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from botocore.exceptions import UnknownServiceError

from greenlang_async_storage import (
    S3ConnectionError,
    S3CredentialsError,
    S3IntegrityError,
    S3InvalidRequestError,
    S3ObjectChangedError,
    S3PoolTimeoutError,
    S3WrongLoopError,
    StorageSettings,
    StorageSettingsError,
    UploadedPart,
    _credentials,
    _presign,
)
from greenlang_async_storage._aws_session import make_session
from greenlang_async_storage._lifecycle import Lifecycle
from greenlang_async_storage._uploads._buffers import BufferPool
from greenlang_async_storage.testing import Fault
from tests.faults.test_rows_requests import LARGE, SMALL
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory
from tests.support.sts import Clock, StsServer

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """In memory, with a small and a large object."""
    async with laboratory() as made:
        made.store.put(BUCKET, "small", SMALL)
        made.store.put(BUCKET, "large", LARGE)
        yield made


def told(nth: int, **headers: str) -> Fault:
    """The *nth* GET is answered with *headers* of somebody else."""
    return Fault("GetObject", nth, "reply_head", "replace", headers=headers)


# Replies to a GET.


@pytest.mark.parametrize("action", ["close", "reset"])
async def test_f04_a_small_body_that_breaks(lab: Lab, action: Any) -> None:
    """The rest is asked for, from the last good byte on."""
    lab.plan(Fault("GetObject", 1, "reply_body", action, at=40))
    assert await lab.lake.download_bytes("small") == SMALL
    assert lab.count("GetObject") == 2


@pytest.mark.parametrize("key", ["small", "large"])
async def test_f04_a_stream_that_breaks(lab: Lab, key: str) -> None:
    """Whoever reads piece after piece does not notice; no byte comes twice."""
    lab.plan(
        Fault("GetObject", 1, "reply_body", "close", at=40), Fault("GetObject", 2, "reply_body", "reset")
    )
    async with lab.lake.open_download(key) as body:
        assert b"".join([piece async for piece in body]) == lab.check.content(key)
    assert lab.count("GetObject") == 3


async def test_f04_a_body_that_breaks_each_time(lab: Lab) -> None:
    """After three connections that brought nothing, whichever way it is read, the failure is the caller's."""
    lab.plan(Fault("GetObject", 0, "reply_body", "reset"))
    with pytest.raises(S3ConnectionError) as caught:
        await lab.lake.download_bytes("small")
    assert caught.value.attempts == lab.count("GetObject") == 3
    async with lab.lake.open_download("small") as body:
        with pytest.raises(S3ConnectionError):
            await anext(body)
    assert lab.count("GetObject") == 6


@pytest.mark.parametrize("said", ["bytes 1-99/100", "bytes 0-9/100", "bytes some of them"])
async def test_f04_a_first_reply_that_carries_other_bytes(lab: Lab, said: str) -> None:
    """Refused before a byte of it is given out, and its connection is given back."""
    lab.plan(told(1, **{"Content-Range": said}))
    with pytest.raises(S3IntegrityError):
        await lab.lake.download_bytes("small", range=(0, 100))
    assert lab.count("GetObject") == 1


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"Content-Range": "bytes 0-99/100"}, S3IntegrityError),
        ({"Content-Range": "bytes 40-199/200"}, S3ObjectChangedError),
        ({"ETag": '"another"'}, S3ObjectChangedError),
    ],
)
async def test_f26_a_resume_that_is_answered_with_other_bytes(
    lab: Lab, headers: dict[str, str], error: type[Exception]
) -> None:
    """A proxy that ignores Range or If-Match: nothing of it is mixed in, and its connection is given back."""
    broken = Fault("GetObject", 1, "reply_body", "close", at=40)
    lab.plan(broken, told(2, **headers))
    async with lab.lake.open_download("small") as body:
        with pytest.raises(error):
            async for _ in body:
                pass
    assert lab.count("GetObject") == 2


async def test_f05_damage_where_nothing_is_tried_again() -> None:
    """With `retry_mode="none"` damaged bytes are an error at once: the object is asked for once."""
    async with laboratory(retry_mode="none") as lab:
        await lab.lake.upload_bytes("key", SMALL)
        lab.plan(Fault("GetObject", 1, "reply_body", "flip", at=7))
        with pytest.raises(S3IntegrityError):
            await lab.lake.download_bytes("key")
        assert lab.count("GetObject") == 1


# Waiting for a connection.


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a download goes."""
    return tmp_path / "target"


def held(lab: Lab, *, at: int) -> tuple[asyncio.Event, asyncio.Event]:
    """The first GET stops after *at* bytes: set when it has, and to be set when it may go on."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    lab.faults.hooks.update(arrived=arrived.set, wait=go_on.wait)
    lab.plan(
        *(Fault("GetObject", 1, "reply_body", "hook", at=at, hook=hook) for hook in ("arrived", "wait")),
        Fault("GetObject", 1, "reply_body", "close", at=at),
    )
    return arrived, go_on


async def line_of(lab: Lab, length: int) -> None:
    """Until *length* requests wait for a connection."""
    while lab.session.statistics().pool_waiting != length:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.001)


async def test_f18_a_worker_that_gets_no_connection(target: Path) -> None:
    """Its part is left to the one that has a connection: the file is whole."""
    async with laboratory(max_pool_connections=1, pool_timeout=0.05) as lab:
        lab.store.put(BUCKET, "large", LARGE)
        _, go_on = held(lab, at=MIB)
        work = asyncio.create_task(lab.lake.download_file("large", target, part_size=PART, concurrency=2))
        await line_of(lab, 1)
        await line_of(lab, 0)
        go_on.set()
        await work
    assert target.read_bytes() == LARGE


async def test_f18_the_last_worker_gets_no_connection(target: Path) -> None:
    """Nobody is left to come to its part: `S3PoolTimeoutError`, and no file."""
    async with laboratory(max_pool_connections=1, pool_timeout=0.05) as lab:
        lab.store.put(BUCKET, "large", LARGE)
        arrived, go_on = held(lab, at=MIB)
        work = asyncio.create_task(lab.lake.download_file("large", target, part_size=PART, concurrency=1))
        await arrived.wait()
        other = lab.lake.open_download("large")
        waits = asyncio.create_task(other.__aenter__())
        await line_of(lab, 1)
        go_on.set()
        with pytest.raises(S3PoolTimeoutError):
            await work
        await waits
        await other.__aexit__(None, None, None)
    assert not target.exists()


# What is given, and what cannot be used.


@pytest.mark.parametrize("checksum", ["abc", "\u00e9"])
async def test_f06_a_checksum_that_cannot_be_read(lab: Lab, checksum: str) -> None:
    """What another process wrote is refused here, with the remedy; the upload stays open."""
    upload = await lab.lake.create_multipart("key")
    agreed = replace(upload, checksum="CRC32")
    with pytest.raises(S3InvalidRequestError, match=r"(?s)not base64.*as S3 writes them"):
        await lab.lake.complete_multipart(agreed, [UploadedPart(1, "etag", len(SMALL), checksum)])
    assert lab.count("CompleteMultipartUpload") == 0
    await lab.lake.abort_multipart(upload)


async def test_s03_credentials_that_end_and_cannot_be_renewed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A link that would end with its second is not made: the caller hears why there are no new ones."""
    clock = Clock()
    monkeypatch.setattr(_credentials, "wall_clock", clock.now)
    monkeypatch.setattr(_credentials, "monotonic", clock.monotonic)
    monkeypatch.setattr(_presign, "datetime", SimpleNamespace(now=lambda _: clock.now()))
    token = tmp_path / "token"
    token.write_text("token", encoding="utf-8")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/storage")
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "session")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    keys: dict[str, Any] = {"access_key_id": None, "secret_access_key": None}
    async with StsServer(clock, lifetime=60.9) as provider:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", provider.url)
        async with laboratory("served", **keys) as lab:
            await lab.lake.upload_bytes("key", SMALL)
            clock.passed = 60
            provider.error = ("AccessDenied", "the role is gone")
            with pytest.raises(S3CredentialsError, match="the role is gone"):
                await lab.lake.presign_download("key")


async def test_f10_an_address_that_is_none() -> None:
    """Brackets around what is no IPv6 address: told when the settings are made."""
    with pytest.raises(StorageSettingsError, match="an IPv6 address that cannot be read"):
        StorageSettings(endpoint_url="http://[v1.x:y]:9000")


@pytest.mark.allow_blocking("a client that is made outside a session reads botocore's files itself")
async def test_f10_a_service_nobody_knows() -> None:
    """The refusal is botocore's own, which lists those it knows, though they are not all looked up before."""
    with pytest.raises(UnknownServiceError, match=r"(?s)'s4'\. Valid service names are:.*s3control"):
        async with make_session(StorageSettings()).client("s4", region_name="eu-central-1"):
            pass


async def test_f32_records_of_another_library(lab: Lab) -> None:
    """Formats that nobody can read item by item, and a number of no dimension: their bytes."""

    class Point(ctypes.Structure):
        _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]

    points, number = (Point * 2)(Point(1, 0.5), Point(2, 0.25)), ctypes.c_int(5)
    await lab.lake.upload_stream("key", [memoryview(points), memoryview(number)])
    assert lab.check.content("key") == bytes(points) + bytes(number)


async def test_f02_memory_that_somebody_still_looks_at() -> None:
    """A transport that keeps a part's buffer keeps its bytes: the memory is not used for another part."""
    pool = BufferPool(PART)
    part = pool.take(PART)
    part[:4] = b"mine"
    kept = pickle.PickleBuffer(part)
    pool.give_back(part)
    other = pool.take(PART)
    other[:4] = b"next"
    assert bytes(kept.raw()[:4]) == b"mine"


async def test_f33_used_after_a_fork_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process without a running loop is told of the fork, not of the loop that it has not."""
    lifecycle, parent = Lifecycle(), os.getpid()
    with pytest.raises(S3WrongLoopError, match="outside a running event loop"):
        await asyncio.to_thread(lifecycle.require_usable)
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(S3WrongLoopError, match=f"opened in process {parent}, used after a fork"):
        await asyncio.to_thread(lifecycle.require_usable)
