"""What goes out over https with its checksum behind it, byte for byte as the server reads it."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig

from greenlang_async_storage import fastpath
from tests.fastpath.recorders import DEFAULTS, new_session
from tests.fastpath.strategies import payload
from tests.fastpath.transport.wire import Request, Server, reply
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.asyncio, pytest.mark.allow_blocking("certificates are read by the test")]

SIZES = [0, 1, 32_000, 33_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]
VOLATILE = {"user-agent", "amz-sdk-invocation-id", "authorization", "x-amz-date"}


@pytest_asyncio.fixture
async def store(authority: CertificateAuthority) -> AsyncIterator[Server]:
    """A server that says yes to everything."""
    async with Server(tls=authority.server_context("127.0.0.1")) as server:
        server.answers(reply(headers='ETag: "e"\r\n'))
        yield server


async def sent(
    store: Server, authority: CertificateAuthority, body: Any, *, enabled: bool, **options: Any
) -> Request:
    """The request of one PutObject as the server read it, HTTP's own framing undone."""
    origin = f"https://{store.host}:{store.port}"
    async with new_session(enabled=enabled).create_client(
        "s3", endpoint_url=origin, verify=str(authority.bundle), config=AioConfig(), **DEFAULTS
    ) as client:
        await client.put_object(Bucket="bucket", Key="key", Body=body, **options)
    return store.requests.pop()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA256"])
async def test_trailers_on_the_wire(
    store: Server, authority: CertificateAuthority, size: int, algorithm: str
) -> None:
    """Coding, trailer and headers are those of a plain client."""
    data = os.urandom(size)
    before = fastpath.statistics()
    plain = await sent(store, authority, data, enabled=False, ChecksumAlgorithm=algorithm)
    fast = await sent(store, authority, data, enabled=True, ChecksumAlgorithm=algorithm)
    assert fastpath.statistics().compiled == before.compiled + 1
    assert plain.body.endswith(b"\r\n\r\n")
    assert fast.body == plain.body
    assert (fast.line, _steady(fast)) == (plain.line, _steady(plain))


@pytest.mark.parametrize("kind", [bytearray, io.BytesIO, payload])
async def test_other_bodies(store: Server, authority: CertificateAuthority, kind: Any) -> None:
    """Any kind of body goes out as the bytes it stands for."""
    data = os.urandom(70_000)
    plain = await sent(store, authority, data, enabled=False)
    assert (await sent(store, authority, kind(data), enabled=True)).body == plain.body


def _steady(request: Request) -> dict[str, str]:
    # aiobotocore's session adds its own default for a header that says nothing.
    return {
        name: value
        for name, value in request.headers.items()
        if name not in VOLATILE | {"accept", "accept-encoding"}
    }
