"""Failures are botocore's classes with their fields, safe to log and to pickle."""

from __future__ import annotations

import pickle
import ssl
import traceback

import aiohttp
import pytest
from aiobotocore.response import AioReadTimeoutError
from botocore import exceptions, retryhandler
from botocore.awsrequest import AWSRequest

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import PoolTimeoutError, TruncatedBodyError, _errors
from tests.fastpath.transport.wire import Peer, Server, opened, reply

URL = "https://bucket.test/key"
CASES: list[tuple[BaseException, type[Exception]]] = [
    (_errors.ConnectionLostError("closed"), exceptions.ConnectionClosedError),
    (_errors.StalledError("silent"), exceptions.ReadTimeoutError),
    (_errors.ConnectTimedOutError("slow"), exceptions.ConnectTimeoutError),
    (_errors.NoFreeConnectionError("full"), PoolTimeoutError),
    (_errors.BadResponseError("odd"), exceptions.HTTPClientError),
    (_errors.BodySourceError("short"), exceptions.HTTPClientError),
    (_errors.TLSSetupError("missing"), exceptions.HTTPClientError),
    (_errors.SessionClosedError("closed"), exceptions.HTTPClientError),
    (ssl.SSLCertVerificationError("expired"), exceptions.SSLError),
    (ConnectionRefusedError("refused"), exceptions.EndpointConnectionError),
    (OSError("unreachable"), exceptions.EndpointConnectionError),
    (RuntimeError("a bug"), exceptions.HTTPClientError),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=[type(error).__name__ for error, _ in CASES])
def test_each_failure_has_its_botocore_class(error: BaseException, kind: type[Exception]) -> None:
    """The class is exact, the URL and the cause are in its fields, and it survives pickling."""
    told = _errors.to_botocore(error, URL)
    assert type(told) is kind
    assert told.kwargs["error"] is error  # type: ignore[attr-defined]
    if "{endpoint_url}" in kind.fmt:  # type: ignore[attr-defined]
        assert URL in str(told)
    copy = pickle.loads(pickle.dumps(told))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == str(told)


def test_every_internal_failure_is_mapped() -> None:
    """A failure added to the transport is added to the table above."""
    internal = {kind for kind in vars(_errors).values() if isinstance(kind, type)}
    known = {type(error) for error, _ in CASES}
    assert {kind for kind in internal if issubclass(kind, _errors.WireError)} - {_errors.WireError} <= known


def test_a_truncated_body_is_what_both_layers_know() -> None:
    """Users of aiobotocore catch ClientPayloadError, botocore retries ConnectionClosedError: it is both."""
    error = TruncatedBodyError(received=5, expected=10, error="closed")
    assert isinstance(error, aiohttp.ClientPayloadError)
    assert isinstance(error, exceptions.ConnectionClosedError)
    assert str(error) == "Response body is not complete: received 5 of 10 bytes. closed"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (copy.received, copy.expected, str(copy)) == (5, 10, str(error))
    assert "an unknown number of bytes" in str(TruncatedBodyError(received=5))


def test_a_silent_body_is_a_read_timeout_of_both_layers() -> None:
    """A body that stops coming raises the class aiobotocore's own body raises."""
    error = _errors.body_error(_errors.StalledError("silent"), URL, 1, 2)
    assert isinstance(error, AioReadTimeoutError | TimeoutError)


@pytest.mark.parametrize("error", [error for error, _ in CASES[:4]], ids=lambda error: type(error).__name__)
def test_retry_layers_know_them(error: BaseException) -> None:
    """What says nothing about the request itself is retried by botocore's legacy rules."""
    told = _errors.to_botocore(error, URL)
    general = retryhandler.EXCEPTION_MAP["GENERAL_CONNECTION_ERROR"]
    assert isinstance(told, (*general, exceptions.ConnectTimeoutError))


SECRETS = ["SIGNATURE", "TOKEN", "CREDENTIAL", "ACCESSKEY", "PASSWORD"]


def test_urls_are_told_without_secrets() -> None:
    """Signatures, tokens and user info are masked, the rest of the URL stays."""
    url = (
        "https://user:PASSWORD@bucket.test/key?X-Amz-Signature=SIGNATURE&partNumber=1&X-Amz-Security-Token=TOKEN"
        "&X-Amz-Credential=CREDENTIAL&Signature=SIGNATURE&AWSAccessKeyId=ACCESSKEY&x-amz-signature=SIGNATURE"
    )
    told = _errors.safe_url(url)
    assert told.startswith("https://bucket.test/key?X-Amz-Signature=***&partNumber=1&")
    assert not [secret for secret in SECRETS if secret in told]


@pytest.mark.asyncio
@pytest.mark.parametrize("by_send", [False, True])
async def test_no_secret_is_in_an_error_or_its_causes(server: Server, by_send: bool) -> None:
    """Messages and tracebacks of a failed presigned request hold neither signature nor authorization."""

    async def script(peer: Peer) -> None:
        await peer.request()

    server.script = script
    target = "/key?X-Amz-Signature=SIGNATURE&X-Amz-Security-Token=TOKEN&X-Amz-Credential=CREDENTIAL"
    headers = [("Authorization", "AWS4-HMAC-SHA256 Credential=CREDENTIAL, Signature=SIGNATURE")]
    async with opened() as session:
        url = f"http://127.0.0.1:{server.port}{target}"
        request = AWSRequest("GET", url, headers=dict(headers)).prepare()
        sent = session.send(request) if by_send else session.exchange(server.origin, "GET", target, headers)
        with pytest.raises(exceptions.ConnectionClosedError) as caught:
            await sent
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.kwargs)
    assert not [secret for secret in SECRETS if secret in told]
    assert "X-Amz-Signature=***" in told


@pytest.mark.asyncio
async def test_malformed_responses_are_not_quoted(server: Server) -> None:
    """The error about a bad response does not repeat what the server sent."""
    server.answers(b"HTTP/1.1 SECRET-OF-THE-SERVER\r\n\r\n")
    async with opened() as session:
        with pytest.raises(exceptions.HTTPClientError) as caught:
            await session.exchange(server.origin, "GET", "/", [])
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        (Origin("http", "a.test", 80), "http://a.test/k"),
        (Origin("https", "a.test", 443), "https://a.test/k"),
        (Origin("https", "a.test", 9000), "https://a.test:9000/k"),
        (Origin("http", "::1", 9000), "http://[::1]:9000/k"),
    ],
)
def test_an_origin_is_told_as_a_url(origin: Origin, url: str) -> None:
    """Default ports are left out, IPv6 addresses bracketed."""
    assert _errors.url_of(origin, "/k") == url


@pytest.mark.asyncio
async def test_connection_closed_carries_its_request(server: Server) -> None:
    """As aiobotocore's session does, `send` names the request in the exception."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(reply(b"0123456789")[:-3])

    server.script = script
    request = AWSRequest("GET", f"http://127.0.0.1:{server.port}/").prepare()
    async with opened() as session:
        with pytest.raises(exceptions.ConnectionClosedError) as caught:
            await session.send(request)
    assert caught.value.request is request
    assert type(caught.value) is exceptions.ConnectionClosedError
