"""When a body waits for `100 Continue`: compiled calls from a size on, ordinary ones as in botocore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from greenlang_async_storage import fastpath
from tests.fastpath.recorders import DEFAULTS, new_session
from tests.fastpath.transport.wire import Peer, Server, reply

pytestmark = pytest.mark.asyncio

FROM = 1_000


@pytest_asyncio.fixture
async def server_of_puts() -> AsyncIterator[Server]:
    """A server that sends `100 Continue` to whoever waits for it, and takes everything."""
    async with Server() as server:
        server.answers(reply(headers='ETag: "e"\r\n'))
        yield server


async def put(server: Server, size: int, threshold: int | None, *, compiled: bool) -> str | None:
    """What `Expect` said for a PutObject of *size* bytes."""
    session = new_session(enabled=False)
    fastpath.enable(session, expect_continue_from=threshold)
    async with session.create_client(
        "s3", endpoint_url=f"http://127.0.0.1:{server.port}", **DEFAULTS
    ) as client:
        if not compiled:
            client.meta.events.register("before-parameter-build.s3.PutObject", _stranger)
        before = fastpath.statistics()
        await client.put_object(Bucket="bucket", Key="key", Body=bytes(size))
        assert fastpath.statistics().compiled - before.compiled == compiled
    request = server.requests.pop()
    assert len(request.body) == size
    return request.headers.get("expect")


def _stranger(**_: Any) -> None:
    """A handler that is not botocore's: the call is passed on."""


@pytest.mark.parametrize("size", [1, FROM - 1, FROM, FROM + 1])
async def test_compiled_calls_wait_from_the_configured_size(server_of_puts: Server, size: int) -> None:
    """Below it the body follows at once; from it on the server is asked first; without it always."""
    expected = "100-continue" if size >= FROM else None
    assert await put(server_of_puts, size, FROM, compiled=True) == expected
    assert await put(server_of_puts, size, None, compiled=True) == "100-continue"


@pytest.mark.parametrize("threshold", [None, FROM])
@pytest.mark.parametrize("size", [1, FROM])
async def test_ordinary_calls_wait_as_botocore_has_it(
    server_of_puts: Server, size: int, threshold: int | None
) -> None:
    """The option is for compiled calls; what is passed on keeps botocore's header, and works with it."""
    assert await put(server_of_puts, size, threshold, compiled=False) == "100-continue"


@pytest.mark.parametrize("compiled", [True, False])
async def test_a_refusal_costs_no_upload(compiled: bool) -> None:
    """A server that answers instead of `100 Continue` never gets the body."""
    rest = b""

    async def script(peer: Peer) -> None:
        nonlocal rest
        request = await peer.head()
        assert request.headers["expect"] == "100-continue"
        await peer.say(reply(b"<Error><Code>AccessDenied</Code></Error>", status="403 Forbidden"))
        rest = await peer.reader.read()

    async with Server(script) as server:
        with pytest.raises(ClientError, match="AccessDenied"):
            await put(server, 1 << 20, 0, compiled=compiled)
    assert rest == b""
