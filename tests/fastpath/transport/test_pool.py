"""Slots are shared fairly, never lost, and stale connections are replaced only where that is safe."""

from __future__ import annotations

import asyncio
import io
import socket
import threading

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession, PoolTimeoutError
from greenlang_async_storage.fastpath.transport._connection import Connection
from tests.fastpath.transport.wire import HEADERS, Peer, Server, get, opened, reply

pytestmark = pytest.mark.asyncio


async def turns(count: int = 30) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_connections_than_slots(server: Server) -> None:
    """A hundred requests on four slots open at most four connections."""
    server.answers(reply(b"hello"))
    async with opened(connections=4) as session:
        answers = await asyncio.gather(*(get(session, server) for _ in range(100)))
        assert answers == [(200, b"hello")] * 100
        assert server.connections <= 4
        assert session.statistics().opened == server.connections


async def test_waiters_are_served_in_order(server: Server) -> None:
    """Requests that wait for a slot get it first come, first served; a new one does not overtake."""
    server.answers(reply(bytes(1_000_000)))
    order: list[int] = []

    async def one(number: int, session: HTTPSession) -> None:
        response = await session.exchange(server.origin, "GET", "/", HEADERS)
        order.append(number)
        response.close()

    async with opened(connections=1) as session:
        holder = await session.exchange(server.origin, "GET", "/", HEADERS)
        tasks = []
        for number in range(5):
            tasks.append(asyncio.create_task(one(number, session)))
            await asyncio.sleep(0)
        assert session.statistics().waiting == 5
        holder.close()
        tasks.append(asyncio.create_task(one(5, session)))
        await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_waiting_for_a_slot_ends(server: Server) -> None:
    """When nobody gives a slot back for the pool timeout, the waiter fails as a connect timeout; nothing was sent."""
    server.answers(reply(bytes(1_000_000)))
    async with opened(connections=1, pool_timeout=0.05) as session:
        holder = await session.exchange(server.origin, "GET", "/", HEADERS)
        with pytest.raises(PoolTimeoutError, match="max_pool_connections") as caught:
            await get(session, server)
        assert isinstance(caught.value, ConnectTimeoutError)
        assert len(server.requests) == 1
        holder.close()
        assert (await get(session, server))[0] == 200


async def test_a_busy_pool_is_not_a_stuck_one(server: Server) -> None:
    """A waiter behind others may wait longer than the pool timeout as long as slots are given back."""
    server.answers(reply(bytes(1_000_000)))

    async def hold(session: HTTPSession) -> None:
        response = await session.exchange(server.origin, "GET", "/", HEADERS)
        await asyncio.sleep(0.06)
        response.close()

    async with opened(connections=1, pool_timeout=0.15) as session:
        await asyncio.gather(*(hold(session) for _ in range(5)))


async def test_the_pool_timeout_defaults_to_the_read_timeout() -> None:
    """Without one of its own the wait for a slot is bounded by the read timeout; it can be set."""
    async with HTTPSession(timeout=(1, 7)) as session:
        assert session.pool_timeout == 7
        session.pool_timeout = 3
        assert session.pool_timeout == 3
    async with HTTPSession(timeout=9, connector_args={"pool_timeout": 2}) as session:
        assert session.pool_timeout == 2


async def test_cancelled_waiters_leave_the_line(server: Server) -> None:
    """A waiter that is cancelled neither keeps its place nor takes a slot."""
    server.answers(reply(bytes(1_000_000)))
    async with opened(connections=1) as session:
        holder = await session.exchange(server.origin, "GET", "/", HEADERS)
        waiters = [asyncio.create_task(get(session, server)) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        waiters[2].cancel()
        holder.close()
        assert (await waiters[1])[0] == 200
        await asyncio.wait(waiters)
        assert (await get(session, server))[0] == 200


async def test_a_waiter_cancelled_in_the_moment_it_is_served_passes_the_slot_on(server: Server) -> None:
    """Cancelled between being granted a slot and running again, a waiter gives the slot to the next."""
    server.answers(reply(bytes(1_000_000)))
    for reusable in (False, True):
        async with opened(connections=1) as session:
            holder = await session.exchange(server.origin, "GET", "/", HEADERS)
            waiters = [asyncio.create_task(get(session, server)) for _ in range(2)]
            await asyncio.sleep(0)
            if reusable:
                while not holder.at_end:
                    await holder.readany()
            holder.close()
            waiters[0].cancel()
            assert (await waiters[1])[0] == 200
            assert waiters[0].cancelled()


async def test_an_idle_connection_gives_way_to_another_origin(server: Server) -> None:
    """With all slots idle elsewhere, a request to a new origin closes the oldest of them and goes ahead."""
    server.answers(reply(b"one"))
    async with Server() as other, opened(connections=1) as session:
        other.answers(reply(b"two"))
        for _ in range(2):
            assert await get(session, server) == (200, b"one")
            assert await get(session, other) == (200, b"two")
        assert (server.connections, other.connections) == (2, 2)


async def test_a_connection_given_back_serves_a_waiter_for_another_origin(server: Server) -> None:
    """A waiter for another origin takes over the slot, not the connection."""
    server.answers(reply(b"one"))
    async with Server() as other, opened(connections=1) as session:
        other.answers(reply(bytes(1_000_000)))
        holder = await session.exchange(other.origin, "GET", "/", HEADERS)
        waiting = asyncio.create_task(get(session, server))
        await asyncio.sleep(0)
        assert len(await holder.read()) == 1_000_000
        assert await waiting == (200, b"one")


async def test_idle_connections_close_in_time(server: Server) -> None:
    """An idle connection is closed after the keep-alive time, without any request."""
    server.answers(reply(b"hello"))
    async with opened(connector_args={"keepalive_timeout": 0.05}) as session:
        await get(session, server)
        assert session.statistics().idle == 1
        await asyncio.sleep(0.1)
        assert session.statistics().idle == 0
        await get(session, server)
        assert server.connections == 2


async def test_force_close_keeps_nothing(server: Server) -> None:
    """With `force_close` each request has its own connection."""
    server.answers(reply(b"hello"))
    async with opened(connector_args={"force_close": True}) as session:
        for _ in range(2):
            await get(session, server)
        assert server.connections == 2


# Stale connections


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
    """A POST or a conditional write that got no answer is an error: doing it twice would tell a false story."""
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


# The end of the session


async def test_closing_the_session_fails_what_runs(server: Server) -> None:
    """Requests, waiters and open bodies end with an error when the session closes, and later ones at once."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await peer.wait_closed()

    async def silent(peer: Peer) -> None:
        await peer.wait_closed()

    server.script = script
    session = HTTPSession(timeout=(5, 5), max_pool_connections=2)
    async with session:
        response = await session.exchange(server.origin, "GET", "/", HEADERS)
        server.script = silent
        tasks = [asyncio.create_task(get(session, server)) for _ in range(3)]
        await turns()
    for task in tasks:
        with pytest.raises(HTTPClientError, match="session was closed"):
            await task
    assert await response.read(5) == b"hello"
    with pytest.raises(HTTPClientError):
        await response.read()
    with pytest.raises(HTTPClientError, match="session is closed"):
        await get(session, server)
    await session.close()


async def test_a_session_can_be_opened_again(server: Server) -> None:
    """aiobotocore's session may be entered again after it was closed; so may this one."""
    server.answers(reply(b"hello"))
    session = HTTPSession(timeout=(5, 5))
    for _ in range(2):
        async with session:
            assert await get(session, server) == (200, b"hello")


async def test_no_timer_outlives_the_session(server: Server) -> None:
    """A closed session leaves nothing scheduled that refers to it."""
    server.answers(reply(b"hello"))
    async with opened() as session:
        await get(session, server)
        assert session._pool._timer is not None
    assert session._pool._timer is None
    assert not session._pool._sockets


async def test_a_connection_lost_before_its_waiter_runs_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that dies between being handed over and being used sends its waiter back, first in line."""
    server.answers(reply(bytes(1_000_000)), reply(b"hello"))
    async with opened(connections=1) as session:
        holder = await session.exchange(server.origin, "GET", "/", HEADERS)
        waiting = asyncio.create_task(get(session, server))
        await asyncio.sleep(0)
        release = session._pool.release

        def lost(connection: Connection) -> None:
            release(connection)
            connection.close()

        monkeypatch.setattr(session._pool, "release", lost)
        assert len(await holder.read()) == 1_000_000
        monkeypatch.undo()
        assert (await waiting)[0] == 200
        assert server.connections == 2
