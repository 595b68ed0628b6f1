"""The whole path over TLS, through nginx to MinIO: signed calls, trailers, multipart, hang-ups."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import SSLError

from greenlang_async_storage import StorageSession, StorageSettings, fastpath
from greenlang_async_storage.fastpath._conditions import Reason
from greenlang_async_storage.testing import MinioServer
from tests.fastpath.recorders import new_session
from tests.support import nginx, servers
from tests.support.nginx import NginxServer
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.asyncio, pytest.mark.allow_blocking("certificates are read by the test")]

PART = 5 << 20
LARGE = os.urandom(1 << 16) * 32
ONLY_REQUIRED = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, authority: CertificateAuthority, minio_server: MinioServer
) -> Iterator[NginxServer]:
    """Nginx in front of MinIO."""
    if nginx.NGINX is None:
        servers.unavailable(nginx.MISSING)
    folder = tmp_path_factory.mktemp("nginx")
    port = int(minio_server.endpoint_url.rpartition(":")[2])
    with NginxServer(folder, authority, behind=port) as server:
        yield server


@pytest.fixture
def server(minio_server: MinioServer) -> MinioServer:
    """The store of `observer` and `bucket_name`."""
    return minio_server


def arguments(proxy: NginxServer, server: MinioServer, authority: CertificateAuthority) -> dict[str, Any]:
    """What a client of the store behind *proxy* is made with."""
    return {
        "endpoint_url": f"https://localhost:{proxy.ports['store']}",
        "region_name": "us-east-1",
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "verify": str(authority.bundle),
    }


PROTECTION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "trailer": ({}, {}),
    "signed": (ONLY_REQUIRED, {}),
    "unsigned": (ONLY_REQUIRED, {"payload_signing_enabled": False}),
}
"""Ways to protect a body: options of the client, and its options for S3."""


@pytest_asyncio.fixture(params=list(PROTECTION))
async def client(
    request: pytest.FixtureRequest, proxy: NginxServer, server: MinioServer, authority: CertificateAuthority
) -> AsyncIterator[Any]:
    """A client with the fast path whose calls are compiled, those that can be."""
    options, store_options = PROTECTION[request.param]
    config = AioConfig(s3={"addressing_style": "path", **store_options}, max_pool_connections=8, **options)
    before = fastpath.statistics()
    async with new_session().create_client(
        "s3", config=config, **arguments(proxy, server, authority)
    ) as made:
        yield made
    after = fastpath.statistics()
    assert after.handed_over == before.handed_over
    passed_on = {name: count - before.passed_on.get(name, 0) for name, count in after.passed_on.items()}
    # An open file has its checksum in a trailer that is botocore's to write.
    assert {name for name, count in passed_on.items() if count} <= {Reason.OPERATION, Reason.BODY}


def seen(reply: dict[str, Any], name: str) -> str | None:
    """What nginx saw of the request that *reply* answers."""
    headers: dict[str, str] = reply["ResponseMetadata"]["HTTPHeaders"]
    return headers.get(f"x-seen-{name}")


@pytest.mark.parametrize("size", [0, 1, 5_000, len(LARGE)])
async def test_objects(client: Any, bucket_name: str, observer: Any, size: int) -> None:
    """A body goes out after `100 Continue`, its checksum behind it, or signed, or neither; it comes back."""
    data = LARGE[:size]
    at = {"Bucket": bucket_name, "Key": "a b/ü+c"}
    reply = await client.put_object(**at, Body=data, Metadata={"one": "1"})
    config = client.meta.config
    checked = config.request_checksum_calculation == "when_supported"
    assert seen(reply, "expect") == "100-continue"
    if checked:
        payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    elif config.s3.get("payload_signing_enabled") is False:
        payload = "UNSIGNED-PAYLOAD"
    else:
        payload = hashlib.sha256(data).hexdigest()
    assert seen(reply, "payload") == payload
    assert seen(reply, "trailer") == ("x-amz-checksum-crc32" if checked else None)
    assert observer.get_object(**at)["Body"].read() == data
    found = await client.get_object(**at, ChecksumMode="ENABLED")
    assert ("ChecksumCRC32" in found) is checked
    assert await found["Body"].read() == data
    assert found["Metadata"] == {"one": "1"}
    if size > 100:
        part = await client.get_object(**at, Range="bytes=10-19")
        assert await part["Body"].read() == data[10:20]
    assert (await client.head_object(**at))["ContentLength"] == size


async def test_files(client: Any, bucket_name: str, observer: Any, tmp_path: Path) -> None:
    """Open files and file-like objects arrive whole."""
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    for body in (path.open("rb"), io.BytesIO(LARGE)):
        with body:
            await client.put_object(Bucket=bucket_name, Key="file", Body=body)
        assert observer.get_object(Bucket=bucket_name, Key="file")["Body"].read() == LARGE


async def test_multipart(client: Any, bucket_name: str, observer: Any) -> None:
    """Parts side by side over connections that close after five requests."""
    at = {"Bucket": bucket_name, "Key": "large"}
    upload = {**at, "UploadId": (await client.create_multipart_upload(**at))["UploadId"]}
    bodies = [bytes([number]) * PART for number in range(1, 5)] + [b"end"]
    sent = await asyncio.gather(
        *(client.upload_part(**upload, PartNumber=n, Body=body) for n, body in enumerate(bodies, 1))
    )
    listed = await client.list_parts(**upload)
    assert [part["Size"] for part in listed["Parts"]] == [len(body) for body in bodies]
    names = {"ETag", "ChecksumCRC32"}
    parts = [
        {"PartNumber": n, **{name: part[name] for name in names & part.keys()}}
        for n, part in enumerate(sent, 1)
    ]
    await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert observer.get_object(**at)["Body"].read() == b"".join(bodies)
    found = await client.get_object(**at)
    buffer = bytearray(sum(map(len, bodies)))
    view, done = memoryview(buffer), 0
    while count := await found["Body"].readinto(view[done : done + 1_000_000]):
        done += count
    assert buffer == b"".join(bodies)


async def test_listing_deleting_and_ordinary_calls(client: Any, bucket_name: str) -> None:
    """Many small calls, compiled and ordinary, share connections that nginx keeps closing; none fails."""
    keys = [f"k/{number:02}" for number in range(40)]
    await asyncio.gather(*(client.put_object(Bucket=bucket_name, Key=key, Body=b"x") for key in keys))
    replies = await asyncio.gather(
        *(client.head_object(Bucket=bucket_name, Key=key) for key in keys),
        *(client.get_bucket_location(Bucket=bucket_name) for _ in range(20)),
    )
    used = [seen(reply, "connection") for reply in replies]
    assert None not in used
    assert max(used.count(connection) for connection in used) <= 5
    assert len(set(used)) < len(used)
    listed = await client.list_objects_v2(Bucket=bucket_name, Prefix="k/")
    assert [each["Key"] for each in listed["Contents"]] == keys
    deleted = await client.delete_objects(
        Bucket=bucket_name, Delete={"Objects": [{"Key": key} for key in keys]}
    )
    assert len(deleted["Deleted"]) == len(keys)
    with pytest.raises(client.exceptions.NoSuchKey):
        await client.get_object(Bucket=bucket_name, Key="k/00")


async def test_a_server_that_is_not_trusted(
    proxy: NginxServer, server: MinioServer, authority: CertificateAuthority, bucket_name: str
) -> None:
    """Neither a compiled nor an ordinary call talks to a stranger."""
    for given in (
        {"endpoint_url": f"https://localhost:{proxy.ports['wrong_host']}"},
        {"verify": str(authority.another().bundle)},
    ):
        settings = {**arguments(proxy, server, authority), **given}
        config = AioConfig(retries={"total_max_attempts": 1})
        async with new_session().create_client("s3", config=config, **settings) as client:
            for call in (client.head_bucket, client.get_bucket_location):
                with pytest.raises(SSLError):
                    await call(Bucket=bucket_name)


async def test_the_sdk(
    proxy: NginxServer, server: MinioServer, authority: CertificateAuthority, bucket_name: str, tmp_path: Path
) -> None:
    """A session over https: bytes, a stream in parts, a file, listing, deleting."""
    values: dict[str, Any] = {
        **server.settings_kwargs(),
        "endpoint_url": f"https://localhost:{proxy.ports['store']}",
        "verify_tls": authority.bundle,
        "part_size": PART,
    }
    settings = StorageSettings(data_lake_bucket=bucket_name, **values)
    data = LARGE * 6

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    before = fastpath.statistics().compiled
    async with StorageSession(settings) as session:
        lake = session.data_lake
        await lake.upload_bytes("small", b"hello")
        await lake.upload_stream("stream", pieces())
        assert await lake.download_bytes("small") == b"hello"
        await lake.download_file("stream", tmp_path / "stream")
        assert (tmp_path / "stream").read_bytes() == data
        assert [each.key async for each in lake.list_objects()] == ["small", "stream"]
        await lake.delete("stream")
    assert fastpath.statistics().compiled > before + 6
