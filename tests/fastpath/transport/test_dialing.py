"""Names are looked up, every address is tried, and nothing waits longer than the connect timeout."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession
from greenlang_async_storage.fastpath.transport._dial import _in_turn
from tests.fastpath.transport.wire import HEADERS, Server, get, opened, reply

pytestmark = pytest.mark.asyncio


class Resolver:
    """Answers with the given addresses, as aiohttp's resolvers do."""

    def __init__(self, *hosts: str, failure: Exception | None = None) -> None:
        self.hosts = hosts
        self.failure = failure
        self.asked = 0

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[dict[str, Any]]:
        self.asked += 1
        await asyncio.sleep(0.01)
        if self.failure is not None:
            raise self.failure
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [{"host": address, "port": port, "family": kinds[":" in address]} for address in self.hosts]


def silent_listener() -> socket.socket:
    """A listener that completes no connection: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    return listener


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def fetch(session: HTTPSession, host: str, port: int) -> bytes:
    """The body of one response."""
    response = await session.exchange(Origin("http", host, port), "GET", "/key?a=1", HEADERS)
    return await response.read()


async def test_a_name_is_looked_up(server: Server) -> None:
    """A host name works, whichever of its addresses answers."""
    server.answers(reply(b"hello"))
    async with opened() as session:
        assert await fetch(session, "localhost", server.port) == b"hello"


async def test_ipv6() -> None:
    """An IPv6 address is connected to as it is."""
    async with Server(host="::1") as server, opened() as session:
        server.answers(reply(b"hello"))
        assert await get(session, server) == (200, b"hello")


async def test_a_refused_connection_says_where() -> None:
    """Nobody listening is EndpointConnectionError with the URL, and the slot is free."""
    port = closed_port()
    async with opened(connections=1) as session:
        for _ in range(2):
            with pytest.raises(EndpointConnectionError) as caught:
                await fetch(session, "127.0.0.1", port)
            assert caught.value.kwargs["endpoint_url"] == f"http://127.0.0.1:{port}/key?a=1"
            assert isinstance(caught.value.kwargs["error"], ConnectionRefusedError)


async def test_an_unknown_name_is_an_endpoint_error() -> None:
    """A failed lookup is EndpointConnectionError for all who wait for it, and is tried again later."""
    resolver = Resolver(failure=socket.gaierror(socket.EAI_NONAME, "no such name"))
    async with opened(connector_args={"resolver": resolver}) as session:
        results = await asyncio.gather(
            *(fetch(session, "no-such-bucket.test", 80) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [EndpointConnectionError] * 3
        assert resolver.asked == 1
        with pytest.raises(EndpointConnectionError):
            await fetch(session, "no-such-bucket.test", 80)
        assert resolver.asked == 2


async def test_a_lookup_is_shared_and_remembered(server: Server) -> None:
    """Concurrent connections to a name share one lookup; a cancelled one takes it from nobody."""
    server.answers(reply(b"hello"))
    resolver = Resolver("127.0.0.1")
    async with opened(connector_args={"resolver": resolver}) as session:
        tasks = [asyncio.create_task(fetch(session, "bucket.test", server.port)) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [b"hello"] * 3
        await asyncio.wait(tasks)
        assert resolver.asked == 1


async def test_without_a_dns_cache_each_connection_asks(server: Server) -> None:
    """`use_dns_cache=False` looks the name up for every connection."""
    server.answers(reply(b"hello"))
    resolver = Resolver("127.0.0.1")
    arguments = {"resolver": resolver, "use_dns_cache": False, "force_close": True}
    async with opened(connector_args=arguments) as session:
        for _ in range(2):
            await fetch(session, "bucket.test", server.port)
        assert resolver.asked == 2


async def test_the_next_address_is_tried(server: Server) -> None:
    """When an address refuses or does not answer, the next one serves."""
    server.answers(reply(b"hello"))
    arguments = {"resolver": Resolver("::1", "127.0.0.1")}
    async with opened(connector_args=arguments) as session:
        assert await fetch(session, "bucket.test", server.port) == b"hello"


async def test_when_every_address_refuses_all_are_named() -> None:
    """The error of several addresses tells what each of them said."""
    arguments = {"resolver": Resolver("127.0.0.1", "127.0.0.2")}
    async with opened(connector_args=arguments) as session:
        with pytest.raises(EndpointConnectionError) as caught:
            await fetch(session, "bucket.test", closed_port())
        assert str(caught.value.kwargs["error"]).count("refused") + str(caught.value.kwargs["error"]).count(
            "Connect call failed"
        )


async def test_a_name_without_addresses_is_an_endpoint_error() -> None:
    """A lookup that finds nothing says so."""
    async with opened(connector_args={"resolver": Resolver()}) as session:
        with pytest.raises(EndpointConnectionError):
            await fetch(session, "bucket.test", 80)


async def test_no_answer_is_a_connect_timeout() -> None:
    """A handshake of TCP that does not complete ends after the connect timeout, lookup included."""
    with silent_listener() as listener, socket.socket() as first, socket.socket() as second:
        port = listener.getsockname()[1]
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with opened(timeout=(0.1, 5), connections=1) as session:
            with pytest.raises(ConnectTimeoutError):
                await fetch(session, "127.0.0.1", port)


async def test_a_lookup_that_hangs_is_a_connect_timeout() -> None:
    """The lookup is part of connecting."""

    class Hanging(Resolver):
        async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[dict[str, Any]]:
            await asyncio.sleep(0.2)
            return []

    async with opened(timeout=(0.05, 5), connector_args={"resolver": Hanging()}) as session:
        with pytest.raises(ConnectTimeoutError):
            await fetch(session, "bucket.test", 80)
        await asyncio.sleep(0.2)


async def test_socket_options_are_set(server: Server) -> None:
    """The socket options botocore passes, `tcp_keepalive` among them, are set; Nagle's delay is off."""
    server.answers(reply(b"hello"))
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    async with opened(socket_options=options) as session:
        await get(session, server)
        [connection] = session._pool._sockets
        assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_addresses_take_turns() -> None:
    """Successive connections start at successive addresses; families alternate, the first one first."""
    v4 = [(socket.AF_INET, (f"10.0.0.{n}", 80)) for n in range(3)]
    v6 = [(socket.AF_INET6, (f"::{n}", 80, 0, 0)) for n in range(1)]
    assert [address[1][0] for address in _in_turn([*v4, *v6], 0)] == [
        "10.0.0.0",
        "::0",
        "10.0.0.1",
        "10.0.0.2",
    ]
    assert [address[1][0] for address in _in_turn([*v4, *v6], 1)] == [
        "10.0.0.1",
        "::0",
        "10.0.0.2",
        "10.0.0.0",
    ]
    assert _in_turn([], 3) == []
