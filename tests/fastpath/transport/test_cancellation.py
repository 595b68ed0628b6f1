"""Cancelled anywhere, a request gives back its slot, closes its connection, and spoils no other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession
from tests.fastpath.transport.wire import HEADERS, Peer, Server, get, opened, reply
from tests.support.cancel import cancel_everywhere
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.asyncio, pytest.mark.allow_blocking("certificates are made by the test")]

Work = Callable[[HTTPSession, Origin, Path], Awaitable[None]]
LARGE = 600_000


async def _small_get(session: HTTPSession, origin: Origin, _: Path) -> None:
    response = await session.exchange(origin, "GET", "/small", HEADERS)
    try:
        assert await response.read() == b"hello"
    finally:
        response.close()


async def _large_get(session: HTTPSession, origin: Origin, _: Path) -> None:
    response = await session.exchange(origin, "GET", "/large", HEADERS)
    try:
        assert len(await response.read()) == LARGE
    finally:
        response.close()


async def _get_into(session: HTTPSession, origin: Origin, _: Path) -> None:
    buffer = bytearray(LARGE)
    response = await session.exchange(origin, "GET", "/large", HEADERS)
    try:
        assert await response.readinto(memoryview(buffer)) == LARGE
    finally:
        response.close()


async def _put(session: HTTPSession, origin: Origin, _: Path) -> None:
    headers = [("Content-Length", str(LARGE)), ("Expect", "100-continue")]
    response = await session.exchange(origin, "PUT", "/small", headers, bytes(LARGE))
    response.close()


async def _put_file(session: HTTPSession, origin: Origin, path: Path) -> None:
    with path.open("rb") as file:
        response = await session.exchange(
            origin, "PUT", "/small", [("Content-Length", str(LARGE))], file, content_length=LARGE
        )
        response.close()


async def _put_stream(session: HTTPSession, origin: Origin, _: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0)
            yield bytes(LARGE // 4)

    headers = [("Transfer-Encoding", "chunked")]
    response = await session.exchange(origin, "PUT", "/small", headers, pieces())  # type: ignore[arg-type]
    response.close()


WORK: dict[str, Work] = {
    "GET": _small_get,
    "large GET": _large_get,
    "GET into a buffer": _get_into,
    "PUT": _put,
    "PUT of a file": _put_file,
    "PUT of a stream": _put_stream,
}


async def answering(peer: Peer) -> None:
    """Answer by path, for as long as the client stays; give the client a turn before each part."""
    while True:
        request = await peer.request()
        body = bytes(LARGE) if "/large" in request.line else b"hello"
        wire = reply(body)
        await peer.say(wire[:40])
        for _ in range(3):
            await asyncio.sleep(0)
        await peer.say(wire[40:])


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("fresh", [False, True])
async def test_cancelled_at_any_await(
    authority: CertificateAuthority, tmp_path: Path, name: str, scheme: str, fresh: bool
) -> None:
    """Whichever await a cancel hits, on a new connection or a kept one, the only slot is free and works."""
    context = authority.server_context("localhost") if scheme == "https" else None
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))
    async with (
        Server(answering, tls=context) as server,
        opened(
            verify=str(authority.bundle),
            connections=1,
            connector_args={"force_close": True} if fresh else None,
        ) as session,
    ):
        origin = Origin(scheme, "localhost", server.port)

        async def at_rest() -> None:
            assert session.statistics().in_use == 0
            assert session.statistics().waiting == 0
            response = await session.exchange(origin, "GET", "/small", HEADERS)
            assert await response.read() == b"hello"
            assert session.statistics().in_use == 0

        tried = await cancel_everywhere(lambda: WORK[name](session, origin, path), at_rest)
        assert tried >= 1
        await cancel_everywhere(lambda: WORK[name](session, origin, path), at_rest, again_after=1)


async def test_cancelled_while_it_waits_for_a_slot(server: Server) -> None:
    """A cancel at any await of a waiter leaves the line as it was."""
    server.script = answering
    async with opened(connections=1) as session:

        async def waiter() -> None:
            holder = asyncio.create_task(_large_get(session, server.origin, Path()))
            try:
                await asyncio.sleep(0)
                await _small_get(session, server.origin, Path())
            finally:
                await asyncio.wait([holder])

        async def at_rest() -> None:
            assert session.statistics().in_use == session.statistics().waiting == 0
            assert await get(session, server) == (200, b"hello")

        assert await cancel_everywhere(waiter, at_rest) > 3


async def test_a_cancelled_request_closes_its_connection(server: Server) -> None:
    """The reply to a cancelled request can never be taken for the reply to the next one."""
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        asked.set()
        if "/first" in request.line:
            await cancelled.wait()
        await peer.say(reply(request.line.encode()))
        await peer.wait_closed()

    server.script = script
    async with opened(connections=1) as session:
        first = asyncio.create_task(session.exchange(server.origin, "GET", "/first", HEADERS))
        await asked.wait()
        first.cancel()
        cancelled.set()
        response = await session.exchange(server.origin, "GET", "/second", HEADERS)
        assert await response.read() == b"GET /second HTTP/1.1"
        assert first.cancelled()
        assert server.connections == 2


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_reply_that_meets_its_cancel_is_for_nobody(server: Server, body: bytes) -> None:
    """A head that arrives after the cancel, but before the cancelled task runs, leaves nothing behind."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.wait_closed()

    server.script = script
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body
    async with opened(connections=1) as session:
        task = asyncio.create_task(get(session, server))
        await asked.wait()
        [connection] = session._pool._active
        task.cancel()
        connection.get_buffer(-1)[: len(wire)] = wire
        connection.buffer_updated(len(wire))
        await asyncio.wait([task])
        assert task.cancelled()
        assert session.statistics().in_use == 0
        assert session.statistics().idle == bool(body)


async def test_a_timeout_of_the_caller_is_a_timeout(server: Server) -> None:
    """`asyncio.timeout` around an exchange works, and the connection is closed."""

    async def script(peer: Peer) -> None:
        await peer.wait_closed()

    server.script = script
    async with opened(connections=1) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await get(session, server)
        assert session.statistics().in_use == 0
