"""Handlers of the fast path: sockets that break at the worst moment, models and replies that are odd."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiobotocore.session
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionClosedError, HTTPClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import ResponseParserError
from botocore.serialize import RestXMLSerializer

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath import _call
from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._errors import plain_refusal
from greenlang_async_storage.fastpath._model import operation
from greenlang_async_storage.fastpath._template import template
from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import RawResponse, _at_hand, _session
from greenlang_async_storage.fastpath.transport._errors import ConnectionLostError
from greenlang_async_storage.fastpath.transport._tls import ended_on_purpose
from tests.fastpath.transport.wire import HEADERS, Peer, Server, get, opened, reply
from tests.support.tls import CertificateAuthority

pytestmark = pytest.mark.asyncio

_REFUSAL = b"<Error><Code>NoSuchKey</Code></Error>"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A server that says what the test says."""
    async with Server() as started:
        yield started


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def request_to(server: Server, method: str = "GET", body: object = None) -> Any:
    """A prepared request, as botocore makes it."""
    return AWSRequest(method, f"http://127.0.0.1:{server.port}/key", data=body).prepare()


# Connections.


async def test_f01_an_idle_connection_that_was_reset() -> None:
    """A POST, which must not be sent twice, looks first, and takes another connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()

        async def answer() -> socket.socket:
            peer, _ = await loop.sock_accept(listener)
            await loop.sock_recv(peer, 65_536)
            await loop.sock_sendall(peer, reply(b"hello"))
            return peer

        origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        first, second = asyncio.create_task(answer()), asyncio.create_task(answer())
        async with opened() as session:
            response = await session.exchange(origin, "GET", "/", HEADERS)
            assert await response.read() == b"hello"
            reset(await first)  # and from here to the look the loop does not run
            response = await session.exchange(origin, "POST", "/", [("Content-Length", "2")], b"hi")
            assert await response.read() == b"hello"
            assert session.statistics().opened == 2
        (await second).close()


@pytest.mark.allow_blocking("sockets without the loop, as the code under test has them")
async def test_f04_a_reset_between_the_look_and_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket said that the body waits, and then gives an error: a lost connection, with its cause."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        reset(theirs)
        monkeypatch.setattr(_at_hand, "waiting", lambda _: 10)
        with ours, pytest.raises(ConnectionLostError) as caught:
            _at_hand.take(ours, memoryview(b""), 10, 100)
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_f02_a_stream_that_cannot_start_again(server: Server) -> None:
    """The kept-alive connection was stale, and the producer has given its pieces: told, not sent in part."""

    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.say(reply(b"hello"))
        server.requests.append(await peer.request())

    async def produced() -> AsyncIterator[bytes]:
        yield b"once"

    server.script = script
    async with opened() as session:
        await get(session, server)
        with pytest.raises(ConnectionClosedError):
            await session.send(request_to(server, "PUT", produced()))
        assert [request.body for request in server.requests] == [b"", b"once"]


async def test_f19_a_cancel_before_the_head_at_botocores_door(server: Server) -> None:
    """A cancel is a cancel, not an error of HTTP, and the connection is given back."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.wait_closed()

    server.script = script
    async with opened() as session:
        await cancelled(asyncio.create_task(session.send(request_to(server))), asked)
        assert session.statistics().in_use == 0


async def test_f19_a_cancel_within_a_body_at_botocores_door(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply has begun and its body never ends: a cancel, and the connection is given back."""
    begun = asyncio.Event()

    class Begun(RawResponse):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.set()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(reply(b"hello")[:-1])
        await peer.wait_closed()

    monkeypatch.setattr(_session, "RawResponse", Begun)
    server.script = script
    async with opened() as session:
        await cancelled(asyncio.create_task(session.send(request_to(server))), begun)
        assert session.statistics().in_use == 0


async def cancelled(sending: asyncio.Task[Any], moment: asyncio.Event) -> None:
    """Cancel *sending* at that moment, and see it end so."""
    await moment.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_f04_a_header_nobody_can_read(server: Server) -> None:
    """Bytes that are no text: an error botocore's retries know, and the connection is given back."""
    server.answers(reply(b"hello").replace(b"\r\n\r\n", b"\r\nx-odd: \xff\r\n\r\n", 1))
    async with opened() as session:
        with pytest.raises(HTTPClientError):
            await session.send(request_to(server))
        assert session.statistics().in_use == 0


async def test_s06_an_end_that_both_sides_have_said(tmp_path: Path) -> None:
    """A close_notify counts as the server's own end also where ours has been sent before it is read."""
    authority = CertificateAuthority(tmp_path)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(authority.bundle))
    client = context.wrap_bio(back, there, server_hostname="localhost")
    peer = authority.server_context("localhost").wrap_bio(there, back, server_side=True)
    for step in (*(client.do_handshake, peer.do_handshake) * 2, peer.unwrap, client.unwrap):
        with contextlib.suppress(ssl.SSLWantReadError):
            step()
    assert ended_on_purpose(asyncio.BaseTransport({"ssl_object": client}))


# Models, parsers, heads.


async def test_f10_a_model_that_the_compiler_does_not_know() -> None:
    """A service model of the user's own that puts a member into an attribute: left to botocore, each time."""
    description = await asyncio.to_thread(Loader().load_service_model, "s3", "service-2")
    description["shapes"]["HeadObjectOutput"]["members"]["ETag"] = {"shape": "ETag", "xmlAttribute": True}
    model = ServiceModel(description, "s3")
    for _ in range(2):
        with pytest.raises(PassOn) as caught:
            operation(model, RestXMLSerializer(), "HeadObject")
        assert caught.value.reason == Reason.OPERATION


async def test_f10_a_refusal_that_the_parser_refuses() -> None:
    """No refusal that is plain: left to botocore, which tells it in its own way."""

    async def parse(*_: object) -> dict[str, Any]:
        raise ResponseParserError("not a reply")

    parsers = SimpleNamespace(create_parser=lambda _: SimpleNamespace(parse=parse))
    client: Any = SimpleNamespace(_endpoint=SimpleNamespace(_response_parser_factory=parsers))
    description = await asyncio.to_thread(Loader().load_service_model, "s3", "service-2")
    head = operation(ServiceModel(description, "s3"), RestXMLSerializer(), "GetObject")
    assert await plain_refusal(client, head, 404, {}, _REFUSAL, is_last=True) is None


@pytest.mark.allow_blocking("a client that is made outside a session reads botocore's files itself")
async def test_s09_a_line_break_in_the_user_agent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that would end its line: no template is made with it, and nothing is sent, call after call."""
    made: list[object] = []
    monkeypatch.setattr(_call, "template", lambda *arguments: made.append(template(*arguments)))
    session = aiobotocore.session.get_session()
    fastpath.enable(session)
    config = AioConfig(user_agent="mine\r\nx-injected: yes", retries={"total_max_attempts": 1})
    server.answers(reply())
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-central-1"}
    url = f"http://127.0.0.1:{server.port}"
    async with session.create_client("s3", endpoint_url=url, config=config, **keys) as client:
        for _ in range(2):
            with pytest.raises(ValueError, match="CR, LF or NUL"):
                await client.head_object(Bucket="bucket", Key="key")
    assert made == [None]
    assert server.requests == []
