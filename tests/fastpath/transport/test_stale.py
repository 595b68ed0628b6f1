"""A kept-alive connection that turns out closed is replaced where that is safe, and only there."""

from __future__ import annotations

import io
import socket
import threading

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from greenlang_async_storage.fastpath._wire import Origin
from tests.fastpath.transport.wire import HEADERS, Peer, Server, get, opened, reply

pytestmark = pytest.mark.asyncio


def closing_after(server: Server, count: int) -> None:
    """The server closes each connection when it reads request *count* + 1 on it, without a word."""

    async def script(peer: Peer) -> None:
        for _ in range(count):
            server.requests.append(await peer.request())
            await peer.say(reply(b"hello"))
        server.requests.append(await peer.head())

    server.script = script


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_stale_connection_is_replaced_silently(server: Server, method: str) -> None:
    """A kept-alive connection that dies without a byte of reply is replaced, once per request."""
    closing_after(server, 1)
    async with opened() as session:
        await get(session, server)
        body = b"data" if method == "PUT" else None
        headers = [*HEADERS, ("Content-Length", "4")] if body else HEADERS
        response = await session.exchange(server.origin, method, "/key", headers, body)
        assert response.status == 200
        response.close()
        assert server.connections == 2
        assert session.statistics().replaced == 1


async def test_a_file_is_rewound_for_the_second_connection(server: Server) -> None:
    """A seekable body starts again from where it stood."""
    closing_after(server, 1)
    async with opened() as session:
        await get(session, server)
        body = io.BytesIO(b"--" + b"x" * 100_000)
        body.seek(2)
        response = await session.exchange(
            server.origin, "PUT", "/key", [("Content-Length", "100000")], body, content_length=100_000
        )
        assert response.status == 200
        assert server.requests[-1].body == b"x" * 100_000


async def test_a_body_that_cannot_start_again_is_not_repeated(server: Server) -> None:
    """A stream that was consumed is not sent a second time."""
    closing_after(server, 1)

    class Stream(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            return memoryview(buffer).nbytes  # type: ignore[arg-type]

    async with opened() as session:
        await get(session, server)
        with pytest.raises(ConnectionClosedError):
            await session.exchange(
                server.origin,
                "PUT",
                "/",
                [("Content-Length", "10")],
                io.BufferedReader(Stream()),
                content_length=10,
            )


@pytest.mark.parametrize(
    ("method", "header"),
    [("POST", ("x", "y")), ("PUT", ("If-None-Match", "*")), ("PUT", ("if-match", '"e"'))],
)
async def test_what_may_have_been_applied_is_not_repeated(
    server: Server, method: str, header: tuple[str, str]
) -> None:
    """A POST or a conditional write that got no answer is an error: twice would tell a false story."""
    closing_after(server, 1)
    async with opened() as session:
        await get(session, server)
        with pytest.raises(ConnectionClosedError):
            await session.exchange(server.origin, method, "/", [header, ("Content-Length", "2")], b"hi")
        assert server.connections == 1


async def test_what_did_not_leave_whole_is_repeated(server: Server) -> None:
    """A conditional write whose body still waited for `100 Continue` was not applied, and is repeated."""
    closing_after(server, 1)
    headers = [("If-None-Match", "*"), ("Content-Length", "2"), ("Expect", "100-continue")]
    async with opened() as session:
        await get(session, server)
        response = await session.exchange(server.origin, "PUT", "/", headers, b"hi")
        assert response.status == 200
        assert server.requests[-1].body == b"hi"


def _close_after_one(listener: socket.socket, close: threading.Event, closed: threading.Event) -> None:
    for _ in range(2):
        connection, _address = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(reply(b"hello"))
            if not closed.is_set():
                close.wait()
        closed.set()


async def test_a_post_looks_before_it_takes_an_idle_connection() -> None:
    """An end of stream the loop has not seen yet is noticed by requests that cannot be repeated."""
    close, closed = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_close_after_one, args=(listener, close, closed))
        server.start()
        origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        async with opened() as session:
            (await session.exchange(origin, "GET", "/", HEADERS)).close()
            close.set()
            closed.wait()  # the loop does not run meanwhile
            response = await session.exchange(origin, "POST", "/", [("Content-Length", "2")], b"hi")
            assert response.status == 200
            assert session.statistics().opened == 2
        server.join()


async def test_a_connection_is_replaced_once(server: Server) -> None:
    """When the replacement dies as well, that is the error."""

    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        if server.connections == 1:
            await peer.say(reply(b"hello"))
            await peer.head()

    server.script = script
    async with opened() as session:
        await get(session, server)
        with pytest.raises(ConnectionClosedError):
            await get(session, server)
        assert server.connections == 2


async def test_a_reply_that_had_begun_is_not_stale(server: Server) -> None:
    """A connection that dies in the middle of a head had a server behind it: the request is not repeated."""

    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.say(reply(b"hello"))
        server.requests.append(await peer.request())
        await peer.say(reply(b"hello")[:20])

    server.script = script
    async with opened() as session:
        await get(session, server)
        with pytest.raises(ConnectionClosedError):
            await get(session, server)
        assert server.connections == 1


async def test_a_new_connection_is_not_replaced(server: Server) -> None:
    """A server that closes on the first request has refused it: no second try."""
    closing_after(server, 0)
    async with opened() as session:
        with pytest.raises(ConnectionClosedError):
            await get(session, server)
        assert server.connections == 1


async def test_a_silent_kept_alive_connection_is_a_timeout_not_stale(server: Server) -> None:
    """A reply that does not come is a read timeout, and the request is not repeated."""

    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.say(reply(b"hello"))
        server.requests.append(await peer.request())
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.05)) as session:
        await get(session, server)
        with pytest.raises(ReadTimeoutError):
            await get(session, server)
        assert len(server.requests) == 2
