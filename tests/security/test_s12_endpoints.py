"""S12: no request goes where nobody configured it: not by redirect, not by name, not by environment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    StorageSettings,
    StorageSettingsError,
)
from tests.fastpath.transport.wire import Server, reply
from tests.security._sessions import BOTH_PATHS, lake_at

pytestmark = pytest.mark.asyncio

METADATA = "169.254.169.254"
CALLS: dict[str, Callable[[Bucket], Awaitable[object]]] = {
    "GetObject": lambda lake: lake.download_bytes("key"),
    "HeadObject": lambda lake: lake.head("key"),
    "PutObject": lambda lake: lake.upload_bytes("key", b"data"),
    "CopyObject": lambda lake: lake.copy("key", "copy"),
    "DeleteObject": lambda lake: lake.delete("key"),
    "DeleteObjects": lambda lake: lake.delete_many(["a", "b"], fail_fast=True),
    "ListObjectsV2": lambda lake: anext(lake.list_objects()),
}


class Names:
    """A resolver whose answers a test decides; each look-up uses up one, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, _host: Any, port: Any, **_: Any) -> list[Any]:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, int(port), 0, 0) if ":" in address else (address, int(port)),
            )
            for address in found
        ]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses connections were opened to; only loopback is let through."""
    seen: list[str] = []
    original = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def sock_connect(loop: Any, sock: Any, address: Any) -> None:
        seen.append(str(address[0]))
        if address[0] not in {"127.0.0.1", "::1"}:
            raise ConnectionRefusedError(111, "not from a test")
        await original(loop, sock, address)

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)
    return seen


@BOTH_PATHS
async def test_s12_a_redirect_is_no_way_to_another_host(fast_path: bool) -> None:
    """Whatever a reply names as the new place, nothing is sent there: no request, so no signature."""
    async with Server() as elsewhere, Server() as server:
        elsewhere.answers(reply())
        place = f"127.0.0.1:{elsewhere.port}"
        headers = f"Location: http://{place}/lake/key\r\nx-amz-bucket-region: eu-west-1\r\n"
        body = f"<Error><Code>PermanentRedirect</Code><Endpoint>{place}</Endpoint></Error>".encode()
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            for operation, status in product(CALLS, (301, 302, 303, 307, 308)):
                told = b"" if operation in {"HeadObject", "CopyObject"} else body
                server.answers(reply(told, status=f"{status} X", headers=f"{headers}Connection: close\r\n"))
                with pytest.raises(S3Error) as caught:
                    await CALLS[operation](lake)
                assert caught.value.outcome == "not_applied", (operation, status)
                assert elsewhere.connections == 0, (operation, status)
        hosts = {request.headers["host"] for request in server.requests}
        assert hosts == {f"127.0.0.1:{server.port}"}


@BOTH_PATHS
async def test_s12_a_name_that_is_led_to_the_metadata_address(
    monkeypatch: pytest.MonkeyPatch, dialled: list[str], fast_path: bool
) -> None:
    """A host name that was the store and now leads to the credentials' address is not followed there."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Names(["127.0.0.1"], [METADATA]))
    async with Server() as server:
        url = f"http://store.example:{server.port}"
        for expected in (None, S3ConnectionError):
            server.answers(reply(b"data", headers="Connection: close\r\n"))
            async with lake_at(url, fast_path=fast_path) as lake:
                if expected is None:
                    assert await lake.download_bytes("key") == b"data"
                else:
                    with pytest.raises(expected, match="metadata address"):
                        await lake.download_bytes("key")
    assert dialled
    assert METADATA not in dialled


@BOTH_PATHS
async def test_s12_bad_addresses_among_good_ones(
    monkeypatch: pytest.MonkeyPatch, dialled: list[str], fast_path: bool
) -> None:
    """Only the addresses that may be reached are tried."""
    bad = ["::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", METADATA]
    names = Names([*bad, "127.0.0.1", *bad])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names)
    async with Server() as server:
        server.answers(reply(b"data"))
        async with lake_at(f"http://store.example:{server.port}", fast_path=fast_path) as lake:
            assert await lake.download_bytes("key") == b"data"
    assert set(dialled) == {"127.0.0.1"}


@BOTH_PATHS
async def test_s12_what_was_allowed_is_tried(
    monkeypatch: pytest.MonkeyPatch, dialled: list[str], fast_path: bool
) -> None:
    """`allow_link_local_endpoint` lifts it, so the guard above is what refuses."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Names([METADATA]))
    async with lake_at(
        "http://store.example:9000", fast_path=fast_path, allow_link_local_endpoint=True
    ) as lake:
        with pytest.raises(S3ConnectionError):
            await lake.download_bytes("key")
    assert METADATA in dialled


@pytest.mark.parametrize("disabled", [True, False])
async def test_s12_instance_metadata_has_a_switch(monkeypatch: pytest.MonkeyPatch, disabled: bool) -> None:
    """AWS_EC2_METADATA_DISABLED=true: nobody asks the machine it runs on for credentials."""
    async with Server() as metadata, Server() as server:
        metadata.answers(reply(status="404 Not Found"))
        server.answers(reply(b"data"))
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{metadata.port}")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", str(disabled).lower())
        monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
        keys: dict[str, Any] = {"access_key_id": None, "secret_access_key": None}
        async with lake_at(f"http://127.0.0.1:{server.port}", **keys) as lake:
            with pytest.raises(S3CredentialsError):
                await lake.download_bytes("key")
        assert (metadata.connections == 0) is disabled
        assert server.requests == []


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
async def test_s12_the_environment_cannot_move_a_configured_endpoint(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Those of botocore count only where no endpoint is configured, and never for metadata addresses."""
    async with Server() as elsewhere, Server() as server:
        server.answers(reply(b"data"))
        elsewhere.answers(reply(b"other"))
        monkeypatch.setenv(variable, f"http://127.0.0.1:{elsewhere.port}")
        async with lake_at(f"http://127.0.0.1:{server.port}") as lake:
            assert await lake.download_bytes("key") == b"data"
        assert elsewhere.connections == 0
    monkeypatch.setenv(variable, f"http://{METADATA}")
    with pytest.raises(StorageSettingsError, match="metadata address"):
        async with lake_at(""):
            pass


HOSTILE = {
    "another scheme": "file:///etc/passwd",
    "user": "https://user@store.example",
    "user and password": "https://user:password@store.example",
    "path": "https://store.example/../admin",
    "query": "https://store.example?x=1",
    "fragment": "https://store.example#@other",
    "two hosts": "https://store.example\\@169.254.169.254",
    "line break": "https://store.example\r\nHost: other",
    "number": "http://2852039166",
    "hexadecimal": "http://0xa9.0xfe.0xa9.0xfe",
    "octal": "http://0251.0376.0251.0376",
    "link-local": "http://169.254.1.1",
    "metadata": "http://169.254.169.254",
    "in IPv6": "http://[::ffff:169.254.169.254]",
    "by NAT64": "http://[64:ff9b::a9fe:a9fe]",
    "by name": "http://metadata.google.internal",
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_s12_endpoints_that_are_refused(case: str) -> None:
    """Before anything is opened, with the variable's name and without the password."""
    with pytest.raises(StorageSettingsError, match="GREENLANG_STORAGE_ENDPOINT_URL") as caught:
        StorageSettings(endpoint_url=HOSTILE[case])
    assert "password@" not in str(caught.value)
