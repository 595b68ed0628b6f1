"""Responses end where HTTP/1.1 says they end, however their bytes arrive."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import ConnectionClosedError, HTTPClientError

from greenlang_async_storage.fastpath.transport import TruncatedBodyError
from greenlang_async_storage.fastpath.transport._response import Response
from tests.fastpath.transport.wire import HEADERS, Peer, Server, chunked, get, opened, reply

pytestmark = pytest.mark.asyncio

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

WHOLE: dict[str, tuple[str, bytes, int, bytes]] = {
    "length": ("GET", reply(b"hello"), 200, b"hello"),
    "no body": ("GET", reply(b""), 200, b""),
    "chunked": ("GET", chunked(b"hel", b"lo"), 200, b"hello"),
    "chunked, nothing in it": ("GET", chunked(), 200, b""),
    "chunked with trailers": (
        "GET",
        chunked(b"hello", trailers="x-amz-checksum-crc32: AAAA==\r\n"),
        200,
        b"hello",
    ),
    "chunk extension": ("GET", chunked(b"hello").replace(b"5\r\n", b"5;name=value\r\n"), 200, b"hello"),
    "HEAD with a length": ("HEAD", reply(b"", headers="Content-Length: 5\r\n", length=False), 200, b""),
    "HEAD without a length": ("HEAD", reply(b"", length=False), 200, b""),
    "HEAD, chunked": ("HEAD", reply(b"", headers="Transfer-Encoding: chunked\r\n", length=False), 200, b""),
    "204": ("DELETE", reply(b"", status="204 No Content", length=False), 204, b""),
    "204 with a length": (
        "DELETE",
        reply(b"", status="204 No Content", headers="Content-Length: 5\r\n", length=False),
        204,
        b"",
    ),
    "304": (
        "GET",
        reply(b"", status="304 Not Modified", headers="Content-Length: 5\r\n", length=False),
        304,
        b"",
    ),
    "error": ("GET", reply(b"<Error/>", status="404 Not Found"), 404, b"<Error/>"),
    "100 before": ("GET", CONTINUE + reply(b"hello"), 200, b"hello"),
    "103 and 100 before": ("GET", EARLY_HINTS + CONTINUE + reply(b"hello"), 200, b"hello"),
    "no reason phrase": ("GET", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    "redirect, not followed": (
        "GET",
        reply(b"", status="301 Moved", headers="Location: http://127.0.0.1:1/\r\n"),
        301,
        b"",
    ),
}


@pytest.mark.parametrize("every", [None, 1, 7])
@pytest.mark.parametrize("case", WHOLE)
async def test_a_whole_response_leaves_its_connection_for_the_next(
    server: Server, case: str, every: int | None
) -> None:
    """Split at any byte, a complete response is read to its end and its connection serves the next."""
    method, wire, status, body = WHOLE[case]
    server.answers(wire, every=every)
    async with opened() as session:
        for _ in range(3):
            assert await get(session, server, method) == (status, body)
        assert server.connections == 1
        assert [request.method for request in server.requests] == [method] * 3


@pytest.mark.parametrize(
    "wire",
    [
        reply(b"hello", headers="Connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        reply(b"hello") + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        reply(b"hello") + b"x",
        chunked(b"hello") + b"HTTP/1.1 200 OK\r\n",
        chunked(b"hello") + b"x",
    ],
    ids=[
        "close",
        "HTTP/1.0",
        "another response",
        "a byte more",
        "chunks and a response",
        "chunks and a byte",
    ],
)
@pytest.mark.parametrize("every", [None, 1])
async def test_a_connection_that_cannot_be_told_clean_is_not_used_again(
    server: Server, wire: bytes, every: int | None
) -> None:
    """After `Connection: close`, HTTP/1.0, or bytes nobody asked for, the next request goes elsewhere."""
    server.answers(wire, every=every)
    async with opened() as session:
        for _ in range(2):
            assert await get(session, server) == (200, b"hello")
            await _closed(session)
        assert server.connections == 2


@pytest.mark.parametrize("every", [None, 1])
async def test_bytes_after_a_head_response_close_the_connection(server: Server, every: int | None) -> None:
    """A body sent with a response to HEAD is not taken for the next response."""
    server.answers(reply(b"HTTP/1.1 500 No\r\n\r\n"), every=every)
    async with opened() as session:
        for _ in range(2):
            assert await get(session, server, "HEAD") == (200, b"")
            await _closed(session)
        assert server.connections == 2


async def test_http_1_0_with_keep_alive_is_used_again(server: Server) -> None:
    """A server of HTTP/1.0 that asks for it keeps its connection."""
    server.answers(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello")
    async with opened() as session:
        for method in ("GET", "GET"):
            assert await get(session, server, method) == (200, b"hello")
        assert server.connections == 1


@pytest.mark.parametrize("every", [None, 1])
async def test_a_body_without_length_ends_with_the_connection(server: Server, every: int | None) -> None:
    """A body delimited by the end of the connection is read whole."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhello", every=every)

    server.script = script
    async with opened() as session:
        assert await get(session, server) == (200, b"hello")


@pytest.mark.parametrize(
    ("wire", "received", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 5, 10),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 0, 10),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 5, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", 5, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nhello\r\n", 5, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello5\r\nhello\r\n", 5, None),
    ],
    ids=["length", "length, nothing", "between chunks", "in a chunk", "bad chunk size", "chunk too long"],
)
@pytest.mark.parametrize("every", [None, 1])
async def test_a_truncated_body_is_an_error_that_says_how_much_came(
    server: Server, wire: bytes, received: int, expected: int | None, every: int | None
) -> None:
    """A body that ends early raises TruncatedBodyError with both lengths, and frees its slot."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(wire, every=every)

    server.script = script
    async with opened(connections=1) as session:
        response = await session.exchange(server.origin, "GET", "/key", HEADERS)
        data = bytearray()
        with pytest.raises(TruncatedBodyError) as caught:
            await _read_into(response, data)
        assert (caught.value.received, caught.value.expected) == (received, expected)
        assert bytes(data) == b"hello"[:received]


async def _read_into(response: Response, data: bytearray) -> None:
    while piece := await response.read(3):
        data += piece


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        CONTINUE,
    ],
    ids=["nothing", "in a header", "before the blank line", "after 100"],
)
async def test_a_connection_closed_before_the_head_is_complete_is_told_as_that(
    server: Server, wire: bytes
) -> None:
    """Without a complete head there is no response: ConnectionClosedError, as botocore retries."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(wire)

    server.script = script
    async with opened(connections=1) as session:
        with pytest.raises(ConnectionClosedError):
            await get(session, server)
        assert server.connections == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname: a\0b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(server: Server, wire: bytes) -> None:
    """Malformed and ambiguous heads raise HTTPClientError and close the connection."""
    server.answers(wire)
    async with opened(connections=1) as session:
        with pytest.raises(HTTPClientError) as caught:
            await get(session, server)
        assert not isinstance(caught.value, ConnectionClosedError)
        assert session.statistics().idle == 0


@pytest.mark.parametrize("every", [None, 1000])
@pytest.mark.parametrize("size", [65_000, 70_000, 300_000])
async def test_a_head_of_more_than_64_kib_is_refused(server: Server, size: int, every: int | None) -> None:
    """65,000 bytes of headers are read, 70,000 refused, whether they come at once or in pieces."""
    server.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: " + b"y" * size + b"\r\n\r\n", every=every)
    async with opened(connections=1) as session:
        if size <= 65_000:
            assert await get(session, server) == (200, b"")
            return
        with pytest.raises(HTTPClientError, match="longer than 65536 bytes"):
            await get(session, server)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        (b"", EARLY_HINTS),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;name=", b"v" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"trailer: value\r\n"),
    ],
    ids=["header", "interim responses", "chunk extension", "trailers"],
)
async def test_a_server_cannot_make_us_keep_a_head_without_end(
    server: Server, start: bytes, more: bytes
) -> None:
    """Headers, interim responses, chunk extensions and trailers that never end are cut off."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(start)
        while True:
            await peer.say(more * 20)

    server.script = script
    async with opened(connections=1) as session:
        with pytest.raises(HTTPClientError):
            await get(session, server)


async def test_repeated_headers_keep_their_order_and_lower_case_names(server: Server) -> None:
    """Header lines come as sent, names in lower case."""
    server.answers(reply(b"", headers="X-Amz-Meta-B: 1\r\nvary: Origin\r\nVary: Accept\r\n"))
    async with opened() as session:
        response = await session.exchange(server.origin, "GET", "/key", HEADERS)
        assert response.headers == [
            (b"content-length", b"0"),
            (b"x-amz-meta-b", b"1"),
            (b"vary", b"Origin"),
            (b"vary", b"Accept"),
        ]


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_break_out_of_its_line(server: Server, value: str) -> None:
    """CR, LF and NUL in a header are refused before anything is sent."""
    async with opened() as session:
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            await session.exchange(server.origin, "GET", "/key", [*HEADERS, ("x", value)])
        with pytest.raises(ValueError, match="holds a space"):
            await session.exchange(server.origin, "GET", "/key HTTP/1.1", HEADERS)
        assert server.connections == 0


async def _closed(session: object) -> None:
    """Wait until the loop has seen what the server sent after the response."""
    for _ in range(20):
        await asyncio.sleep(0)
