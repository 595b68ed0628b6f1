"""F14, expired tokens: one renewal for all callers, one more try each, and a clear end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import S3CredentialsError, _credentials
from greenlang_async_storage.testing import Fault
from tests.support.faults import Lab, laboratory
from tests.support.sts import Clock, StsServer

pytestmark = pytest.mark.asyncio
logs = pytest.mark.allow_blocking("a warning is logged, which pytest's own handler writes to a file")

CALLERS = 200
SMALL = b"0123456789"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time the credentials see."""
    clock = Clock()
    monkeypatch.setattr(_credentials, "wall_clock", clock.now)
    monkeypatch.setattr(_credentials, "monotonic", clock.monotonic)
    return clock


@pytest_asyncio.fixture
async def provider(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[StsServer]:
    """The provider that counts: an STS for the web identity of a pod."""
    token = tmp_path / "token"
    await asyncio.to_thread(token.write_text, "token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/storage")
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "session")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    async with StsServer(clock) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        yield server


@pytest_asyncio.fixture(params=[False, True], ids=["plain", "fast"])
async def lab(request: pytest.FixtureRequest, provider: StsServer, clock: Clock) -> AsyncIterator[Lab]:
    """A session that assumed the role a minute ago, behind a proxy."""
    keys: dict[str, Any] = {"access_key_id": None, "secret_access_key": None}
    async with laboratory("served", fast_path=request.param, **keys) as made:
        await made.lake.upload_bytes("key", SMALL)
        assert len(provider.requests) == 1
        clock.passed = 60
        yield made


def expired(times: int) -> list[Fault]:
    """The next *times* requests are refused for their token; 0: every request."""
    refusal: dict[str, Any] = {"status": 400, "code": "ExpiredToken"}
    counts = range(1, times + 1) if times else [0]
    return [Fault("GetObject", nth, "unforwarded", "replace", **refusal) for nth in counts]


def signed_by(lab: Lab) -> Counter[str]:
    """How many of the reads were signed with which key."""
    reads = [request for request in lab.faults.requests if request.operation == "GetObject"]
    return Counter(request.headers["authorization"].split("=")[1].split("/")[0] for request in reads)


@pytest.mark.parametrize("times", [1, 64, CALLERS])
async def test_f14_an_expired_token_is_renewed_once(lab: Lab, provider: StsServer, times: int) -> None:
    """Refused *times* times under 200 callers: exactly one renewal, and every caller gets its bytes."""
    lab.plan(*expired(times))
    found = await asyncio.gather(*(lab.lake.download_bytes("key") for _ in range(CALLERS)))
    assert found == [SMALL] * CALLERS
    assert len(provider.requests) == 2
    signers = signed_by(lab)
    assert signers.total() == CALLERS + times
    assert signers["KEY2"] >= times


async def test_f14_renewed_once_in_mid_upload(lab: Lab, provider: StsServer) -> None:
    """Parts in flight at the same time share the renewal too, and the object is whole."""
    refusal: dict[str, Any] = {"status": 400, "code": "ExpiredToken"}
    lab.plan(*(Fault("UploadPart", nth, "unforwarded", "replace", **refusal) for nth in (1, 2)))
    data = bytes(range(256)) * (11 * 4096)
    await lab.lake.upload_bytes("large", data)
    assert lab.check.content("large") == data
    assert len(provider.requests) == 2


async def test_f14_a_head_without_a_body_renews_as_well(lab: Lab, provider: StsServer) -> None:
    """A refused HEAD has no body to name the reason in: its bare 400 is taken for an expired token."""
    # botocore takes it for the wrong region, and asks the bucket, which refuses the token too.
    names = ("HeadObject", "HeadBucket")
    lab.plan(*(Fault(name, 1, "unforwarded", "replace", status=400) for name in names))
    assert (await lab.lake.head("key")).size == len(SMALL)
    assert len(provider.requests) == 2


@logs
async def test_f14_a_token_that_stays_expired(lab: Lab, provider: StsServer) -> None:
    """`S3CredentialsError` for all 200: after one renewal and two requests each, and no more."""
    lab.plan(*expired(0))
    results = await asyncio.gather(
        *(lab.lake.download_bytes("key") for _ in range(CALLERS)), return_exceptions=True
    )
    assert {type(result) for result in results} == {S3CredentialsError}
    assert {result.attempts for result in results if isinstance(result, S3CredentialsError)} == {2}
    assert {result.code for result in results if isinstance(result, S3CredentialsError)} == {"ExpiredToken"}
    assert lab.count("GetObject") == 2 * CALLERS
    assert len(provider.requests) == 2


@logs
async def test_f14_a_renewal_that_fails(lab: Lab, provider: StsServer) -> None:
    """All callers hear why the provider refused; it was asked once for all of them."""
    lab.plan(*expired(0))
    provider.error = ("AccessDenied", "the role is gone")
    results = await asyncio.gather(
        *(lab.lake.download_bytes("key") for _ in range(CALLERS)), return_exceptions=True
    )
    assert {type(result) for result in results} == {S3CredentialsError}
    assert all("the role is gone" in str(result) for result in results)
    assert len(provider.requests) == 2
    provider.error = None
