"""Retries are botocore's own: attempts on the wire, results, quota and rate limiter in all three modes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import aiobotocore.endpoint
import aiobotocore.retries.bucket
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from greenlang_async_storage import fastpath
from tests.fastpath.recorders import Reply, Twins, outcome, redirects, twins

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("frozen", "recorded", "no_waiting")]

_GET = {"Bucket": "bucket", "Key": "key"}
_HTTP: dict[str, Any] = {"endpoint_url": "http://localhost:9000"}


def _error(status: int, code: str, extra: str = "", **headers: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>m</Message>{extra}</Error>".encode()
    return Reply(status, [("x-amz-request-id", "R"), *headers.items()], body)


_OK = Reply(200, [("content-length", "2"), ("etag", '"e"')], b"ok")
_COPIED = Reply(200, [], b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>")
_WEST = {"x-amz-bucket-region": "us-west-2"}
_IN_WEST = list(_WEST.items())
_URL = "http://localhost:9000"
_SLOW_DOWN_IN_200 = Reply(200, [], b"<Error><Code>SlowDown</Code></Error>")
_MALFORMED = _error(400, "AuthorizationHeaderMalformed", "<Region>us-west-2</Region>")
_SEQUENCES: dict[str, tuple[str, list[Reply]]] = {
    "503, then well": ("GetObject", [_error(503, "SlowDown"), _OK]),
    "500 three times": ("GetObject", [_error(500, "InternalError")] * 3 + [_OK]),
    "500 without end": ("GetObject", [_error(500, "InternalError")] * 9),
    "no XML": ("GetObject", [Reply(502, [], b"<html>bad gateway</html>"), _OK]),
    "throttled by code": ("HeadObject", [Reply(400), Reply(503), Reply(200)]),
    "slow down": ("PutObject", [_error(503, "SlowDown")] * 2 + [Reply(200, [("etag", "e")])]),
    "request timeout": ("PutObject", [_error(400, "RequestTimeout"), Reply(200)]),
    "bad digest": ("PutObject", [_error(400, "BadDigest"), Reply(200)]),
    "forbidden": ("GetObject", [_error(403, "AccessDenied")]),
    "missing": ("GetObject", [_error(404, "NoSuchKey")]),
    "missing, by HEAD": ("HeadObject", [Reply(404)]),
    "not modified": ("GetObject", [Reply(304, [("etag", "e")])]),
    "precondition": ("GetObject", [_error(412, "PreconditionFailed")]),
    "conflict": ("GetObject", [_error(409, "Conflict")]),
    "refused": ("GetObject", [Reply(error=EndpointConnectionError(endpoint_url=_URL)), _OK]),
    "read timeout": ("GetObject", [Reply(error=ReadTimeoutError(endpoint_url=_URL))] * 2 + [_OK]),
    "connect timeout without end": ("HeadObject", [Reply(error=ConnectTimeoutError(endpoint_url=_URL))] * 9),
    "error in 200": ("CopyObject", [Reply(200, [], b"<Error><Code>InternalError</Code></Error>"), _COPIED]),
    "cut off in 200": ("CopyObject", [Reply(200, [], b"<CopyObjectResult><ETag>"), _COPIED]),
    "error in 200 without end": ("CompleteMultipartUpload", [_SLOW_DOWN_IN_200] * 9),
    "expired token": ("GetObject", [_error(400, "ExpiredToken")]),
    "clock skew": ("GetObject", [_error(403, "RequestTimeTooSkewed")]),
    "wrong region": ("GetObject", [_error(301, "PermanentRedirect", **_WEST), _OK]),
    "wrong region, temporary": ("GetObject", [_error(307, "TemporaryRedirect", **_WEST), _OK]),
    "wrong region, malformed": ("PutObject", [_MALFORMED, Reply(200)]),
    "wrong region by HEAD": ("HeadObject", [Reply(400, _IN_WEST), Reply(200)]),
    "wrong region, asked for": ("HeadObject", [Reply(301), Reply(200, _IN_WEST), Reply(200)]),
    "wrong region of a bucket": ("HeadBucket", [Reply(301, _IN_WEST), Reply(200)]),
}  # fmt: skip
_PARAMETERS: dict[str, dict[str, Any]] = {
    "PutObject": {**_GET, "Body": b"data"},
    "CopyObject": {**_GET, "CopySource": "a/b"},
    "CompleteMultipartUpload": {**_GET, "UploadId": "u"},
    "HeadBucket": {"Bucket": "bucket"},
}


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries wait no time, by the same clock and the same dice in both clients."""
    waited: list[float] = []
    ticks: Counter[int] = Counter()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def wait_for(waiting: Coroutine[object, object, object], timeout: float) -> None:
        waited.append(timeout)
        waiting.close()
        raise TimeoutError

    def current_time(clock: object) -> float:
        ticks[id(clock)] += 1
        return 1000.0 + ticks[id(clock)]

    monkeypatch.setattr("botocore.retries.bucket.Clock.current_time", current_time)
    monkeypatch.setattr(aiobotocore.endpoint, "asyncio", SimpleNamespace(sleep=sleep))
    asynchronous = SimpleNamespace(wait_for=wait_for, TimeoutError=TimeoutError, Condition=asyncio.Condition)
    monkeypatch.setattr(aiobotocore.retries.bucket, "asyncio", asynchronous)
    return waited


def _state(client: Any) -> dict[str, Any]:
    """Quota and rate limiter of *client*."""
    state: dict[str, Any] = {}
    for event in ("needs-retry.s3.GetObject", "after-call.s3.GetObject"):
        for handler in client.meta.events._emitter._handlers.prefix_search(event):
            owner: Any = getattr(handler, "__self__", None)
            if hasattr(owner, "_quota"):
                state["quota"] = owner._quota.available_capacity
            if hasattr(owner, "_rate_clocker"):
                state["throttled"] = owner._enabled
                state["recorded"] = (owner._rate_clocker._count, owner._rate_clocker.measured_rate)
                state["rate"] = owner._token_bucket.max_rate
    return state


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
@pytest.mark.parametrize("sequence", sorted(_SEQUENCES))
async def test_as_botocore(mode: str, sequence: str, no_waiting: list[float]) -> None:
    """Requests, waits, result and `RetryAttempts`, quota and limiter are those of a plain client."""
    operation, replies = _SEQUENCES[sequence]
    async with twins(config={"retries": {"mode": mode}}, **_HTTP) as pair:
        await _compare(pair, operation, replies, no_waiting)


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("sequence", ["503, then well", "missing", "error in 200", "refused"])
async def test_one_attempt(mode: str, sequence: str, no_waiting: list[float]) -> None:
    """With one attempt allowed there is one, and the standard mode says that it was the last."""
    operation, replies = _SEQUENCES[sequence]
    async with twins(config={"retries": {"mode": mode, "total_max_attempts": 1}}, **_HTTP) as pair:
        await _compare(pair, operation, replies, no_waiting)
        pair.expect(Reply(200))
        result = await pair.fast.head_object(**_GET)
        assert result["ResponseMetadata"].get("MaxAttemptsReached", False) is (mode == "standard")


async def test_quota_comes_back(no_waiting: list[float]) -> None:
    """Successes give back what retries took, one by one, as in botocore."""
    async with twins(config={"retries": {"mode": "standard"}}, **_HTTP) as pair:
        await _compare(pair, "GetObject", _SEQUENCES["500 without end"][1], no_waiting)
        drained = _state(pair.fast)["quota"]
        for _ in range(3):
            await _compare(pair, "GetObject", [_OK], no_waiting)
        assert _state(pair.fast)["quota"] == drained + 3


async def test_the_limiter_sees_every_answer(no_waiting: list[float]) -> None:
    """Successes and refusals count for the measured rate of the adaptive mode."""
    async with twins(config={"retries": {"mode": "adaptive"}}, **_HTTP) as pair:
        before = _state(pair.fast)
        for _ in range(4):
            await _compare(pair, "GetObject", [_OK], no_waiting)
            await _compare(pair, "GetObject", _SEQUENCES["missing"][1], no_waiting)
        assert _state(pair.fast) != before


async def test_a_redirect_is_remembered(no_waiting: list[float]) -> None:
    """After one redirect the bucket's calls are compiled for its region; a custom host stays."""
    async with twins(**_HTTP) as pair:
        await _compare(pair, "GetObject", _SEQUENCES["wrong region"][1], no_waiting)
        assert redirects(pair.fast) == {"bucket": "us-west-2"}
        before = fastpath.statistics()
        pair.plain_session.replies = [_OK]
        pair.fast_session.replies = [_OK]
        await outcome(pair.plain, "GetObject", _GET)
        await outcome(pair.fast, "GetObject", _GET)
        assert pair.fast_session.sent[-1] == pair.plain_session.sent[-1]
        assert "/us-west-2/s3/" in str(pair.fast_session.sent[-1].headers)
        assert pair.fast_session.sent[-1].url.startswith(_URL)
        after = fastpath.statistics()
        assert (after.compiled, after.handed_over) == (before.compiled + 1, before.handed_over)


async def test_one_invocation_has_one_identity() -> None:
    """All attempts of one call carry the same invocation id, the first of which was ours."""
    async with twins(**_HTTP) as pair:
        ids: list[str] = []
        record = pair.fast_session._record

        def recording(method: str, url: str, headers: dict[str, str], body: bytes) -> None:
            ids.append(headers["amz-sdk-invocation-id"])
            record(method, url, headers, body)

        pair.fast_session._record = recording  # type: ignore[method-assign]
        pair.expect(_error(500, "InternalError"), _error(500, "InternalError"), _OK)
        await pair.fast.get_object(**_GET)
        assert len(ids) == 3
        assert len(set(ids)) == 1


async def test_a_body_that_breaks_off(no_waiting: list[float]) -> None:
    """A broken document is retried; the broken text of a refused GetObject is raised."""
    broken = ReadTimeoutError(endpoint_url=_URL)
    async with twins(**_HTTP) as pair:
        await _compare(
            pair, "ListObjectsV2", [Reply(200, [], b"", body_error=broken), Reply(200)], no_waiting
        )
        await _compare(pair, "GetObject", [Reply(500, [], b"", body_error=broken), _OK], no_waiting)


async def test_cancelling_is_not_retried() -> None:
    """A cancelled exchange ends the call at once."""
    async with twins(**_HTTP) as pair:
        pair.expect(Reply(error=asyncio.CancelledError()))
        with pytest.raises(asyncio.CancelledError):
            await pair.fast.get_object(**_GET)
        assert pair.fast_session.replies == []


@pytest.mark.allow_blocking("the double of the transport reads the file in place")
async def test_a_file_is_sent_again_from_its_start(tmp_path: Any, no_waiting: list[float]) -> None:
    """A file body is rewound for the attempts botocore makes."""
    path = tmp_path / "body"
    path.write_bytes(b"from a file")
    async with twins(**_HTTP) as pair:
        for client, session in ((pair.plain, pair.plain_session), (pair.fast, pair.fast_session)):
            session.replies = [_error(503, "SlowDown"), Reply(200)]
            with path.open("rb") as file:
                await client.put_object(Bucket="bucket", Key="key", Body=file)
        assert [sent.body for sent in pair.fast_session.sent] == [b"from a file"] * 2
        assert pair.fast_session.sent[0] == pair.plain_session.sent[0]


async def _compare(pair: Twins, operation: str, replies: list[Reply], waited: list[float]) -> None:
    parameters = _PARAMETERS.get(operation, {"Bucket": "bucket"} if operation.startswith("List") else _GET)
    before = fastpath.statistics()
    pair.expect(*replies)
    waited.clear()
    random.seed(20)
    plain = await outcome(pair.plain, operation, parameters)
    plain_waited = list(waited)
    waited.clear()
    random.seed(20)
    fast = await outcome(pair.fast, operation, parameters)
    assert fast == plain
    assert pair.fast_session.sent == pair.plain_session.sent
    assert waited == plain_waited
    assert _state(pair.fast) == _state(pair.plain)
    after = fastpath.statistics()
    assert after.compiled > before.compiled
    assert after.passed_on == before.passed_on
