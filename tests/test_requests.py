"""What a call does between its attempts: renewals, the rate limit, a closing session, what it keeps alive."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import botocore.exceptions
import pytest

from greenlang_async_storage import (
    S3CredentialsError,
    S3Error,
    S3InvalidRequestError,
    S3SessionClosedError,
    S3ThrottlingError,
    S3TimeoutError,
)
from greenlang_async_storage import _retry as retry
from greenlang_async_storage._requests import RATE_LIMITED
from tests.support.scripted import Renewals, Script, error_reply, scripted_connection

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(retry.RetryPolicy, "wait", lambda _policy, _state: 0.0)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counts free anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Payload(bytearray):
    """Bytes whose end can be watched."""


async def _nothing_to_renew() -> bool:
    return False


async def test_keys_that_cannot_be_renewed_are_not_tried_again() -> None:
    """An expired session token given in a variable is one request, whatever the retry mode."""
    script = Script(*[error_reply("ExpiredToken", 400) for _ in range(3)])
    conn = scripted_connection(_nothing_to_renew)
    with pytest.raises(S3CredentialsError) as caught:
        await conn.call("GetObject", script, bucket="b", key="k")
    assert (script.sent, caught.value.attempts, conn.statistics().retries) == (1, 1, 0)


async def test_a_head_refused_without_a_reason_renews_the_credentials_once() -> None:
    """AWS answers HEAD under an expired token with a bare 400: there is no body that could name the code."""
    renewals = Renewals()
    conn = scripted_connection(renewals)
    assert await conn.call("HeadObject", Script(error_reply("400", 400), "reply"), bucket="b") == "reply"
    assert renewals.count == 1
    script = Script(*[error_reply("400", 400) for _ in range(3)])
    with pytest.raises(S3InvalidRequestError):
        await scripted_connection(_nothing_to_renew).call("HeadObject", script, bucket="b")
    assert script.sent == 1


async def test_a_renewal_that_hangs_ends_with_the_calls_deadline() -> None:
    """`call_timeout` covers the renewal too, and the error says where it happened."""

    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    conn = scripted_connection(hang, call_timeout=0.05)
    with pytest.raises(S3TimeoutError) as caught:
        await conn.call("GetObject", Script(error_reply("ExpiredToken", 400)), bucket="b", key="k")
    assert (caught.value.bucket, caught.value.key) == ("b", "k")


async def test_an_error_without_a_place_is_given_one() -> None:
    """What fails below a request, such as a renewal, names the call it failed."""

    async def refuse() -> bool:
        raise S3CredentialsError("no", operation="RefreshCredentials")

    with pytest.raises(S3CredentialsError) as caught:
        await scripted_connection(refuse).call(
            "GetObject", Script(error_reply("ExpiredToken", 400)), bucket="b", key="k"
        )
    assert (caught.value.bucket, caught.value.key, caught.value.attempts) == ("b", "k", 1)


async def test_the_rate_limit_never_outlasts_the_deadline() -> None:
    """A call whose turn comes after its deadline fails at once, unsent, and lowers the rate no further."""
    conn = scripted_connection(call_timeout=0.5)
    limiter = conn._engine._policy.limiter
    assert limiter is not None
    for _ in range(retry.LIMITER_SIGNS):
        limiter.throttled()
    for _ in range(50):
        limiter.reserve()
    script = Script()
    with pytest.raises(S3ThrottlingError, match="next turn") as caught:
        await conn.call("PutObject", script, bucket="b", key="k")
    assert (script.sent, caught.value.code, caught.value.outcome) == (0, RATE_LIMITED, "not_applied")
    assert caught.value.retryable
    assert conn.statistics().throttles == 0


async def test_a_closed_session_sends_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waited for its next attempt while the session closed ends there."""
    conn = scripted_connection()
    waiting = asyncio.Event()

    def wait(_policy: object, _state: object) -> float:
        waiting.set()
        return 0.02

    monkeypatch.setattr(retry.RetryPolicy, "wait", wait)
    script = Script(botocore.exceptions.ConnectionClosedError(endpoint_url="http://x"))
    task = asyncio.create_task(conn.call("PutObject", script, bucket="b", key="k"))
    await waiting.wait()
    await conn.aclose(0)
    with pytest.raises(S3SessionClosedError) as caught:
        await task
    assert script.sent == 1
    assert caught.value.outcome == "unknown"


async def test_a_closed_session_sends_nothing_of_those_who_queued() -> None:
    """A slot that becomes free after closing is given back unused."""
    conn = scripted_connection(max_pool_connections=1)
    free = asyncio.Event()
    holder = asyncio.create_task(conn.call("GetObject", Script(free.wait), bucket="b"))
    await asyncio.sleep(0)
    script = Script()
    task = asyncio.create_task(conn.call("GetObject", script, bucket="b"))
    await asyncio.sleep(0)
    await conn.aclose(0)
    free.set()
    await holder
    with pytest.raises(S3SessionClosedError):
        await task
    assert script.sent == 0
    assert conn.statistics().in_flight == 0


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
async def test_failed_attempts_keep_no_body_alive(failures: int, no_collector: None) -> None:
    """Neither a retried nor a failed call leaves its request body to the garbage collector."""
    conn = scripted_connection()
    payload = Payload(10)
    seen = weakref.ref(payload)
    answers = [error_reply("SlowDown", 503) for _ in range(failures)]

    async def send(_client: object, body: bytearray = payload) -> int:
        if answers:
            raise answers.pop()
        return len(body)

    with suppress(S3Error):
        await conn.call("PutObject", send, bucket="b", key="k")
    assert conn.statistics().attempts == min(failures + 1, 3)
    del send, payload
    await asyncio.sleep(0)
    assert seen() is None
