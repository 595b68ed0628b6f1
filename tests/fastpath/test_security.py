"""What this path has to hold against hostile hosts and curious readers, on the wire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import pickle
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._reply import MAX_REPLY_BYTES
from tests.fastpath.recorders import new_session
from tests.fastpath.transport.wire import Peer, Script, Server, reply
from tests.support.tls import UNTRUSTED, CertificateAuthority, old_protocol

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.allow_blocking("certificates are made and read by the test"),
    pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning"),
]

SECRET = "CANARY-secret-key-0123456789"
TOKEN = "CANARY-session-token-0123456789"
CUSTOMER_KEY = "CANARY-customer-key-32-bytes-xxx"
CANARIES = [
    SECRET,
    TOKEN,
    CUSTOMER_KEY,
    base64.b64encode(CUSTOMER_KEY.encode()).decode(),
    base64.b64encode(hashlib.md5(CUSTOMER_KEY.encode(), usedforsecurity=False).digest()).decode(),
]
KEY = {"Bucket": "bucket", "Key": "key"}


@asynccontextmanager
async def client_of(url: str, verify: str | bool = True, **options: Any) -> AsyncIterator[Any]:
    """A client with the fast path that tries once."""
    config = AioConfig(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5).merge(
        AioConfig(**options)
    )
    async with new_session().create_client(
        "s3",
        endpoint_url=url,
        verify=verify,
        config=config,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        aws_session_token=TOKEN,
    ) as client:
        yield client


def _refusing(status: str, body: bytes = b"") -> Callable[[Server], Script]:
    def made(server: Server) -> Script:
        async def script(peer: Peer) -> None:
            server.requests.append(await peer.request())
            await peer.say(reply(body, status=status))

        return script

    return made


def _hanging_up(server: Server) -> Script:
    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        peer.reset()

    return script


def _silent(server: Server) -> Script:
    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.wait_closed()

    return script


_FAILURES: dict[str, tuple[Callable[[Server], Script], type[Exception]]] = {
    "refused": (
        _refusing("403 No", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
        ClientError,
    ),
    "no XML": (_refusing("403 No", b"what?"), ClientError),
    "reset": (_hanging_up, BotoCoreError),
    "silence": (_silent, ReadTimeoutError),
}


@pytest.mark.parametrize("failure", _FAILURES)
async def test_s05_secrets_are_in_no_log_error_or_pickle(
    caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    """Keys, tokens, signatures and customer keys are on the wire, and nowhere else, at DEBUG too."""
    script, kind = _FAILURES[failure]
    caplog.set_level(logging.DEBUG)
    async with Server() as server, client_of(f"http://127.0.0.1:{server.port}", read_timeout=0.3) as client:
        server.script = script(server)
        caplog.clear()  # making a client is botocore's
        before = fastpath.statistics()
        with pytest.raises(kind) as caught:
            await client.head_object(**KEY, SSECustomerAlgorithm="AES256", SSECustomerKey=CUSTOMER_KEY)
        assert fastpath.statistics().compiled == before.compiled + 1
        settled = fastpath.statistics().handed_over == before.handed_over
        assert settled is (failure in {"refused", "no XML"})
        [request] = server.requests
        signature = request.headers["authorization"].rpartition("Signature=")[2]
        assert request.headers["x-amz-security-token"] == TOKEN
        # A failure that may be retried is handed to botocore, which logs what it is given.
        ours = [entry for entry in caplog.records if settled or not entry.name.startswith("botocore")]
        shown = [
            *map(caplog.handler.format, ours),
            repr(client),
            repr(client._fastpath),
            repr(client._endpoint.http_session),
        ]
        error: BaseException | None = caught.value
        while error is not None:
            shown += [str(error), repr(error), repr(vars(error))]
            error = error.__cause__ or error.__context__
        shown.append(pickle.dumps(str(caught.value)).decode("latin-1"))
    found = [canary for canary in [*CANARIES, signature] for text in shown if canary in text]
    assert not found


_CALLS: dict[str, Callable[[Any], Any]] = {
    "compiled": lambda client: client.head_object(**KEY),
    "ordinary": lambda client: client.get_bucket_acl(Bucket="bucket"),
}
_S07: dict[str, Callable[[CertificateAuthority], ssl.SSLContext]] = {
    **UNTRUSTED,
    "TLS 1.1": old_protocol,
}


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("case", _S07)
async def test_s07_servers_that_are_refused(authority: CertificateAuthority, case: str, call: str) -> None:
    """Wrong host, expired, self-signed, another authority, an old protocol: nothing is sent."""
    async with (
        Server(tls=_S07[case](authority)) as server,
        client_of(f"https://localhost:{server.port}", str(authority.bundle)) as client,
    ):
        server.answers(reply())
        with pytest.raises((SSLError, EndpointConnectionError)):
            await _CALLS[call](client)
        assert server.requests == []


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("name", ["localhost", "wrong.example.com"])
@pytest.mark.parametrize("verify", [True, False])
async def test_s07_good_servers_and_verify_off(
    authority: CertificateAuthority, name: str, verify: bool, call: str
) -> None:
    """The right certificate is accepted; any is with `verify=False`, and with nothing else."""
    async with (
        Server(tls=authority.server_context(name)) as server,
        client_of(f"https://localhost:{server.port}", str(authority.bundle) if verify else False) as client,
    ):
        server.answers(reply())
        if verify and name != "localhost":
            with pytest.raises(SSLError):
                await _CALLS[call](client)
        else:
            await _CALLS[call](client)
        assert len(server.requests) == (0 if verify and name != "localhost" else 1)


async def test_s07_merged_configurations_keep_the_transport(authority: CertificateAuthority) -> None:
    """`AioConfig.merge()` forgets a session class; ours is put in where it cannot be forgotten."""
    async with (
        Server(tls=authority.server_context("wrong.example.com")) as server,
        client_of(
            f"https://localhost:{server.port}", str(authority.bundle), s3={"addressing_style": "path"}
        ) as client,
    ):
        server.answers(reply())
        assert type(client._endpoint.http_session).__module__.startswith("greenlang_async_storage.fastpath")
        for call in _CALLS.values():
            with pytest.raises(SSLError):
                await call(client)
        assert server.requests == []


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("operation", ["get_object", "put_object", "list_objects_v2", "get_bucket_acl"])
async def test_s12_redirects_lead_nowhere(operation: str, status: str) -> None:
    """No request, and so no signature, goes to the host a reply names."""
    each: dict[str, dict[str, Any]] = {"get_object": KEY, "put_object": {**KEY, "Body": b"x"}}
    arguments = each.get(operation, {"Bucket": "bucket"})
    async with Server() as elsewhere, Server() as server:
        elsewhere.answers(reply())
        target = f"Location: http://127.0.0.1:{elsewhere.port}/latest/meta-data\r\n"
        target += "x-amz-bucket-region: eu-west-1\r\n"
        server.answers(reply(status=status, headers=target))
        async with client_of(f"http://127.0.0.1:{server.port}") as client:
            with pytest.raises(ClientError) as caught:
                await getattr(client, operation)(**arguments)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == int(status[:3])
        assert elsewhere.connections == 0
        assert all(request.headers["host"].endswith(str(server.port)) for request in server.requests)


@pytest.mark.parametrize("chunks", [True, False])
async def test_s13_a_listing_without_end(chunks: bool) -> None:
    """A reply is read to its limit; then the connection is closed, whatever length it announced."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        piece = b"<a>" + bytes(65_536).replace(b"\0", b"a")
        framing = b"Transfer-Encoding: chunked" if chunks else b"Content-Length: 1073741824"
        await peer.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while True:
            await peer.say(b"%x\r\n%b\r\n" % (len(piece), piece) if chunks else piece)
            sent += len(piece)

    async with Server(script) as server, client_of(f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(ResponseParserError, match=str(MAX_REPLY_BYTES)):
            await client.list_objects_v2(Bucket="bucket")
        assert client._endpoint.http_session.statistics().in_use == 0
    assert sent < MAX_REPLY_BYTES + (32 << 20)


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY a "b">]><ListBucketResult><Name>&a;</Name></ListBucketResult>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x"><ListBucketResult/>',
        b"<ListBucketResult>" + b"<a>" * 100_000,
        b"<ListBucketResult><Name>\xff\xfe</Name></ListBucketResult>",
    ],
    ids=["entity", "external", "deep", "no UTF-8"],
)
async def test_s13_bombs(body: bytes) -> None:
    """Entities, depth and bad text are a broken reply, which is an error of its status."""
    async with Server() as server, client_of(f"http://127.0.0.1:{server.port}") as client:
        server.answers(reply(body))
        with pytest.raises(ClientError) as caught:
            await asyncio.wait_for(client.list_objects_v2(Bucket="bucket"), 10)
        assert caught.value.response["Error"]["Code"] == "500"
