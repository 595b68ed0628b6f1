"""The transport against nginx over TLS: a real server's framing, limits, hang-ups and handshakes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError, SSLError

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession
from greenlang_async_storage.fastpath.transport._errors import TruncatedBodyError
from greenlang_async_storage.fastpath.transport._response import Response
from tests.fastpath.transport.wire import Peer, Server, chunked, opened, reply
from tests.support import nginx, servers
from tests.support.nginx import NginxServer
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.asyncio, pytest.mark.allow_blocking("certificates are read by the test")]

DATA = bytes(range(256)) * 8_000
_BIG = bytes(8 << 20)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, authority: CertificateAuthority) -> Iterator[NginxServer]:
    """Nginx with a few files."""
    if nginx.NGINX is None:
        servers.unavailable(nginx.MISSING)
    with NginxServer(tmp_path_factory.mktemp("nginx"), authority) as server:
        (server.files / "data").write_bytes(DATA)
        (server.files / "empty").write_bytes(b"")
        (server.files / "part").write_bytes(DATA[:5_000])
        for folder in ("included", "until-close"):
            (server.files / folder).mkdir()
            (server.files / folder / "page").write_text('<!--#include virtual="/part" -->|' * 3)
        yield server


INCLUDED = (DATA[:5_000] + b"|") * 3


def at(web: NginxServer, name: str = "main", host: str = "localhost") -> Origin:
    """The listener *name*."""
    return Origin("https", host, web.ports[name])


async def ask(
    session: HTTPSession,
    origin: Origin,
    target: str,
    *headers: tuple[str, str],
    method: str = "GET",
    body: bytes | None = None,
) -> tuple[Response, bytes]:
    """A response and its body."""
    length = [] if body is None else [("Content-Length", str(len(body)))]
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    given = [("Host", host), *length, *headers]
    response = await session.exchange(origin, method, target, given, body)
    try:
        return response, await response.read()
    finally:
        response.close()


def header(response: Response, name: bytes) -> bytes | None:
    """The value of a header."""
    return dict(response.headers).get(name)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_files(web: NginxServer, authority: CertificateAuthority, host: str) -> None:
    """Whole, part, none and unchanged: each answer is read to its end, on one connection."""
    origin = at(web, host=host)
    async with opened(verify=str(authority.bundle), connections=1) as session:
        response, body = await ask(session, origin, "/data")
        assert (response.status, body) == (200, DATA)
        etag = (header(response, b"etag") or b"").decode()
        response, body = await ask(session, origin, "/data", method="HEAD")
        assert (response.status, body, header(response, b"content-length")) == (200, b"", b"%d" % len(DATA))
        response, body = await ask(session, origin, "/data", ("Range", "bytes=1000-1999"))
        assert (response.status, body) == (206, DATA[1000:2000])
        response, body = await ask(session, origin, "/data", ("Range", "bytes=-5"))
        assert (response.status, body) == (206, DATA[-5:])
        response, body = await ask(session, origin, "/data", ("Range", "bytes=99999999-"))
        assert (response.status, header(response, b"content-range")) == (416, b"bytes */%d" % len(DATA))
        response, body = await ask(session, origin, "/data", ("If-None-Match", etag))
        assert (response.status, body) == (304, b"")
        response, body = await ask(session, origin, "/empty")
        assert (response.status, body) == (200, b"")
        response, body = await ask(session, origin, "/missing")
        assert response.status == 404
        response, body = await ask(session, origin, "/data", method="DELETE")
        assert response.status == 405
        assert session.statistics().opened == 1
        for _ in range(3):  # nginx promises to keep the connection here, and closes it
            response, body = await ask(session, origin, "/data", ("If-Match", '"other"'))
            assert response.status == 412


@pytest.mark.parametrize("folder", ["included", "until-close"])
async def test_pages_of_unknown_length(
    web: NginxServer, authority: CertificateAuthority, folder: str
) -> None:
    """Nginx sends a page it puts together in chunks, or until it closes: both are read whole, by HEAD too."""
    async with opened(verify=str(authority.bundle), connections=1) as session:
        for _ in range(3):
            response, body = await ask(session, at(web), f"/{folder}/page")
            assert (response.status, body) == (200, INCLUDED)
            assert header(response, b"content-length") is None
        response, body = await ask(session, at(web), f"/{folder}/page", method="HEAD")
        assert (response.status, body) == (200, b"")


async def test_connections_that_close_after_three_requests(
    web: NginxServer, authority: CertificateAuthority
) -> None:
    """A server that hangs up again and again costs connections, and not one request."""
    async with opened(verify=str(authority.bundle), connections=4) as session:
        answers = await asyncio.gather(*(ask(session, at(web, "short"), "/part") for _ in range(60)))
        assert all((response.status, body) == (200, DATA[:5_000]) for response, body in answers)
        assert session.statistics().opened >= 20


async def test_a_server_that_was_restarted(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Connections that died while they were idle are replaced, unseen by who asks next."""
    if nginx.NGINX is None:
        servers.unavailable(nginx.MISSING)
    with NginxServer(tmp_path, authority) as web:
        (web.files / "data").write_bytes(DATA)
        async with opened(verify=str(authority.bundle), connections=4) as session:
            for _ in range(2):
                answers = await asyncio.gather(*(ask(session, at(web), "/data") for _ in range(8)))
                assert [body for _, body in answers] == [DATA] * 8
                web.restart()
            response, _ = await ask(session, at(web), "/data", method="DELETE")
            assert response.status == 405


@pytest.mark.parametrize("expect", [True, False])
async def test_a_body_that_is_too_large_for_the_server(
    web: NginxServer, authority: CertificateAuthority, expect: bool
) -> None:
    """413 is the answer, before the body has gone out; the connection is not used again."""
    async with opened(verify=str(authority.bundle), connections=1) as session:
        asked = [("Expect", "100-continue")] if expect else []
        for _ in range(3):
            response, body = await ask(session, at(web), "/small-only/k", *asked, method="PUT", body=_BIG)
            assert response.status == 413
            assert b"Too Large" in body
        response, body = await ask(session, at(web), "/part")
        assert body == DATA[:5_000]


@pytest.mark.parametrize("expect", [True, False])
async def test_bodies_through_a_proxy(
    web: NginxServer, authority: CertificateAuthority, expect: bool
) -> None:
    """What is sent arrives behind nginx as it was, with and without waiting for `100 Continue`."""
    asked = [("Expect", "100-continue")] if expect else []
    async with Server() as behind, opened(verify=str(authority.bundle), connections=2) as session:
        behind.answers(chunked(b"good", b"bye"))
        for data in (b"", b"x", DATA, _BIG):
            response, body = await ask(
                session, at(web), f"/upstream/{behind.port}/key", *asked, method="PUT", body=data
            )
            assert (response.status, body) == (200, b"goodbye")
        assert [request.body for request in behind.requests] == [b"", b"x", DATA, _BIG]


@pytest.mark.parametrize(
    "begun",
    [
        reply(DATA)[:-1_000],
        chunked(DATA[:100_000], DATA[:100_000])[:-50_000],
    ],
    ids=["length", "chunked"],
)
async def test_a_server_behind_the_proxy_dies_in_a_body(
    web: NginxServer, authority: CertificateAuthority, begun: bytes
) -> None:
    """Half a body is an error: nginx tells by hanging up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(begun)
        peer.reset()

    async with Server(script) as behind, opened(verify=str(authority.bundle), connections=1) as session:
        with pytest.raises(TruncatedBodyError):
            await ask(session, at(web), f"/upstream/{behind.port}/key")
        response, body = await ask(session, at(web), "/part")
        assert (response.status, body) == (200, DATA[:5_000])


async def test_nobody_behind_the_proxy(web: NginxServer, authority: CertificateAuthority) -> None:
    """502 and its page come as they are, also in answer to megabytes."""
    async with opened(verify=str(authority.bundle), connections=1) as session:
        for body in (None, _BIG):
            response, text = await ask(session, at(web), "/upstream/9/k", method="PUT", body=body)
            assert response.status == 502
            assert b"Bad Gateway" in text


@pytest.mark.parametrize("name", ["tls12", "tls13"])
async def test_protocols(web: NginxServer, authority: CertificateAuthority, name: str) -> None:
    """TLS 1.2 and 1.3 are spoken."""
    async with opened(verify=str(authority.bundle)) as session:
        for _ in range(2):
            _, body = await ask(session, at(web, name), "/")
            assert body == {"tls12": b"TLSv1.2", "tls13": b"TLSv1.3"}[name]
        assert session.statistics().opened == 1


@pytest.mark.parametrize("verify", [True, False])
async def test_an_old_protocol(web: NginxServer, authority: CertificateAuthority, verify: bool) -> None:
    """TLS 1.1 is not, whatever is verified."""
    async with opened(verify=str(authority.bundle) if verify else False) as session:
        with pytest.raises((SSLError, EndpointConnectionError)):
            await ask(session, at(web, "tls11"), "/")


async def test_another_host(web: NginxServer, authority: CertificateAuthority) -> None:
    """A certificate for another name is refused, and with `verify=False` accepted."""
    async with opened(verify=str(authority.bundle)) as session:
        with pytest.raises(SSLError, match="localhost"):
            await ask(session, at(web, "wrong_host"), "/part")
    async with opened(verify=False) as session:
        assert (await ask(session, at(web, "wrong_host"), "/part"))[1] == DATA[:5_000]


async def test_an_authority_that_is_not_trusted(web: NginxServer, authority: CertificateAuthority) -> None:
    """Neither another private authority nor the public ones vouch for this server."""
    for verify in (str(authority.another().bundle), True):
        async with opened(verify=verify) as session:
            with pytest.raises(SSLError):
                await ask(session, at(web), "/part")


async def test_a_client_certificate(web: NginxServer, authority: CertificateAuthority) -> None:
    """A server that asks for one sees ours; without one it refuses."""
    shown = str(authority.certificate("some-client"))
    async with (
        opened(verify=str(authority.bundle), client_cert=shown) as session,
        opened(verify=str(authority.bundle)) as stranger,
    ):
        response, body = await ask(session, at(web, "mutual"), "/")
        assert (response.status, body) == (200, b"CN=some-client")
        response, body = await ask(stranger, at(web, "mutual"), "/")
        assert response.status == 400
        assert b"No required SSL certificate" in body
