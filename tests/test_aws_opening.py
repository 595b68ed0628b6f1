"""Opening gives one safe client, made off the loop, configured as the settings and botocore's chain say."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession

from greenlang_async_storage._aws import (
    credentials_expire_at,
    credentials_source,
    open_client,
    refresh_credentials,
)
from greenlang_async_storage._aws_session import StorageAioSession, client_args, make_session, new_client
from greenlang_async_storage._errors import S3ConnectionError, S3CredentialsError
from greenlang_async_storage._http_sessions import CheckedHttpSession, require_secure, secure
from greenlang_async_storage._settings import StorageSettings, StorageSettingsError
from greenlang_async_storage.testing import StorageServer
from tests.support.sts import Reply, ScriptedServer

pytestmark = pytest.mark.asyncio

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "not-a-secret"}


def plain(**values: Any) -> StorageSettings:
    """Settings for the client without the fast path."""
    return StorageSettings(fast_path=False, **{**KEYS, **values})


@pytest.fixture
def profile(empty_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A configuration file with one profile."""
    path = tmp_path / "config"
    path.write_text(
        "[profile ops]\nregion = ap-south-1\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = s\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.mark.parametrize("fast_path", [False, True])
async def test_an_opened_client_works(server: StorageServer, bucket_name: str, fast_path: bool) -> None:
    """The client stores and reads an object, with and without the fast path."""
    keys = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    settings = plain(endpoint_url=server.endpoint_url, region=server.region, **keys)
    settings = settings.model_copy(update={"fast_path": fast_path})
    async with await open_client(settings) as opened:
        await opened.client.put_object(Bucket=bucket_name, Key="k", Body=b"payload")
        response = await opened.client.get_object(Bucket=bucket_name, Key="k")
        async with response["Body"] as body:
            assert await body.read() == b"payload"
        assert opened.endpoint_url == server.endpoint_url


async def test_the_configuration_is_what_the_settings_say() -> None:
    """SigV4, one attempt, pool and times from the settings, checksums left to the SDK, our name sent."""
    settings = plain(region="eu-west-1", max_pool_connections=7, connect_timeout=1.5, read_timeout=2.5)
    async with await open_client(settings) as opened:
        config = opened.client.meta.config
        assert config.signature_version == "s3v4"
        assert config.max_pool_connections == 7
        assert (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
        assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
        assert config.request_checksum_calculation == "when_required"
        assert config.response_checksum_validation == "when_required"
        assert config.user_agent_extra.startswith("greenlang-async-storage/")
        assert opened.region == "eu-west-1"


@pytest.mark.parametrize(
    ("values", "host", "path"),
    [
        ({"region": "eu-west-1"}, "my-bucket.s3.eu-west-1.amazonaws.com", "/k"),
        ({"region": "us-east-1"}, "my-bucket.s3.us-east-1.amazonaws.com", "/k"),
        ({"region": "eu-west-1", "endpoint_url": "http://localhost:9000"}, "localhost", "/my-bucket/k"),
        ({"region": "eu-west-1", "use_accelerate": True}, "my-bucket.s3-accelerate.amazonaws.com", "/k"),
        ({"use_localstack": True}, "localhost", "/my-bucket/k"),
    ],
)
async def test_addresses_follow_the_endpoint(values: dict[str, Any], host: str, path: str) -> None:
    """AWS is addressed by virtual host, other stores by path, acceleration by its own host; always SigV4."""
    async with await open_client(plain(**values)) as opened:
        url = urlsplit(
            await opened.client.generate_presigned_url("get_object", {"Bucket": "my-bucket", "Key": "k"})
        )
    assert (url.hostname, url.path) == (host, path)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url.query


async def test_region_comes_from_settings_then_profile_then_default(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION, which botocore does not read, wins over the profile; without any there is a default."""
    async with await open_client(plain()) as opened:
        assert opened.region == "us-east-1"
    monkeypatch.setenv("AWS_PROFILE", "ops")
    async with await open_client(StorageSettings(fast_path=False)) as opened:
        assert opened.region == "ap-south-1"
        assert credentials_source(opened.client) == "config-file"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    async with await open_client(StorageSettings(fast_path=False)) as opened:
        assert opened.region == "eu-west-1"


@pytest.mark.parametrize(
    ("values", "environment", "key", "source"),
    [
        ({}, {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s"}, "AKIDENV", "env"),
        (KEYS, {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s"}, "AKIDEXAMPLE", "explicit"),
        (
            {"use_localstack": True},
            {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s"},
            "test",
            "explicit",
        ),
        ({"use_localstack": True, **KEYS}, {}, "AKIDEXAMPLE", "explicit"),
    ],
)
async def test_keys_in_code_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, Any],
    environment: dict[str, str],
    key: str,
    source: str,
) -> None:
    """Explicit keys first, then LocalStack's, then botocore's own chain."""
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    async with ScriptedServer() as store:
        settings = StorageSettings(fast_path=False, endpoint_url=store.url, **values)
        async with await open_client(settings) as opened:
            await opened.client.head_bucket(Bucket="my-bucket")
            assert credentials_source(opened.client) == source
            assert credentials_expire_at(opened.client) is None
            assert not await refresh_credentials(opened.client)
    assert [request.access_key for request in store.requests] == [key]


async def test_opening_without_credentials_succeeds() -> None:
    """Nothing found is no failure until something must be signed."""
    async with await open_client(StorageSettings(fast_path=False)) as opened:
        assert credentials_source(opened.client) == "none"
        assert credentials_expire_at(opened.client) is None


async def test_an_unknown_profile_is_a_credentials_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped AWS_PROFILE fails opening with its name."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(S3CredentialsError, match="no-such-profile"):
        await open_client(StorageSettings(fast_path=False))


async def test_botocores_endpoint_variable_is_honoured_and_ours_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL_S3 decides unless GREENLANG_STORAGE_ENDPOINT_URL is set."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1111")
    async with await open_client(plain()) as opened:
        assert opened.endpoint_url == "http://127.0.0.1:1111"
        url = await opened.client.generate_presigned_url("get_object", {"Bucket": "my-bucket", "Key": "k"})
        assert url.startswith("http://127.0.0.1:1111/my-bucket/k?")
    async with await open_client(plain(endpoint_url="http://127.0.0.1:2222")) as opened:
        assert opened.endpoint_url == "http://127.0.0.1:2222"


@pytest.mark.allow_blocking("pytest's own log handler writes to a file")
async def test_botocores_endpoint_variable_cannot_reach_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of metadata addresses holds for AWS_ENDPOINT_URL too, and can be lifted."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://169.254.169.254")
    with pytest.raises(StorageSettingsError, match="AWS_ENDPOINT_URL"):
        await open_client(plain())
    async with await open_client(plain(allow_link_local_endpoint=True)) as opened:
        assert opened.endpoint_url == "http://169.254.169.254"


async def test_botocores_endpoint_variable_excludes_acceleration(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3_USE_ACCELERATE with any endpoint but AWS's own is a conflict that names both."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1111")
    with pytest.raises(StorageSettingsError, match=r"S3_USE_ACCELERATE.*AWS_ENDPOINT_URL"):
        await open_client(plain(use_accelerate=True))


async def test_closing_twice_does_nothing_more() -> None:
    """The connections end with the first close."""
    async with ScriptedServer() as store:
        opened = await open_client(plain(endpoint_url=store.url))
        await opened.client.head_bucket(Bucket="my-bucket")
        await opened.aclose()
        await opened.aclose()


async def test_cancelling_the_opening_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel at any await of the opening ends it; the leak detectors watch the rest."""
    for turns in range(1, 60):
        task = asyncio.create_task(open_client(plain()))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            await (await task).aclose()
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_clients_are_made_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, rules and TLS context are never worked on by the loop's thread."""
    threads: list[int] = []
    make, context = AioSession._create_client, CheckedHttpSession._get_ssl_context

    def record(function: Any) -> Any:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            threads.append(threading.get_ident())
            return function(*args, **kwargs)

        return recorded

    monkeypatch.setattr(AioSession, "_create_client", record(make))
    monkeypatch.setattr(CheckedHttpSession, "_get_ssl_context", record(context))
    async with await open_client(plain()):
        assert len(threads) >= 1
        assert threading.get_ident() not in threads


def run_fresh(code: str) -> None:
    """Run *code* in a new interpreter; a failing assertion there fails here."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.allow_blocking("the test itself starts a process")
async def test_aioboto3_is_imported_in_a_thread() -> None:
    """Importing our opening leaves aioboto3 alone; opening imports it, but not on the loop's thread."""
    run_fresh(
        """
import asyncio, builtins, sys, threading
from greenlang_async_storage._aws import open_client
from greenlang_async_storage._settings import StorageSettings
assert not {"aioboto3", "aiobotocore", "boto3", "aiohttp"} & set(sys.modules)
importers = {}
class Finder:
    def find_spec(self, name, path=None, target=None):
        importers.setdefault(name, threading.get_ident())
sys.meta_path.insert(0, Finder())
async def main():
    async with await open_client(StorageSettings(fast_path=False, access_key_id="a", secret_access_key="b")):
        assert importers["aioboto3"] != threading.get_ident()
        assert importers["aiobotocore"] != threading.get_ident()
asyncio.run(main())
"""
    )


async def test_the_merge_that_loses_the_session_class_loses_no_safety() -> None:
    """`AioConfig.merge()` drops `http_session_cls` on the pinned stack; the client is checked anyway."""
    session = StorageAioSession()
    session.set_default_client_config(AioConfig(http_session_cls=AIOHTTPSession))
    async with session.create_client("s3", config=AioConfig(), region_name="eu-west-1") as client:
        assert type(client._endpoint.http_session) is CheckedHttpSession


async def test_an_unknown_session_class_is_refused() -> None:
    """A client that sends through something nobody knows to be safe does not open."""

    class Custom(AIOHTTPSession):  # type: ignore[misc]
        pass

    session = StorageAioSession()
    with pytest.raises(TypeError, match="Custom"):
        async with session.create_client(
            "s3", config=AioConfig(http_session_cls=Custom), region_name="eu-west-1"
        ):
            pytest.fail("it opened")


async def test_a_plain_client_is_not_taken_for_a_safe_one() -> None:
    """The assertion after opening tells aiobotocore's own session from ours, and `secure` mends it."""
    async with AioSession().create_client("s3", region_name="eu-west-1", **_keys()) as client:
        with pytest.raises(TypeError, match="AIOHTTPSession"):
            require_secure(client)
        await asyncio.to_thread(secure, client, {})
        require_secure(client)


def _keys() -> dict[str, str]:
    return {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


async def test_a_client_context_may_be_entered_again() -> None:
    """The SSO provider enters one context at every refresh; the second time works like the first."""
    context = new_client(await asyncio.to_thread(make_session, plain()), plain(), "0")
    for _ in range(2):
        async with context as client:
            assert client.meta.region_name == "us-east-1"


async def test_verify_tls_reaches_the_client(tmp_path: Path) -> None:
    """True leaves botocore's chain alone (AWS_CA_BUNDLE counts); a path or false is passed on."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert "verify" not in client_args(plain(), "0")
    settings = await asyncio.to_thread(plain, verify_tls=bundle)
    assert client_args(settings, "0")["verify"] == str(bundle)
    assert client_args(plain(verify_tls=False), "0")["verify"] is False


@pytest.mark.allow_blocking("pytest's own log handler writes to a file")
@pytest.mark.parametrize(
    ("values", "event"),
    [
        ({"endpoint_url": "http://store.example"}, "storage.endpoint_unencrypted"),
        ({"verify_tls": False}, "storage.tls_unverified"),
        ({"endpoint_url": "http://127.0.0.1:9"}, None),
        ({"endpoint_url": "https://store.example"}, None),
    ],
)
async def test_unsafe_transport_is_said_once(
    caplog: pytest.LogCaptureFixture, values: dict[str, Any], event: str | None
) -> None:
    """Plain http off this machine and unverified TLS give one warning at opening, nothing else does."""
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        async with await open_client(plain(**values)):
            pass
    told = [
        record.getMessage() for record in caplog.records if record.name.startswith("greenlang_async_storage")
    ]
    assert [line.split()[0] for line in told] == ([event] if event else [])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_never_carries_credentials_elsewhere(status: int) -> None:
    """A redirect is an answer: the other host is not contacted."""
    async with ScriptedServer() as other:
        location = {"location": f"{other.url}/stolen"}
        async with ScriptedServer(lambda _: Reply(status, headers=location)) as store:
            settings = plain(endpoint_url=store.url, region="eu-west-1", session_token="token")
            async with await open_client(settings) as opened:
                with pytest.raises(opened.client.exceptions.ClientError):
                    await opened.client.get_object(Bucket="my-bucket", Key="k")
    assert len(store.requests) in {1, 2}, "the call, and at most one look-up of the bucket's region"
    assert other.requests == []


async def test_a_refused_connection_is_recognisable() -> None:
    """What the client raises is what the error table knows."""
    from greenlang_async_storage._error_map import map_errors

    async with ScriptedServer() as store:
        url = store.url
    async with await open_client(plain(endpoint_url=url)) as opened:
        with pytest.raises(S3ConnectionError), map_errors("HeadBucket"):
            await opened.client.head_bucket(Bucket="my-bucket")
