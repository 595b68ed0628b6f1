"""https means: this host, this authority, TLS 1.2 or later, and a loop that never waits for files."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, HTTPClientError, SSLError

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import _tls
from greenlang_async_storage.fastpath.transport._errors import TruncatedBodyError
from greenlang_async_storage.fastpath.transport._response import Response
from tests.fastpath.transport.wire import HEADERS, Peer, Server, chunked, get, opened, reply
from tests.support.tls import UNTRUSTED, CertificateAuthority, old_protocol

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.allow_blocking("certificates are made by the test"),
    pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning"),
]


def serving(context: ssl.SSLContext, *, host: str = "127.0.0.1") -> Server:
    """A server for https that answers `hello`."""
    server = Server(tls=context, host=host)
    server.answers(reply(b"hello"))
    return server


async def _pieces(response: Response) -> bytes:
    data = b""
    while piece := await response.readany():
        data += piece
    return data


async def _into_a_buffer(response: Response) -> bytes:
    buffer = bytearray(400_000)
    done = 0
    while count := await response.readinto(memoryview(buffer)[done : done + 70_000]):
        done += count
    return bytes(buffer[:done])


READERS: dict[str, Callable[[Response], Awaitable[bytes]]] = {
    "whole": lambda response: response.read(),
    "pieces": _pieces,
    "into a buffer": _into_a_buffer,
}


def named(server: Server, host: str = "localhost") -> Origin:
    """The server under another name."""
    return Origin("https", host, server.port)


@pytest.mark.parametrize("case", UNTRUSTED)
async def test_a_server_that_cannot_prove_itself_gets_nothing(
    authority: CertificateAuthority, case: str
) -> None:
    """A wrong, expired or unknown certificate, or an old protocol, is SSLError, and no request is sent."""
    async with (
        serving(UNTRUSTED[case](authority)) as server,
        opened(verify=str(authority.bundle), connections=1) as session,
    ):
        for _ in range(2):
            with pytest.raises(SSLError) as caught:
                await session.exchange(named(server), "GET", "/key", HEADERS)
            assert f"https://localhost:{server.port}/key" in str(caught.value)
        assert not server.requests
        assert session.statistics().opened == 0


@pytest.mark.parametrize(("name", "host"), [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")])
async def test_the_right_certificate_is_accepted(
    authority: CertificateAuthority, name: str, host: str
) -> None:
    """A certificate for the host name, or the IP address, that was asked for is good."""
    async with (
        serving(authority.server_context(name)) as server,
        opened(verify=str(authority.bundle)) as session,
    ):
        for _ in range(3):
            response = await session.exchange(named(server, host), "GET", "/", HEADERS)
            assert await response.read() == b"hello"
        assert server.connections == 1


async def test_the_server_is_told_which_host_is_meant(authority: CertificateAuthority) -> None:
    """The name is in the handshake (SNI), so that servers with several certificates can choose."""
    asked: list[str | None] = []
    context = authority.server_context("wrong.example.com")
    right = authority.server_context("localhost")

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        asked.append(name)
        connection.context = right

    context.sni_callback = choose
    async with serving(context) as server, opened(verify=str(authority.bundle)) as session:
        response = await session.exchange(named(server), "GET", "/", HEADERS)
        assert await response.read() == b"hello"
    assert asked == ["localhost"]


@pytest.mark.parametrize("case", ["another host's", "expired", "self-signed"])
async def test_verify_false_checks_nothing(authority: CertificateAuthority, case: str) -> None:
    """With ``verify=False`` any certificate is accepted."""
    async with serving(UNTRUSTED[case](authority)) as server, opened(verify=False) as session:
        response = await session.exchange(named(server), "GET", "/", HEADERS)
        assert await response.read() == b"hello"


@pytest.mark.parametrize("verify", [False, True])
async def test_an_old_protocol_is_refused(authority: CertificateAuthority, verify: bool) -> None:
    """A server of TLS 1.1 is not talked to, whatever is verified; some hang up without saying why."""
    async with (
        serving(old_protocol(authority)) as server,
        opened(verify=str(authority.bundle) if verify else False) as session,
    ):
        with pytest.raises((SSLError, EndpointConnectionError)):
            await session.exchange(named(server), "GET", "/", HEADERS)
        assert not server.requests


async def test_the_public_authorities_are_the_default(authority: CertificateAuthority) -> None:
    """With ``verify=True`` a private authority is not trusted."""
    async with serving(authority.server_context("localhost")) as server, opened() as session:
        with pytest.raises(SSLError):
            await session.exchange(named(server), "GET", "/", HEADERS)


@pytest.mark.parametrize("split", [False, True])
async def test_a_client_certificate_is_shown(
    authority: CertificateAuthority, tmp_path: Path, split: bool
) -> None:
    """A server that asks for a certificate gets the client's, from one file or from two."""
    both = authority.certificate("client")
    text = both.read_text()
    start = text.index("-----BEGIN PRIVATE KEY")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(text[:start])
    key.write_text(text[start:])
    context = authority.server_context("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.bundle)
    shown = (str(certificate), str(key)) if split else str(both)
    async with (
        serving(context) as server,
        opened(verify=str(authority.bundle), client_cert=shown) as session,
        opened(verify=str(authority.bundle)) as stranger,
    ):
        response = await session.exchange(named(server), "GET", "/", HEADERS)
        assert await response.read() == b"hello"
        with pytest.raises((HTTPClientError, SSLError)):
            await stranger.exchange(named(server), "GET", "/", HEADERS)


async def test_a_bundle_that_cannot_be_read_is_told_and_tried_again(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    """A missing authority file is an error that names it; once it is there, the session works."""
    bundle = tmp_path / "later.pem"
    async with (
        serving(authority.server_context("localhost")) as server,
        opened(verify=str(bundle)) as session,
    ):
        with pytest.raises(HTTPClientError, match=r"later\.pem"):
            await session.exchange(named(server), "GET", "/", HEADERS)
        bundle.write_bytes(authority.bundle.read_bytes())
        response = await session.exchange(named(server), "GET", "/", HEADERS)
        assert await response.read() == b"hello"


async def test_a_context_given_in_connector_args_is_used(authority: CertificateAuthority) -> None:
    """`connector_args={"ssl_context": …}` replaces ours, as the user asked."""
    context = ssl.create_default_context(cafile=str(authority.bundle))
    async with (
        serving(authority.server_context("localhost")) as server,
        opened(connector_args={"ssl_context": context}) as session,
    ):
        response = await session.exchange(named(server), "GET", "/", HEADERS)
        assert await response.read() == b"hello"


async def test_the_context_is_built_once_and_in_a_thread(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent first requests share one context, built where the event loop does not run."""
    threads: list[int] = []
    build = _tls.build_context

    def built(verify: _tls.Verify, client_cert: _tls.ClientCertificate) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return build(verify, client_cert)

    monkeypatch.setattr(_tls, "build_context", built)
    async with (
        serving(authority.server_context("127.0.0.1")) as server,
        opened(verify=str(authority.bundle)) as session,
    ):
        first = asyncio.create_task(get(session, server))
        others = [asyncio.create_task(get(session, server)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [(200, b"hello")] * 3
        assert first.cancelled()
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_handshake_that_never_ends_is_a_connect_timeout(authority: CertificateAuthority) -> None:
    """A server that accepts and says nothing is a connect timeout: TLS is part of connecting."""

    async def script(peer: Peer) -> None:
        await peer.wait_closed()

    async with (
        Server(script) as server,
        opened(verify=str(authority.bundle), timeout=(0.1, 5)) as session,
    ):
        with pytest.raises(ConnectTimeoutError):
            await session.exchange(named(server, "127.0.0.1"), "GET", "/", HEADERS)


async def test_large_bodies_both_ways(authority: CertificateAuthority) -> None:
    """Megabytes go out and come in over TLS, into a buffer too, on one connection."""
    data = bytes(range(256)) * 20_000
    server = Server(tls=authority.server_context("127.0.0.1"))
    server.answers(reply(data))
    async with server, opened(verify=str(authority.bundle)) as session:
        headers = [("Content-Length", str(len(data)))]
        for _ in range(3):
            response = await session.exchange(server.origin, "PUT", "/", headers, data)
            buffer = bytearray(len(data))
            assert await response.readinto(memoryview(buffer)) == len(data)
            assert buffer == data
        assert [request.body for request in server.requests] == [data] * 3
        assert server.connections == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("told", [True, False], ids=["close_notify", "cut"])
@pytest.mark.parametrize("how", ["whole", "pieces", "into a buffer"])
async def test_a_body_that_only_the_end_tells_ends_by_close_notify(
    authority: CertificateAuthority, version: ssl.TLSVersion, told: bool, how: str
) -> None:
    """A close-delimited body that is cut without close_notify was cut by anybody (RFC 9112, section 9.8)."""
    data = bytes(300_000)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n" + data)
        if told:
            peer.writer.close()
        else:
            peer.cut()
        await peer.wait_closed()

    context = authority.server_context("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    async with (
        Server(script, tls=context) as server,
        opened(verify=str(authority.bundle), connections=1) as session,
    ):
        response = await session.exchange(server.origin, "GET", "/key", HEADERS)
        if told:
            assert await READERS[how](response) == data
            return
        with pytest.raises(TruncatedBodyError) as caught:
            await READERS[how](response)
        assert (caught.value.received, caught.value.expected) == (len(data), None)


@pytest.mark.parametrize("told", [True, False], ids=["close_notify", "cut"])
@pytest.mark.parametrize(
    "wire",
    [reply(b"hello"), chunked(b"hello"), reply(b"hello", headers="Connection: close\r\n")],
    ids=["length", "chunked", "connection: close"],
)
async def test_a_body_that_tells_its_own_end_needs_no_close_notify(
    authority: CertificateAuthority, wire: bytes, told: bool
) -> None:
    """Length or chunks say that all came, however the server hangs up; the next request dials again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(wire)
        if told:
            peer.writer.close()
        else:
            peer.cut()
        await peer.wait_closed()

    async with (
        Server(script, tls=authority.server_context("127.0.0.1")) as server,
        opened(verify=str(authority.bundle), connections=1) as session,
    ):
        for _ in range(3):
            assert await get(session, server) == (200, b"hello")
        assert server.connections == 3
