"""`send` keeps aiobotocore's contract: what a client of it sees is what it saw before."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiobotocore.session
import aiohttp
import pytest
import pytest_asyncio
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
)

from greenlang_async_storage.fastpath.transport import HTTPSession, RawResponse
from greenlang_async_storage.testing import StorageServer
from tests.fastpath.transport.wire import Peer, Server, chunked, opened, reply

pytestmark = pytest.mark.asyncio


def request_to(server: Server, method: str = "GET", path: str = "/key", **arguments: Any) -> Any:
    """A prepared request as botocore makes it."""
    streamed = arguments.pop("stream_output", False)
    url = f"http://127.0.0.1:{server.port}{path}"
    return AWSRequest(method, url, stream_output=streamed, **arguments).prepare()


async def test_a_response_is_aiobotocores(server: Server) -> None:
    """The response has aiobotocore's class, lower-case headers, and its content when awaited, twice too."""
    server.answers(reply(b"hello", headers="ETag: e\r\nX-Amz-Meta-Name: \u00e9\r\n"))
    async with opened() as session:
        response = await session.send(request_to(server))
        assert type(response) is AioAWSResponse
        assert (response.status_code, response.headers["etag"]) == (200, "e")
        assert response.headers["X-Amz-Meta-Name"] == "\u00e9"
        assert "x-amz-meta-name" in response.headers
        assert [await response.content for _ in range(2)] == [b"hello"] * 2
        assert await response.text == "hello"
        assert response.url == f"http://127.0.0.1:{server.port}/key"


async def test_the_request_is_botocores(server: Server) -> None:
    """Path and query go out as signed; Host and Accept-Encoding are added as botocore's sessions do."""
    server.answers(reply())
    async with opened() as session:
        headers = {"X-Amz-Meta-Name": "\u00e9", "Authorization": b"signed", "accept-encoding": "gzip"}
        await session.send(request_to(server, path="/a%2Fb//../%20?x=%2B&y", headers=headers))
    request = server.requests[0]
    assert request.line == "GET /a%2Fb//../%20?x=%2B&y HTTP/1.1"
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "x-amz-meta-name": "\u00e9",
        "authorization": "signed",
        "accept-encoding": "identity",
    }


@pytest.mark.parametrize("path", ["", "?", "/?", "?a=1", "/?a"])
async def test_odd_urls_keep_their_query(server: Server, path: str) -> None:
    """An empty path is `/`; an empty query keeps its question mark, which is part of what was signed."""
    server.answers(reply())
    async with opened() as session:
        await session.send(request_to(server, path=path))
    assert server.requests[0].line.split()[1] == (path if path.startswith("/") else f"/{path}")


async def test_a_url_that_is_none_is_refused() -> None:
    """Anything but http and https with a host is an error, not a connection."""
    async with opened() as session:
        for url in ("ftp://host/", "http:///path"):
            with pytest.raises(HTTPClientError):
                await session.send(AWSRequest("GET", url).prepare())


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_redirects_are_answers(server: Server, status: str) -> None:
    """A Location is not followed, with credentials or without."""
    server.answers(reply(b"", status=status, headers="Location: http://169.254.169.254/latest\r\n"))
    async with opened() as session:
        response = await session.send(request_to(server, headers={"Authorization": "secret"}))
        assert response.status_code == int(status[:3])
        assert len(server.requests) == 1


async def test_bodies_botocore_prepares(server: Server, tmp_path: Path) -> None:
    """Text, bytes, files and nothing are sent with the length botocore told."""
    server.answers(reply())
    path = tmp_path / "file"
    path.write_bytes(b"file")
    bodies: list[Any] = ["text", b"bytes", bytearray(b"array"), io.BytesIO(b"memory"), None]
    async with opened() as session:
        for body in bodies:
            await session.send(request_to(server, "PUT", data=body))
        with path.open("rb") as file:
            await session.send(request_to(server, "PUT", data=file))
    sent = [request.body for request in server.requests]
    assert sent == [b"text", b"bytes", b"array", b"memory", b"", b"file"]


async def test_an_unstreamed_body_is_read_before_the_response_is_given(server: Server) -> None:
    """Without `stream_output` the body is there and the slot free; with it the caller reads."""
    server.answers(reply(bytes(5_000_000)))
    async with opened() as session:
        await session.send(request_to(server))
        assert session.statistics().in_use == 0
        response = await session.send(request_to(server, stream_output=True))
        assert session.statistics().in_use == 1
        assert len(await response.content) == 5_000_000
        assert session.statistics().in_use == 0


async def test_a_stalled_unstreamed_body_is_a_read_timeout(server: Server) -> None:
    """Inside `send` a body that stops is ReadTimeoutError, and the slot is free."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(reply(b"hello")[:-1])
        await peer.wait_closed()

    server.script = script
    async with opened(timeout=(5, 0.05)) as session:
        with pytest.raises(ReadTimeoutError):
            await session.send(request_to(server))


# The surface of aiohttp's response


async def raw(session: HTTPSession, server: Server) -> RawResponse:
    """The raw response of a streamed request."""
    response = await session.send(request_to(server, stream_output=True))
    assert isinstance(response.raw, RawResponse)
    return response.raw


async def test_the_raw_response_has_aiohttps_attributes(server: Server) -> None:
    """Status, headers, URL and the rest are where users of aiobotocore 2 find them."""
    server.answers(
        reply(b'{"a": 1}', headers="Content-Type: application/json; charset=utf-8\r\nA: 1\r\na: 2\r\n")
    )
    async with opened() as session:
        response = await raw(session, server)
        assert (response.status, response.method, response.reason, response.ok) == (200, "GET", "OK", True)
        assert response.headers["CONTENT-TYPE"].startswith("application/json")
        assert response.headers.getall("A") == ["1", "2"]
        assert (b"content-length", b"8") in response.raw_headers
        assert (response.content_type, response.content_length) == ("application/json", 8)
        assert str(response.url) == str(response.real_url) == f"http://127.0.0.1:{server.port}/key"
        assert await response.json() == {"a": 1}
        assert await response.text() == '{"a": 1}'
        assert await response.read() == b'{"a": 1}'
        assert response.closed
        assert repr(response) == "<RawResponse [200 OK]>"
        response.raise_for_status()


async def test_the_raw_response_raises_for_status(server: Server) -> None:
    """`raise_for_status` is aiohttp's."""
    server.answers(reply(b"", status="404 Not Found"))
    async with opened() as session:
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            (await raw(session, server)).raise_for_status()


@pytest.mark.parametrize("how", ["async with", "release", "await release", "close", "wait_for_close"])
async def test_a_raw_response_is_released_in_every_way(server: Server, how: str) -> None:
    """However it is given up half-read, the slot is free at once."""
    server.answers(reply(bytes(5_000_000)))
    async with opened(connections=1) as session:
        response = await raw(session, server)
        assert await response.content.read(10)
        if how == "async with":
            async with response:
                pass
        elif how == "await release":
            await response.release()
        elif how == "wait_for_close":
            await response.wait_for_close()
        else:
            getattr(response, how)()
        assert response.closed
        assert session.statistics().in_use == 0


LINES = b"one\ntwo\n\nthree" + b"x" * 70_000 + b"\nlast"


@pytest.mark.parametrize("wire", [reply(LINES), chunked(LINES[:5], LINES[5:])], ids=["length", "chunked"])
@pytest.mark.parametrize("every", [None, 10_000])
async def test_the_stream_reader_of_a_raw_response(server: Server, wire: bytes, every: int | None) -> None:
    """`content` reads by line, by size, exactly, in chunks, and mixes them."""
    server.answers(wire, every=every)
    async with opened() as session:
        content = (await raw(session, server)).content
        assert [line async for line in content] == LINES.splitlines(keepends=True)
        assert content.at_eof()
        assert content.is_eof()

        content = (await raw(session, server)).content
        assert [await content.readline(), await content.read(2), await content.readexactly(3)] == [
            b"one\n", b"tw", b"o\n\n"
        ]  # fmt: skip
        assert await content.readuntil(b"re") == b"thre"
        assert await content.read() == LINES[13:]
        with pytest.raises(asyncio.IncompleteReadError):
            await content.readexactly(1)

        content = (await raw(session, server)).content
        assert b"".join([piece async for piece in content.iter_chunked(1000)]) == LINES
        content = (await raw(session, server)).content
        assert b"".join([piece async for piece in content.iter_any()]) == LINES
        content = (await raw(session, server)).content
        assert b"".join([piece async for piece, _ in content.iter_chunks()]) == LINES
        assert await content.readchunk() == (b"", True)


async def test_a_line_has_a_limit(server: Server) -> None:
    """A body without line ends is not put together without bound."""
    server.answers(reply(bytes(3_000_000)))
    async with opened() as session:
        response = await raw(session, server)
        with pytest.raises(ValueError, match="longer than"):
            await response.content.readline()
        response.close()


async def test_the_stream_reader_keeps_its_error(server: Server) -> None:
    """A broken body raises aiohttp's ClientPayloadError, and `exception` remembers it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(reply(bytes(100))[:-50])

    server.script = script
    async with opened() as session:
        content = (await raw(session, server)).content
        assert content.exception() is None
        with pytest.raises(aiohttp.ClientPayloadError):
            await content.read()
        assert isinstance(content.exception(), aiohttp.ClientPayloadError)


# A whole client


@pytest_asyncio.fixture
async def client(moto_server: StorageServer) -> AsyncIterator[Any]:
    """An ordinary aiobotocore client on our session, against moto."""
    arguments: dict[str, Any] = {
        "endpoint_url": moto_server.endpoint_url,
        "region_name": moto_server.region,
        "aws_access_key_id": moto_server.access_key,
        "aws_secret_access_key": moto_server.secret_key,
        "config": AioConfig(s3={"addressing_style": "path"}),
    }
    async with aiobotocore.session.get_session().create_client("s3", **arguments) as made:
        theirs = made._endpoint.http_session
        made._endpoint.http_session = HTTPSession(timeout=(5, 30), max_pool_connections=4)
        yield made
        assert made._endpoint.http_session.statistics().in_use == 0
        await made._endpoint.http_session.close()
        made._endpoint.http_session = theirs


@pytest.mark.allow_blocking("botocore reads its models in the loop")
async def test_an_ordinary_client_works(client: Any, tmp_path: Path) -> None:
    """Bytes, files, listings, streams, errors and concurrent calls of an unchanged client."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8000)
    await client.create_bucket(Bucket="transport")
    await client.put_object(Bucket="transport", Key="bytes", Body=b"hello" * 1000)
    with path.open("rb") as file:
        await client.put_object(Bucket="transport", Key="file", Body=file)
    reply_ = await client.get_object(Bucket="transport", Key="file")
    assert await reply_["Body"].read() == path.read_bytes()
    reply_ = await client.get_object(Bucket="transport", Key="bytes")
    async with reply_["Body"] as body:
        assert await body.read() == b"hello" * 1000
    reply_ = await client.get_object(Bucket="transport", Key="bytes")
    assert b"".join([piece async for piece in reply_["Body"].iter_chunks(512)]) == b"hello" * 1000
    reply_ = await client.get_object(Bucket="transport", Key="bytes")
    assert len([line async for line in reply_["Body"].iter_lines()]) == 1
    listing = await client.list_objects_v2(Bucket="transport")
    assert [entry["Key"] for entry in listing["Contents"]] == ["bytes", "file"]
    heads = await asyncio.gather(*(client.head_object(Bucket="transport", Key="bytes") for _ in range(40)))
    assert {head["ContentLength"] for head in heads} == {5000}
    with pytest.raises(client.exceptions.NoSuchKey):
        await client.get_object(Bucket="transport", Key="missing")
    with pytest.raises(ClientError, match="404"):
        await client.head_object(Bucket="transport", Key="missing")
    for key in ("bytes", "file"):
        await client.delete_object(Bucket="transport", Key=key)
    await client.delete_bucket(Bucket="transport")


# Proxies


async def test_a_proxy_is_left_to_aiobotocore(server: Server) -> None:
    """A request with a proxy goes there, by the session of aiobotocore; `exchange` refuses."""
    server.answers(reply(b"from the proxy"))
    proxies = {"http": f"http://127.0.0.1:{server.port}"}
    async with opened(proxies=proxies) as session:
        assert session.uses_proxy("http")
        assert not session.uses_proxy("https")
        response = await session.send(AWSRequest("GET", "http://bucket.test/key").prepare())
        assert await response.content == b"from the proxy"
        assert server.requests[0].line == "GET http://bucket.test/key HTTP/1.1"
        with pytest.raises(ValueError, match="use send"):
            await session.exchange(server.origin, "GET", "/", [])


async def test_a_proxy_that_is_not_there_is_a_proxy_error() -> None:
    """A refused proxy is ProxyConnectionError, without the proxy's password."""
    async with opened(proxies={"http": "http://user:secret@127.0.0.1:1"}) as session:
        with pytest.raises((ProxyConnectionError, EndpointConnectionError)) as caught:
            await session.send(AWSRequest("GET", "http://bucket.test/key").prepare())
    assert "secret" not in str(caught.value)
