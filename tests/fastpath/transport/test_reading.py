"""Bodies are read in every way, with bounded memory, and a reader may go on after a cancel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from aiobotocore.response import AioReadTimeoutError

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession, TruncatedBodyError, _body
from greenlang_async_storage.fastpath.transport._connection import Connection
from greenlang_async_storage.fastpath.transport._response import Response, StreamedResponse
from tests.fastpath.transport.wire import HEADERS, Peer, Server, chunked, opened, reply

pytestmark = pytest.mark.asyncio

SIZES = [0, 1, 1000, 65_536, 300_000, 3_000_000]


async def fetch(session: HTTPSession, server: Server) -> Response:
    """A response to GET."""
    return await session.exchange(server.origin, "GET", "/key", HEADERS)


async def _all(response: Response) -> bytes:
    return await response.read()


async def _by_size(response: Response) -> bytes:
    found = b""
    while piece := await response.read(10_000):
        assert len(piece) <= 10_000
        found += piece
    return found


async def _any(response: Response) -> bytes:
    found = b""
    while piece := await response.readany():
        found += piece
    return found


async def _into(response: Response) -> bytes:
    found = b""
    buffer = bytearray(70_000)
    while count := await response.readinto(memoryview(buffer)):
        found += buffer[:count]
        if count < len(buffer):
            assert await response.readinto(memoryview(buffer)) == 0
    return found


async def _into_one(response: Response) -> bytes:
    buffer = bytearray(4_000_000)
    count = await response.readinto(memoryview(buffer))
    return bytes(buffer[:count])


async def _mixed(response: Response) -> bytes:
    buffer = bytearray(50_000)
    found = await response.read(3)
    found += await response.readany()
    count = await response.readinto(memoryview(buffer))
    return found + buffer[:count] + await response.read()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("way", [_all, _by_size, _any, _into, _into_one, _mixed])
async def test_every_way_of_reading_gives_the_body(
    server: Server, way: Callable[[Response], Awaitable[bytes]], framing: str, size: int
) -> None:
    """Whole, by size, as it comes, into a buffer: the same bytes, and then `b""`."""
    data = os.urandom(size)
    if framing == "length":
        server.answers(reply(data))
    elif framing == "chunked":
        server.answers(chunked(*(data[at : at + 50_000] for at in range(0, size, 50_000))))
    else:

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\n\r\n" + data)

        server.script = script
    async with opened() as session:
        for _ in range(2):
            response = await fetch(session, server)
            assert await way(response) == data
            assert await response.read() == b""
            assert await response.readany() == b""
            assert await response.read(0) == b""
            assert response.at_end
            response.close()
        assert server.connections == (2 if framing == "close" else 1)


async def test_an_error_after_some_bytes_comes_after_those_bytes(server: Server) -> None:
    """`readinto` gives what arrived before the connection broke, and raises the next time, and every time."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 400_000)

    server.script = script
    async with opened() as session:
        response = await fetch(session, server)
        buffer = bytearray(1_000_000)
        assert await response.readinto(memoryview(buffer)) == 400_000
        for _ in range(2):
            with pytest.raises(TruncatedBodyError) as caught:
                await response.readinto(memoryview(buffer))
            assert (caught.value.received, caught.value.expected) == (400_000, 1_000_000)


@pytest.mark.parametrize("announced", [1_000_000, 10**12])
async def test_reading_a_truncated_body_whole_raises(server: Server, announced: int) -> None:
    """`read()` never gives less than was announced, and an absurd length allocates nothing in advance."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % announced + b"x" * 400_000)

    server.script = script
    async with opened() as session:
        response = await fetch(session, server)
        with pytest.raises(TruncatedBodyError):
            await response.read()


async def _one_piece(response: Response) -> bytes:
    return await response.read(100_000)


@pytest.mark.parametrize("way", [_all, _into_one, _any, _one_piece])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_cancelled_read_loses_nothing(
    server: Server, way: Callable[[Response], Awaitable[bytes]], framing: str
) -> None:
    """After a read was cancelled half-way, the next one gives the bytes that read had taken."""
    data = os.urandom(500_000)
    started, go_on = asyncio.Event(), asyncio.Event()
    wire = reply(data) if framing == "length" else chunked(data)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(wire[:100_000])
        await started.wait()
        await peer.say(wire[100_000:200_000])
        await go_on.wait()
        await peer.say(wire[200_000:])
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        response = await fetch(session, server)
        reading = asyncio.create_task(_until_blocked(way, response))
        await asyncio.sleep(0.02)
        started.set()
        await asyncio.sleep(0.05)
        reading.cancel()
        taken = await reading
        go_on.set()
        assert taken + await response.read() == data
        assert session.statistics().idle == 1


async def _until_blocked(way: Callable[[Response], Awaitable[bytes]], response: Response) -> bytes:
    """What complete reads gave before the cancel; `_any` reads several times."""
    taken = b""
    try:
        if way is _any:
            while piece := await response.readany():
                taken += piece
        else:
            while True:
                taken += await way(response)
    except asyncio.CancelledError:
        pass
    return taken


async def test_a_slow_reader_stops_the_server(server: Server) -> None:
    """While nobody reads, at most the high-water mark and one receive are held, and nothing times out."""
    size = 50_000_000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(reply(bytes(size)))
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.1)) as session:
        response = await fetch(session, server)
        assert isinstance(response, StreamedResponse)
        await asyncio.sleep(0.3)
        assert response._body._buffered <= _body.HIGH_WATER + len(session._pool.scratch)
        total = len(await response.read(1))
        while piece := await response.readany():
            total += len(piece)
        assert total == size


async def test_a_body_that_stops_coming_is_a_read_timeout(server: Server) -> None:
    """A body that stops for the read timeout raises the error aiobotocore raises, and frees the slot."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.05), connections=1) as session:
        response = await fetch(session, server)
        assert await response.read(5) == b"hello"
        with pytest.raises(AioReadTimeoutError) as caught:
            await response.read()
        assert isinstance(caught.value, asyncio.TimeoutError)
        assert session.statistics().in_use == 0


async def test_a_slow_body_is_no_timeout_while_bytes_come(server: Server) -> None:
    """The read timeout is for each wait, not for the body."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.1)
            await peer.say(b"x")

    server.script = script
    async with opened(timeout=(5, 0.5)) as session:
        response = await fetch(session, server)
        assert await response.read() == b"xxxxxx"


async def test_a_reader_that_pauses_is_no_timeout(server: Server) -> None:
    """Between reads nobody waits for the server, however long it takes."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.02)
        await peer.say(b"a")
        await go_on.wait()
        await peer.say(b"b")

    server.script = script
    async with opened(timeout=(5, 0.3)) as session:
        response = await fetch(session, server)
        assert await response.read(1) == b"a"
        await asyncio.sleep(0.5)
        go_on.set()
        assert await response.read() == b"b"


async def test_a_body_that_ends_over_the_mark_leaves_a_reading_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last chunk also fills the buffer, the connection still serves the next request."""

    async def script(peer: Peer) -> None:
        wire = chunked(bytes(200_000), bytes(100_000))
        while True:
            await peer.request()
            await peer.say(wire[:200_100])
            await asyncio.sleep(0.02)
            await peer.say(wire[200_100:])

    server.script = script
    released = asyncio.Event()
    async with opened() as session:
        release = session._pool.release

        def told(connection: Connection) -> None:
            release(connection)
            released.set()

        monkeypatch.setattr(session._pool, "release", told)
        for _ in range(2):
            released.clear()
            response = await fetch(session, server)
            await released.wait()
            assert session.statistics().in_use == 0
            assert len(await response.read()) == 300_000
        assert server.connections == 1


async def test_a_closed_response_frees_its_slot_and_its_connection(server: Server) -> None:
    """`close` on a half-read body closes the connection, on a whole one keeps it; reading on is an error."""
    server.answers(reply(bytes(1_000_000)))
    async with opened(connections=1) as session:
        response = await fetch(session, server)
        await response.read(10)
        response.close()
        response.close()
        assert session.statistics().in_use == session.statistics().idle == 0
        with pytest.raises(TruncatedBodyError, match="closed before its end"):
            await response.read()
        response = await fetch(session, server)
        while not response.at_end:
            await response.readany()
        response.close()
        assert session.statistics().idle == 1


async def test_a_response_closed_before_it_was_read_keeps_a_complete_connection(server: Server) -> None:
    """A small body that came with its head holds no slot, read or not."""
    server.answers(reply(b"hello"))
    async with opened(connections=1) as session:
        first = await fetch(session, server)
        second = await fetch(session, server)
        second.close()
        assert await second.read() == b""
        assert await first.read() == b"hello"
        assert server.connections == 1


async def test_a_dropped_response_warns_and_frees_its_slot(server: Server) -> None:
    """A half-read response that goes to the collector closes its connection and warns."""
    server.answers(reply(bytes(1_000_000)))
    async with opened(connections=1) as session:
        response = await fetch(session, server)
        await asyncio.sleep(0)  # the loop itself refers to the response while this step of the task runs
        held = [response]
        del response
        with pytest.warns(ResourceWarning, match="dropped half-read"):
            held.clear()
        await asyncio.sleep(0)
        assert session.statistics().in_use == 0
        (await fetch(session, server)).close()


async def test_two_readers_of_one_body_are_refused(server: Server) -> None:
    """A second concurrent read is a RuntimeError, not a mix of both."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        response = await fetch(session, server)
        await response.read(5)
        reading = asyncio.create_task(response.read(5))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader at a time"):
            await response.read(5)
        reading.cancel()
        await asyncio.wait([reading])
        response.close()


class _Source:
    """A connection that notes whether its socket is read."""

    def __init__(self) -> None:
        self.reading = True

    def receive_into(self, target: memoryview | None) -> None:
        """Nothing is received in place here."""

    def set_reading(self, *, reading: bool) -> None:
        self.reading = reading

    def run_deadline(self, *, running: bool) -> None:
        """No timer here."""

    def give_up(self) -> None:
        raise AssertionError("nobody gives up")


async def test_a_loop_that_reads_on_in_one_callback_is_stopped() -> None:
    """A loop like libuv goes on reading before the reader it woke has run: memory stays bounded."""
    source = _Source()
    body = _body.Body(source, Origin("http", "localhost", 80), "/key", 100 * _body.HIGH_WATER, raw=False)
    reading = asyncio.create_task(body.readany())
    await asyncio.sleep(0)
    fed = 0
    while source.reading:
        body.feed(bytes(_body.HIGH_WATER))
        fed += 1
        assert fed <= 3
    assert len(await reading) == _body.HIGH_WATER
    await body.readany()
    assert source.reading
