"""Request bodies of every kind arrive whole, and no server can keep the sender waiting for ever."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError

from greenlang_async_storage.fastpath.transport import HTTPSession, _sending
from greenlang_async_storage.fastpath.transport._response import Response
from tests.fastpath.transport.wire import Peer, Server, opened, reply

pytestmark = pytest.mark.asyncio

SIZES = [0, 1, 1024, 32_768, 32_769, 262_144, 262_145, 3_000_000]


async def put(
    session: HTTPSession,
    server: Server,
    body: Any,
    *,
    length: int | None = None,
    expect: bool = False,
    is_chunked: bool = False,
    method: str = "PUT",
) -> Response:
    """The response to one request with a body."""
    size = length if length is not None else len(body) if hasattr(body, "__len__") else 0
    headers = [("Host", "test")]
    headers.append(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(size)))
    if expect:
        headers.append(("Expect", "100-continue"))
    return await session.exchange(server.origin, method, "/key", headers, body, content_length=length)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("expect", [False, True])
async def test_a_buffer_arrives_whole(
    server: Server, size: int, kind: Callable[[bytes], object], expect: bool
) -> None:
    """Buffers of any size and kind arrive as they are, with and without `100 Continue`, on one connection."""
    data = os.urandom(size)
    server.answers(reply(b"done"))
    async with opened() as session:
        for _ in range(2):
            response = await put(session, server, kind(data), length=size, expect=expect)
            assert await response.read() == b"done"
        assert [request.body for request in server.requests] == [data] * 2
        assert server.connections == 1


@pytest.mark.parametrize("size", SIZES)
async def test_a_buffer_in_chunks_arrives_whole(server: Server, size: int) -> None:
    """With Transfer-Encoding: chunked a buffer is framed, piece by piece when it is large."""
    data = os.urandom(size)
    server.answers(reply(b"done"))
    async with opened() as session:
        for _ in range(2):
            response = await put(session, server, data, is_chunked=True)
            assert await response.read() == b"done"
        assert [request.body for request in server.requests] == [data] * 2
        assert server.connections == 1


async def test_a_buffer_of_wider_items_is_sent_as_bytes(server: Server) -> None:
    """A memoryview of another item size is sent as the bytes it holds."""
    import array

    server.answers(reply())
    async with opened() as session:
        items = array.array("I", range(20_000))
        await put(session, server, memoryview(items), length=80_000)
        assert server.requests[0].body == items.tobytes()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]
        yield b""


def _iterator(data: bytes) -> Iterator[bytes]:
    yield data[:10]
    yield data[10:]


class AsyncReader:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(size)


SOURCES: dict[str, Callable[[bytes, Path], Any]] = {
    "BytesIO": lambda data, _: io.BytesIO(data),
    "file": lambda _, path: path.open("rb"),
    "async reader": lambda data, _: AsyncReader(data),
    "async iterator": lambda data, _: _pieces(data),
    "iterator": lambda data, _: _iterator(data),
}


@pytest.mark.parametrize("size", [0, 1, 1024, 1_048_576, 3_000_000])
@pytest.mark.parametrize("expect", [False, True])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_arrives_whole(  # noqa: PLR0917 - parameters
    server: Server, tmp_path: Path, kind: str, is_chunked: bool, expect: bool, size: int
) -> None:
    """Files, readers and iterables arrive whole, by length or in chunks, and leave the connection usable."""
    data = os.urandom(size)
    path = tmp_path / "body"
    path.write_bytes(data)
    server.answers(reply(b"done"))
    async with opened() as session:
        for _ in range(2):
            source = SOURCES[kind](data, path)
            response = await put(session, server, source, length=size, expect=expect, is_chunked=is_chunked)
            assert await response.read() == b"done"
            if kind == "file":
                source.close()
        assert [request.body for request in server.requests] == [data] * 2
        assert server.connections == 1


async def test_a_file_is_sent_from_where_it_stands_for_its_length(server: Server, tmp_path: Path) -> None:
    """Of a file, *content_length* bytes from its position are sent; the rest is left."""
    path = tmp_path / "body"
    path.write_bytes(b"0123456789")
    server.answers(reply())
    async with opened() as session:
        with path.open("rb") as file:
            file.seek(2)
            await put(session, server, file, length=5)
        assert server.requests[0].body == b"23456"


async def test_an_iterable_is_sent_for_its_length(server: Server) -> None:
    """Of an iterable that gives more than was announced, the announced length is sent and no more."""
    server.answers(reply(b"done"))
    async with opened() as session:
        for _ in range(2):
            response = await put(session, server, _pieces(b"x" * 150_000), length=120_000)
            assert await response.read() == b"done"
        assert [len(request.body) for request in server.requests] == [120_000] * 2
        assert server.connections == 1


@pytest.mark.parametrize("kind", ["file", "async iterator"])
async def test_a_source_that_is_too_short_is_an_error(server: Server, tmp_path: Path, kind: str) -> None:
    """A body that ends before its Content-Length raises, and its connection is not used again."""
    data = b"x" * 70_000
    path = tmp_path / "body"
    path.write_bytes(data)
    server.answers(reply())
    source = SOURCES[kind](data, path)
    async with opened() as session:
        with pytest.raises(HTTPClientError, match="ended 10 bytes before its Content-Length of 70010"):
            await put(session, server, source, length=70_010)
        assert session.statistics().idle == 0
    if kind == "file":
        source.close()


async def test_a_source_that_fails_ends_the_request(server: Server) -> None:
    """An exception of the body's producer is the cause of the error; the connection is closed."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("no more")

    server.answers(reply())
    async with opened() as session:
        with pytest.raises(HTTPClientError, match="no more"):
            await put(session, server, failing(), is_chunked=True)
        assert session.statistics().idle == 0


async def test_what_cannot_be_sent_is_refused_before_anything_is(server: Server) -> None:
    """An object that is no body, or a file without a length, raises before a connection is made."""
    async with opened() as session:
        with pytest.raises(TypeError, match="a request body cannot be object"):
            await put(session, server, object(), length=1)
        with pytest.raises(ValueError, match="has 5 bytes, its Content-Length says 4"):
            await put(session, server, b"hello", length=4)
        with pytest.raises(ValueError, match="contradicts"):
            await session.exchange(
                server.origin, "PUT", "/", [("Content-Length", "5")], b"hello", content_length=4
            )
        headers = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
        with pytest.raises(ValueError, match="contradicts"):
            await session.exchange(server.origin, "PUT", "/", headers, b"hello")
        with pytest.raises(ValueError, match="needs Content-Length"):
            await session.exchange(server.origin, "PUT", "/", [], cast("Any", _pieces(b"")))
        assert server.connections == 0


# 100-continue


async def test_without_100_continue_the_body_goes_after_the_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never says `100 Continue` gets the body once the wait is over."""
    monkeypatch.setattr(_sending, "CONTINUE_WAIT", 0.02)

    async def script(peer: Peer) -> None:
        request = await peer.head()
        request.body = await peer.body(request)
        server.requests.append(request)
        await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"done"))

    server.script = script
    async with opened() as session:
        response = await put(session, server, b"hello", expect=True)
        assert await response.read() == b"done"
        assert server.requests[0].body == b"hello"


@pytest.mark.parametrize("kind", ["buffer", "async iterator"])
async def test_a_final_answer_instead_of_100_keeps_the_body_back(server: Server, kind: str) -> None:
    """417 (or any answer) instead of `100 Continue` is the response; the body stays here."""

    async def script(peer: Peer) -> None:
        server.requests.append(await peer.head())
        await peer.say(reply(b"no", status="417 Expectation Failed"))
        assert await peer.reader.read() == b"", "the body was sent all the same"

    server.script = script
    async with opened() as session:
        for _ in range(2):
            body: Any = b"hello" if kind == "buffer" else _pieces(b"hello")
            response = await put(session, server, body, length=5, expect=True)
            assert (response.status, await response.read()) == (417, b"no")
            response.close()
        assert server.connections == 2


async def test_expect_without_a_body_waits_for_nothing(server: Server) -> None:
    """`Expect` on a request without a body does not hold anything up."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(reply(b"done"))

    server.script = script
    async with opened() as session:
        headers = [("Host", "test"), ("Expect", "100-continue")]
        response = await session.exchange(server.origin, "GET", "/key", headers)
        assert await response.read() == b"done"


# Early answers


@pytest.mark.parametrize("kind", ["buffer", "async iterator"])
async def test_an_early_refusal_is_returned_and_the_connection_closed(server: Server, kind: str) -> None:
    """An error that comes while the body is still being sent is the response; the rest is not sent."""
    size = 12_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(reply(b"too large", status="413 Too Large"))
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        body: Any = bytes(size) if kind == "buffer" else _pieces(bytes(size))
        response = await put(session, server, body, length=size)
        assert (response.status, await response.read()) == (413, b"too large")
        assert session.statistics().idle == 0


async def test_an_early_success_does_not_cut_the_body_short(server: Server) -> None:
    """A 200 whose body still comes does not stop the sending: what is acknowledged was sent."""
    size = 12_000_000
    received = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        request = await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
        received.set_result(len(await peer.body(request)))
        await peer.say(b"ay")
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        response = await put(session, server, bytes(size))
        assert response.status == 200
        assert await received == size
        assert await response.read() == b"okay"


# Deadlines


@pytest.mark.parametrize("kind", ["buffer", "async iterator"])
async def test_a_server_that_stops_reading_is_a_read_timeout(server: Server, kind: str) -> None:
    """A PUT whose server takes no bytes ends after the read timeout."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    server.script = script
    async with opened(timeout=(5, 0.1)) as session:
        body: Any = bytes(12_000_000) if kind == "buffer" else _pieces(bytes(12_000_000))
        with pytest.raises(ReadTimeoutError) as caught:
            await put(session, server, body, length=12_000_000)
        assert "took no more of the request" in str(caught.value.kwargs["error"])


@pytest.mark.parametrize("expect", [False, True])
async def test_a_server_that_never_answers_is_a_read_timeout(server: Server, expect: bool) -> None:
    """A PUT whose server reads and says nothing, not even `100 Continue`, ends after the read timeout."""

    async def script(peer: Peer) -> None:
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.1)) as session:
        with pytest.raises(ReadTimeoutError):
            await put(session, server, b"hello", expect=expect)


async def test_a_slow_producer_is_not_a_slow_server(server: Server) -> None:
    """Time that the body's own producer takes does not count towards the read timeout."""
    server.answers(reply(b"done"))

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.5)
        yield b"b"

    async with opened(timeout=(5, 0.3)) as session:
        response = await put(session, server, slow(), is_chunked=True)
        assert await response.read() == b"done"
        assert server.requests[0].body == b"ab"


async def test_a_server_that_reads_slowly_is_no_timeout(server: Server) -> None:
    """As long as the server takes bytes, a PUT may last longer than the read timeout."""
    size = 8_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(8):
            await asyncio.sleep(0.1)
            await peer.reader.readexactly(size // 8)
        await peer.say(reply(b"done"))
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.5)) as session:
        response = await put(session, server, bytes(size))
        assert await response.read() == b"done"


async def test_a_reset_while_sending_is_a_closed_connection(server: Server) -> None:
    """RST in the middle of the body is ConnectionClosedError, at once."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(100_000)
        peer.reset()

    server.script = script
    async with opened() as session:
        with pytest.raises(ConnectionClosedError):
            await put(session, server, bytes(12_000_000))
