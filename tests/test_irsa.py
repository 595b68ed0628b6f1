"""A role's credentials renew in a long-lived session: once for all, early, from the current token file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from greenlang_async_storage import _credentials
from greenlang_async_storage._aws import (
    OpenedClient,
    credentials_expire_at,
    credentials_source,
    open_client,
    refresh_credentials,
)
from greenlang_async_storage._error_map import map_errors
from greenlang_async_storage._errors import S3CredentialsError
from greenlang_async_storage._settings import StorageSettings
from greenlang_async_storage.testing import MotoServer
from tests.support.sts import Clock, ScriptedServer, StsServer

pytestmark = pytest.mark.asyncio
logs = pytest.mark.allow_blocking("a warning is logged, which pytest's own handler writes to a file")

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time the credentials see."""
    clock = Clock()
    monkeypatch.setattr(_credentials, "wall_clock", clock.now)
    monkeypatch.setattr(_credentials, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def token_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A pod's environment: role, token file, region."""
    path = tmp_path / "token"
    path.write_text("token-1")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/storage")
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "session")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return path


@pytest_asyncio.fixture
async def sts(clock: Clock, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StsServer]:
    """The scripted STS."""
    async with StsServer(clock, lifetime=HOUR) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        yield server


@pytest_asyncio.fixture
async def store() -> AsyncIterator[ScriptedServer]:
    """A store that notes which key signed."""
    async with ScriptedServer() as server:
        yield server


@pytest_asyncio.fixture(params=[False, True], ids=["plain", "fast"])
async def opened(
    request: pytest.FixtureRequest, sts: StsServer, store: ScriptedServer
) -> AsyncIterator[OpenedClient]:
    """A client with the role's credentials."""
    settings = StorageSettings(endpoint_url=store.url, fast_path=request.param, max_pool_connections=20)
    async with await open_client(settings) as client:
        yield client


async def call(opened: OpenedClient) -> None:
    """One request, with failures as users see them."""
    with map_errors("HeadBucket", "my-bucket"):
        await opened.client.head_bucket(Bucket="my-bucket")


async def signed_by(opened: OpenedClient, store: ScriptedServer) -> str | None:
    """The key that signs a request sent now."""
    await call(opened)
    return store.requests[-1].access_key


async def settled(opened: OpenedClient) -> None:
    """Wait for a renewal in the background, if there is one."""
    for task in asyncio.all_tasks():
        if task.get_name() == "storage-credentials":
            await asyncio.wait([task])


async def test_the_role_signs_and_tells_its_end(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """Opening asks nothing; the first call assumes the role with the token, and the keys' end is known."""
    assert credentials_source(opened.client) == "assume-role-with-web-identity"
    assert credentials_expire_at(opened.client) is None
    assert sts.requests == []
    assert await signed_by(opened, store) == "KEY1"
    assert store.requests[-1].headers["x-amz-security-token"] == "token-of-KEY1"
    assert sts.requests[0].form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::123456789012:role/storage",
        "RoleSessionName": "session",
        "WebIdentityToken": "token-1",
    }
    expires_at = credentials_expire_at(opened.client)
    assert expires_at is not None
    assert abs(expires_at - clock.now() - timedelta(hours=1)) < timedelta(seconds=1)


async def test_one_renewal_serves_all_waiters(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """200 callers at the start and again after expiry cost one STS call each time."""
    await asyncio.gather(*(call(opened) for _ in range(200)))
    assert len(sts.requests) == 1
    clock.passed = HOUR + 1
    await asyncio.gather(*(call(opened) for _ in range(200)))
    assert len(sts.requests) == 2
    assert [request.access_key for request in store.requests] == ["KEY1"] * 200 + ["KEY2"] * 200


async def test_renewal_is_early_and_behind_the_calls(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """15 minutes before the end a renewal starts, and calls go on with the old keys until it is done."""
    assert await signed_by(opened, store) == "KEY1"
    clock.passed = HOUR - 15 * 60 - 5
    assert await signed_by(opened, store) == "KEY1"
    await settled(opened)
    assert len(sts.requests) == 1
    clock.passed = HOUR - 15 * 60 + 5
    sts.may_answer.clear()
    sts.asked.clear()
    for _ in range(5):
        assert await signed_by(opened, store) == "KEY1"
    await sts.asked.wait()
    sts.may_answer.set()
    await settled(opened)
    assert await signed_by(opened, store) == "KEY2"
    assert len(sts.requests) == 2


async def test_short_lived_credentials_are_not_renewed_with_every_call(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """Keys of 15 minutes are used for most of their life."""
    sts.lifetime = 15 * 60
    for _ in range(3):
        assert await signed_by(opened, store) == "KEY1"
    clock.passed = 11 * 60
    assert await signed_by(opened, store) == "KEY1"
    await settled(opened)
    assert len(sts.requests) == 1
    clock.passed = 12 * 60
    await call(opened)
    await settled(opened)
    assert await signed_by(opened, store) == "KEY2"


async def test_a_rotated_token_file_is_read_again(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock, token_file: Path
) -> None:
    """Each renewal shows the token that is in the file then, read off the loop."""
    for number in range(1, 4):
        token_file.write_text(f"token-{number}")
        assert await signed_by(opened, store) == f"KEY{number}"
        clock.passed += HOUR + 1
    assert sts.tokens == ["token-1", "token-2", "token-3"]


async def test_a_cancelled_caller_leaves_the_renewal_to_the_others(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer
) -> None:
    """Cancelling the call that started the renewal harms no other call."""
    sts.may_answer.clear()
    first = asyncio.create_task(call(opened))
    await sts.asked.wait()
    second = asyncio.create_task(call(opened))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    sts.may_answer.set()
    await second
    assert len(sts.requests) == 1
    assert [request.access_key for request in store.requests] == ["KEY1"]


@logs
async def test_failing_early_uses_the_valid_keys_and_backs_off(
    opened: OpenedClient,
    sts: StsServer,
    store: ScriptedServer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the keys are valid a failure is a warning, retried after 1, 2, 4 ... s, not with every call."""
    await call(opened)
    sts.error = ("InvalidIdentityToken", "canary-reason")
    clock.passed = HOUR - 600
    with caplog.at_level(logging.WARNING, "greenlang_async_storage"):
        for waited, calls in [(0, 2), (0.9, 2), (0.2, 3), (1.8, 3), (0.3, 4), (3.9, 4), (0.2, 5)]:
            clock.passed += waited
            assert await signed_by(opened, store) == "KEY1"
            await settled(opened)
            assert len(sts.requests) == calls
    told = [record.getMessage() for record in caplog.records if record.name == "greenlang_async_storage"]
    assert len(told) == 4
    assert all(line.startswith("storage.credentials_refresh_failed") for line in told)
    assert not any("token-1" in line or "KEY1" in line for line in told)
    sts.error = None
    clock.passed += 30
    await call(opened)
    await settled(opened)
    assert await signed_by(opened, store) == "KEY6"


@logs
async def test_failing_close_to_the_end_still_uses_the_valid_keys(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """In the last minute callers wait for the renewal, and go on with keys that still hold when it fails."""
    await call(opened)
    sts.error = ("InvalidIdentityToken", "no")
    clock.passed = HOUR - 30
    assert await signed_by(opened, store) == "KEY1"
    assert len(sts.requests) == 2


@logs
async def test_failing_after_the_end_is_a_credentials_error_for_all(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """200 callers share one failed renewal and its reason; the next try comes a second later."""
    await call(opened)
    clock.passed = HOUR + 1
    sts.error = ("InvalidIdentityToken", "the token has been revoked")
    results = await asyncio.gather(*(call(opened) for _ in range(200)), return_exceptions=True)
    assert {type(result) for result in results} == {S3CredentialsError}
    assert all("the token has been revoked" in str(result) for result in results)
    assert all("web-identity" in str(result) for result in results)
    with pytest.raises(S3CredentialsError, match="the token has been revoked"):
        await call(opened)
    assert len(sts.requests) == 2
    assert len(store.requests) == 1
    sts.error = None
    clock.passed += 1.1
    assert await signed_by(opened, store) == "KEY3"


@logs
async def test_a_missing_token_file_is_a_credentials_error(
    opened: OpenedClient, sts: StsServer, token_file: Path
) -> None:
    """The error names the file."""
    token_file.unlink()
    with pytest.raises(S3CredentialsError, match=str(token_file)):
        await call(opened)
    assert sts.requests == []


@logs
async def test_keys_that_come_expired_are_a_credentials_error(opened: OpenedClient, sts: StsServer) -> None:
    """A wrong clock shows as such, not as an endless renewal."""
    sts.lifetime = -10
    with pytest.raises(S3CredentialsError, match="already expired"):
        await call(opened)
    assert len(sts.requests) == 1


@logs
async def test_a_silent_sts_ends_by_its_deadline(
    opened: OpenedClient, sts: StsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal without an answer fails with the time it waited."""
    monkeypatch.setattr(_credentials, "RENEWAL_TIMEOUT", 0.05)
    sts.may_answer.clear()
    with pytest.raises(S3CredentialsError, match=r"no answer within 0\.05 s"):
        await call(opened)


async def test_a_forced_renewal_is_shared_and_passes_every_cache(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer, clock: Clock
) -> None:
    """Calls refused as expired at the same time renew once, though the keys looked good for an hour."""
    await call(opened)
    clock.passed = 60
    assert all(await asyncio.gather(*(refresh_credentials(opened.client) for _ in range(200))))
    assert len(sts.requests) == 2
    assert await refresh_credentials(opened.client)
    assert len(sts.requests) == 2
    assert await signed_by(opened, store) == "KEY2"
    clock.passed += 6
    assert await refresh_credentials(opened.client)
    assert len(sts.requests) == 3


@logs
async def test_a_forced_renewal_that_fails_says_so(
    opened: OpenedClient, sts: StsServer, clock: Clock
) -> None:
    """The refusal of the role is the caller's, with what to check."""
    await call(opened)
    clock.passed = 60
    sts.error = ("AccessDenied", "not authorized to assume the role")
    with pytest.raises(S3CredentialsError, match=r"not authorized.*AWS_WEB_IDENTITY_TOKEN_FILE"):
        await refresh_credentials(opened.client)


async def test_closing_ends_a_renewal_and_tells_its_waiters(
    opened: OpenedClient, sts: StsServer, store: ScriptedServer
) -> None:
    """A caller that waits for keys when the client closes fails at once, and is not taken for cancelled."""
    sts.may_answer.clear()
    waiting = asyncio.create_task(call(opened))
    await sts.asked.wait()
    await opened.aclose()
    with pytest.raises(S3CredentialsError, match="closed"):
        await waiting
    assert store.requests == []


async def test_the_wire_shape_is_stss(
    moto_server: MotoServer, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto, which parses the call as STS does, gives keys that then sign requests to its store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.endpoint_url)
    async with await open_client(StorageSettings(endpoint_url=moto_server.endpoint_url)) as opened:
        await opened.client.list_buckets()
        expires_at = credentials_expire_at(opened.client)
        assert expires_at is not None
        assert expires_at > _credentials.wall_clock() + timedelta(minutes=30)
        assert await refresh_credentials(opened.client)
