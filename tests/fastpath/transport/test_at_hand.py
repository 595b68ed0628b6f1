"""A body that waits in the socket when its head is read is taken at once, and no other."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from greenlang_async_storage.fastpath.transport import _at_hand
from greenlang_async_storage.fastpath.transport._errors import ConnectionLostError
from greenlang_async_storage.fastpath.transport._response import StreamedResponse, WholeResponse
from tests.fastpath.transport.wire import HEADERS, Peer, Server, opened, reply

DATA = os.urandom(60_000)
MOST = 1 << 20

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of one stream."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_what_waits_is_taken_whole(pair: Pair) -> None:
    """The body is what came with the head and then exactly the rest; the next reply stays in the socket."""
    ours, theirs = pair
    theirs.sendall(DATA[10:] + b"next")
    assert _at_hand.take(ours, memoryview(DATA[:10]), len(DATA), MOST) == DATA
    assert _at_hand.waiting(ours) == 4


@pytest.mark.parametrize("most", [MOST, 1000])
def test_what_is_not_all_there_is_left_alone(pair: Pair, most: int) -> None:
    """A byte too few, or more than one callback may take: nothing is received."""
    ours, theirs = pair
    sent = DATA[10:] if most < len(DATA) else DATA[10:-1]
    theirs.sendall(sent)
    assert _at_hand.take(ours, memoryview(DATA[:10]), len(DATA), most) is None
    assert _at_hand.waiting(ours) == len(sent)


def test_a_socket_that_gives_less_than_it_said_is_a_lost_connection(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a short body nor an endless loop."""
    ours, theirs = pair
    theirs.sendall(DATA[:-10])
    theirs.close()
    monkeypatch.setattr(_at_hand, "waiting", lambda _: len(DATA))
    with pytest.raises(ConnectionLostError):
        _at_hand.take(ours, memoryview(b""), len(DATA), MOST)


@pytest.mark.asyncio
async def test_a_reply_that_has_arrived_holds_no_connection(server: Server) -> None:
    """A body larger than the scratch buffer: whole when all of it waits, streamed when its end is missing."""
    data = os.urandom(900_000)
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        await peer.request()
        await peer.say(reply(data))
        await peer.request()
        await peer.say(reply(data)[:-1])
        await go_on.wait()
        await peer.say(data[-1:])
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        kinds = []
        for last in (False, True):
            response = await session.exchange(server.origin, "GET", "/key", HEADERS)
            kinds.append(type(response))
            if last:
                go_on.set()
            assert await response.read() == data
        assert kinds[1] is StreamedResponse
        # Whether the kernel had all of the first one is not ours to say; the unit tests above settle it.
        assert kinds[0] in {WholeResponse, StreamedResponse}
        assert server.connections == 1
