"""Slots are shared fairly and never lost."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    HTTPClientError,
)

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
    """When nobody gives a slot back for the pool timeout, the waiter fails as a connect timeout, unsent."""
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
        await asyncio.sleep(0.1)
        response.close()

    async with opened(connections=1, pool_timeout=0.4) as session:
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
    async with opened(connector_args={"keepalive_timeout": 0.2}) as session:
        await get(session, server)
        assert session.statistics().idle == 1
        await asyncio.sleep(0.3)
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
    with pytest.raises(HTTPClientError, match=r"is closed .*'NoneType' object has no attribute 'get'"):
        await get(session, server)
    await session.close()


async def test_a_session_can_be_opened_again(server: Server) -> None:
    """The session of aiobotocore may be entered again after it was closed; so may this one."""
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
        assert len(session._pool._sockets) == 1
    assert not session._pool._sockets
    armed: object = session._pool._timer
    assert armed is None


async def test_a_connection_lost_before_its_waiter_runs_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that dies before its waiter runs sends the waiter back, first in line."""
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
