"""The one door to S3: retries, deadlines, the gate, ambiguity and counters, with scripted requests."""

from __future__ import annotations

import asyncio

import botocore.exceptions
import pytest

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3NotFoundError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3ThrottlingError,
    S3TimeoutError,
)
from greenlang_async_storage import _retry as retry
from tests.support.scripted import Renewals, Script, error_reply, scripted_connection

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(retry.RetryPolicy, "wait", lambda _policy, _state: 0.0)


def lost() -> Exception:
    """A reply that never came."""
    error: Exception = botocore.exceptions.ConnectionClosedError(endpoint_url="http://x")
    return error


async def test_a_first_success_is_one_attempt() -> None:
    """Nothing is retried that worked, and the slot is back."""
    conn, script = scripted_connection(), Script("reply")
    assert await conn.call("HeadObject", script, bucket="b", key="k") == "reply"
    stats = conn.statistics()
    assert (script.sent, stats.requests, stats.attempts, stats.retries, stats.in_flight) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("code", "status"), [("InternalError", 500), ("SlowDown", 503), ("RequestTimeout", 400)]
)
async def test_transient_errors_are_retried(code: str, status: int) -> None:
    """Two failures and a success are a success."""
    conn = scripted_connection()
    script = Script(error_reply(code, status), error_reply(code, status), "reply")
    assert await conn.call("GetObject", script, bucket="b", key="k") == "reply"
    assert conn.statistics().retries == 2
    assert conn.statistics().in_flight == 0


async def test_attempts_are_limited_and_counted() -> None:
    """After `max_attempts` the last failure is raised, with the count."""
    conn = scripted_connection(max_attempts=4)
    script = Script(*[error_reply("SlowDown", 503) for _ in range(9)])
    with pytest.raises(S3ThrottlingError) as caught:
        await conn.call("GetObject", script, bucket="b", key="k")
    assert (script.sent, caught.value.attempts, conn.statistics().throttles) == (4, 4, 4)


async def test_mode_none_is_one_attempt() -> None:
    """`GREENLANG_STORAGE_RETRY_MODE=none` sends once."""
    conn, script = scripted_connection(retry_mode="none"), Script(error_reply("SlowDown", 503))
    with pytest.raises(S3ThrottlingError):
        await conn.call("GetObject", script, bucket="b", key="k")
    assert script.sent == 1


@pytest.mark.parametrize(
    ("code", "status", "cls"),
    [
        ("NoSuchKey", 404, S3NotFoundError),
        ("AccessDenied", 403, S3AccessDeniedError),
        ("PreconditionFailed", 412, S3PreconditionFailedError),
    ],
)
async def test_permanent_errors_are_sent_once(code: str, status: int, cls: type[S3Error]) -> None:
    """400, 403, 404 and 412 do not get better by asking again."""
    conn, script = scripted_connection(), Script(error_reply(code, status))
    with pytest.raises(cls):
        await conn.call("GetObject", script, bucket="b", key="k")
    assert script.sent == 1
    assert conn.statistics().in_flight == 0


async def test_a_conditional_write_after_a_lost_reply_is_ambiguous() -> None:
    """A 412 that may be the echo of one's own first attempt says so."""
    conn, script = scripted_connection(), Script(lost(), error_reply("PreconditionFailed", 412))
    with pytest.raises(S3PreconditionFailedError) as caught:
        await conn.call("PutObject", script, bucket="b", key="k")
    assert caught.value.ambiguous
    assert caught.value.outcome == "unknown"
    assert caught.value.attempts == 2


async def test_a_clean_precondition_failure_is_not_ambiguous() -> None:
    """Without a lost reply a 412 is a plain refusal."""
    conn, script = (
        scripted_connection(),
        Script(error_reply("SlowDown", 503), error_reply("PreconditionFailed", 412)),
    )
    with pytest.raises(S3PreconditionFailedError) as caught:
        await conn.call("PutObject", script, bucket="b", key="k")
    assert not caught.value.ambiguous
    assert caught.value.outcome == "not_applied"


async def test_reads_are_never_unknown() -> None:
    """A lost reply to a read changed nothing."""
    conn = scripted_connection(max_attempts=1)
    with pytest.raises(S3ConnectionError) as caught:
        await conn.call("GetObject", Script(lost()), bucket="b", key="k")
    assert caught.value.outcome == "not_applied"


async def test_an_expired_token_is_renewed_once() -> None:
    """ExpiredToken renews the credentials and tries again, whatever the retry mode."""
    renewals = Renewals()
    conn = scripted_connection(renewals, retry_mode="none")
    assert (
        await conn.call("GetObject", Script(error_reply("ExpiredToken", 400), "reply"), bucket="b") == "reply"
    )
    assert renewals.count == 1


async def test_a_token_that_stays_expired_is_an_error() -> None:
    """The second ExpiredToken is final."""
    renewals = Renewals()
    script = Script(*[error_reply("ExpiredToken", 400) for _ in range(5)])
    with pytest.raises(S3CredentialsError):
        await scripted_connection(renewals).call("GetObject", script, bucket="b")
    assert (renewals.count, script.sent) == (1, 2)


async def test_programming_mistakes_are_raised_unchanged() -> None:
    """A TypeError in a request is no storage failure, and frees its slot."""
    conn = scripted_connection()
    with pytest.raises(TypeError, match="mine"):
        await conn.call("GetObject", Script(TypeError("mine")), bucket="b")
    assert conn.statistics().in_flight == 0


async def test_an_attempt_that_hangs_ends_and_is_retried() -> None:
    """The attempt's deadline ends a request without a reply; the next one may work."""
    conn = scripted_connection(attempt_timeout=0.05)
    script = Script(asyncio.Event().wait, "reply")
    assert await conn.call("PutObject", script, bucket="b", key="k") == "reply"


async def test_the_calls_deadline_is_final() -> None:
    """`call_timeout` bounds all attempts together, and the message names the variable."""
    conn = scripted_connection(attempt_timeout=10, call_timeout=0.05)
    with pytest.raises(S3TimeoutError, match="GREENLANG_STORAGE_CALL_TIMEOUT") as caught:
        await conn.call("PutObject", Script(asyncio.Event().wait), bucket="b", key="k")
    assert caught.value.outcome == "unknown"
    assert conn.statistics().in_flight == 0


async def test_timeout_of_the_call_replaces_the_default() -> None:
    """`timeout=` may be shorter than the settings' deadline, and covers every request of the call."""
    conn = scripted_connection()
    with pytest.raises(S3TimeoutError), conn.within(0.05, "GetObject", "b", "k"):
        await conn.call("GetObject", Script(asyncio.Event().wait), bucket="b", key="k")
    assert conn.statistics().in_flight == 0


async def test_waiting_for_a_slot_is_bounded() -> None:
    """With every slot taken, a call ends with S3PoolTimeoutError and was never sent."""
    conn = scripted_connection(max_pool_connections=1, pool_timeout=0.05)
    free = asyncio.Event()
    holder = asyncio.create_task(conn.call("GetObject", Script(free.wait), bucket="b"))
    await asyncio.sleep(0)
    script = Script()
    with pytest.raises(S3PoolTimeoutError) as caught:
        await conn.call("GetObject", script, bucket="b", key="k")
    assert script.sent == 0
    assert caught.value.attempts == 0
    free.set()
    await holder
    assert conn.statistics().in_flight == 0


async def test_slots_are_given_out_in_order() -> None:
    """1,000 callers on 4 slots: never more than 4 at a time, first come first served."""
    conn = scripted_connection(max_pool_connections=4)
    running = peak = 0
    order: list[int] = []

    async def one(number: int) -> None:
        async def send(_client: object) -> None:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            order.append(number)
            await asyncio.sleep(0)
            running -= 1

        await conn.call("GetObject", send, bucket="b")

    async with asyncio.TaskGroup() as group:
        for number in range(1000):
            group.create_task(one(number))
    assert peak == 4
    assert order == sorted(order)


async def test_a_cancelled_call_frees_its_slot() -> None:
    """CancelledError passes through, also while waiting for a slot."""
    conn = scripted_connection(max_pool_connections=1)
    tasks = [
        asyncio.create_task(conn.call("GetObject", Script(asyncio.Event().wait), bucket="b"))
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert conn.statistics().in_flight == 0
    assert await conn.call("GetObject", Script("reply"), bucket="b") == "reply"


async def test_a_large_body_gets_more_time() -> None:
    """A transfer has no total deadline, and its attempt's deadline grows with its size."""
    conn = scripted_connection(attempt_timeout=0.01, call_timeout=0.02)

    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "reply"

    reply = await conn.call("UploadPart", Script(slow), bucket="b", key="k", transfer_bytes=2 << 20)
    assert reply == "reply"
    assert conn.statistics().bytes_sent == 2 << 20
    with pytest.raises(S3TimeoutError):
        await conn.call("PutObject", Script(slow, slow, slow), bucket="b", key="k", transfer_bytes=1024)


async def test_a_clean_up_does_not_inherit_a_passed_deadline() -> None:
    """Aborting after a timeout gets its own time."""
    conn = scripted_connection()
    done = Script("aborted")

    async def abort() -> None:
        await conn.call("AbortMultipartUpload", done, bucket="b", key="k")

    async def upload() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await conn.clean_up("AbortMultipartUpload", abort)

    with pytest.raises(S3TimeoutError), conn.within(0.02, "PutObject", "b", "k"):
        await upload()
    assert done.sent == 1


async def test_the_owner_is_ready_for_every_request() -> None:
    """`GREENLANG_STORAGE_EXPECTED_BUCKET_OWNER` becomes the arguments every operation spreads."""
    conn = scripted_connection(expected_bucket_owner="123456789012")
    assert conn.owner == {"ExpectedBucketOwner": "123456789012"}
    assert conn.source_owner == {"ExpectedSourceBucketOwner": "123456789012"}
    assert scripted_connection().owner == {}
