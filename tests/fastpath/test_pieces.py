"""A body of several buffers is one body to everybody: the server, a file's reader, and botocore."""

from __future__ import annotations

import io
import os
import random
from typing import Any

import pytest

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._pieces import Pieces
from tests.fastpath.recorders import Reply, twins
from tests.fastpath.transport.wire import HEADERS, Peer, Server, opened, reply

DATA = os.urandom(1_500_000)
CUTS = (0, 1, 2, 700_000, 700_000, len(DATA))
PIECES = tuple(memoryview(DATA)[start:stop] for start, stop in zip(CUTS, (*CUTS[1:], len(DATA)), strict=True))


def test_pieces_are_a_binary_file() -> None:
    """Whole, by size, from any position, from the end: the same bytes as of one buffer."""
    pieces, plain, choose = (
        Pieces((b"abc", bytearray(b""), memoryview(b"defgh"))),
        b"abcdefgh",
        random.Random(1),
    )
    assert (len(pieces), pieces.plain(), pieces.readable(), pieces.seekable()) == (8, plain, True, True)
    for _ in range(200):
        position, size = choose.randrange(10), choose.randrange(5)
        assert pieces.seek(position) == min(position, 8) == pieces.tell()
        found = b""
        while len(found) < size and (piece := pieces.read(size - len(found))):
            found += piece
        assert found == plain[position : position + size]
    assert pieces.seek(-3, io.SEEK_END) == 5
    assert pieces.seek(1, io.SEEK_CUR) == 6
    assert pieces.read() == b"gh"
    assert Pieces(()).read() == b""
    assert len(Pieces((memoryview(bytes(8)).cast("I"),))) == 8


@pytest.mark.asyncio
async def test_pieces_arrive_as_one_body() -> None:
    """With and without `100 Continue`, and again from the start when the connection turns out closed."""
    async with Server() as server, opened() as session:

        async def script(peer: Peer) -> None:
            server.requests.append(await peer.request())
            await peer.say(reply(b"done"))
            if server.connections == 2:
                server.requests.append(await peer.request())
                await peer.say(reply(b"done"))

        server.script = script
        body: Any = fastpath.Payload(PIECES).data
        for expect in ([], [], [("Expect", "100-continue")]):
            headers = [*HEADERS, ("Content-Length", str(len(DATA))), *expect]
            response = await session.exchange(
                server.origin,
                "PUT",
                "/key",
                headers,
                body,
                content_length=len(DATA),
            )
            assert await response.read() == b"done"
        assert [request.body for request in server.requests] == [DATA] * 3
        assert server.connections == 2


@pytest.mark.asyncio
@pytest.mark.usefixtures("frozen", "recorded")
@pytest.mark.allow_blocking("the double of the transport reads the pieces in place")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_is_known_or_unsigned_is_not_hashed(scheme: str) -> None:
    """`UNSIGNED` goes out in the place of the digest; without either the pieces are hashed."""
    arguments: dict[str, Any] = {"Bucket": "bucket", "Key": "key", "ChecksumCRC32": "AAAAAA=="}
    async with twins(endpoint_url=f"{scheme}://localhost:9000") as pair:
        pair.expect(Reply(200), Reply(200), Reply(200))
        await pair.plain.put_object(Body=DATA, **arguments)
        await pair.fast.put_object(Body=fastpath.Payload(PIECES), **arguments)
        await pair.fast.put_object(Body=fastpath.Payload(PIECES, fastpath.Payload.UNSIGNED), **arguments)
        (plain,), (hashed, unsigned) = pair.plain_session.sent, pair.fast_session.sent
        assert hashed == plain
        assert dict(unsigned.headers)["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
