"""For generated replies the fast path returns what a plain client returns, and raises what it raises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlang_async_storage import fastpath
from tests.fastpath.conftest import LOOPS
from tests.fastpath.recorders import Reply, Twins, outcome, twins
from tests.fastpath.replies import replies
from tests.fastpath.strategies import EXAMPLES, NAMES

_ONE_ATTEMPT = {"total_max_attempts": 1}
_CLIENTS: dict[str, dict[str, Any]] = {
    "legacy": {
        "endpoint_url": "http://localhost:9000",
        "config": {"retries": {"mode": "legacy", **_ONE_ATTEMPT}},
    },
    "standard": {
        "endpoint_url": "http://localhost:9000",
        "config": {"retries": {"mode": "standard", **_ONE_ATTEMPT}},
    },
    "unchecked": {
        "endpoint_url": "http://localhost:9000",
        "config": {"retries": _ONE_ATTEMPT, "response_checksum_validation": "when_required"},
    },
}
_MINIMAL: dict[str, dict[str, Any]] = {
    "Bucket": {"Bucket": "bucket"},
    "Key": {"Key": "key"},
    "UploadId": {"UploadId": "upload"},
    "PartNumber": {"PartNumber": 1},
    "CopySource": {"CopySource": "a/b"},
    "Delete": {"Delete": {"Objects": [{"Key": "k"}]}},
    "Tagging": {"Tagging": {"TagSet": []}},
}


@pytest.fixture(scope="module", params=sorted(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """The event loop of all examples."""
    return str(request.param)


@pytest.fixture(scope="module")
def runner(loop_name: str) -> Iterator[asyncio.Runner]:
    """One loop for all examples."""
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as made:
        yield made


@pytest.fixture(scope="module")
def clients(recorded: None, runner: asyncio.Runner) -> Iterator[dict[str, Twins]]:
    """Twins of every configuration."""

    async def enter(stack: AsyncExitStack) -> dict[str, Twins]:
        return {
            name: await stack.enter_async_context(twins(**arguments)) for name, arguments in _CLIENTS.items()
        }

    stack = AsyncExitStack()
    yield runner.run(enter(stack))
    runner.run(stack.aclose())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_replies_are_equal(
    name: str, clients: dict[str, Twins], runner: asyncio.Runner, loop_name: str
) -> None:
    """The dictionary, or class, message and response of the error, and the attempts are equal."""
    pair = clients["legacy"]
    required = pair.plain.meta.service_model.operation_model(name).input_shape.metadata["required"]
    parameters = {key: value for member in required for key, value in _MINIMAL[member].items()}
    # Parsing is the same code on any loop.
    share = EXAMPLES // 2 // len(NAMES) // (1 if loop_name == "asyncio" else 5)
    before = fastpath.statistics()
    calls = 0

    @settings(max_examples=max(10, share), suppress_health_check=list(HealthCheck))
    @given(reply=replies(name), which=st.sampled_from(sorted(_CLIENTS)))
    def compare(reply: Reply, which: str) -> None:
        nonlocal calls
        calls += 1
        pair = clients[which]
        pair.expect(reply)
        plain = runner.run(outcome(pair.plain, name, parameters))
        fast = runner.run(outcome(pair.fast, name, parameters))
        assert fast == plain
        assert _zones(fast.result) == _zones(plain.result)
        # A redirect asks for the bucket's region by a HEAD of its own.
        assert [sent.method for sent in pair.fast_session.sent] == [
            sent.method for sent in pair.plain_session.sent
        ]

    compare()
    after = fastpath.statistics()
    assert after.operations.get(name, 0) - before.operations.get(name, 0) >= calls
    assert after.passed_on == before.passed_on
    assert after.handed_over - before.handed_over < calls


def _zones(value: Any) -> Any:
    """*value* with each time replaced by the class of its zone, which equality of times does not compare."""
    if isinstance(value, dict):
        return {name: _zones(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_zones(each) for each in value]
    return type(value.tzinfo) if hasattr(value, "tzinfo") else None


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_failures_without_another_attempt(status: int) -> None:
    """Where botocore would not try again it is not run again either, and the error is the same."""
    failure = b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"
    async with twins({"retries": {"mode": "standard", "total_max_attempts": 1}}) as pair:
        await outcome(pair.fast, "HeadObject", {"Bucket": "b", "Key": "k"})
        before = fastpath.statistics().handed_over
        for reply in (Reply(status, [], failure), Reply(status, [], b"busy"), Reply(error=OSError("gone"))):
            pair.expect(reply)
            plain, fast = [
                await outcome(client, "HeadObject", {"Bucket": "b", "Key": "k"})
                for client in (pair.plain, pair.fast)
            ]
            assert fast == plain
            assert plain.error is not None
        assert fastpath.statistics().handed_over == before
