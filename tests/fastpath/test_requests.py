"""For generated parameters the fast path sends what a plain client sends, signature included."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlang_async_storage import fastpath
from tests.fastpath.recorders import Twins, outcome, twins
from tests.fastpath.strategies import EXAMPLES, NAMES, built, parameters

_ONLY_REQUIRED = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_PATH = {"s3": {"addressing_style": "path"}}
_VIRTUAL = {"s3": {"addressing_style": "virtual"}}
_CLIENTS: dict[str, dict[str, Any]] = {
    "http, path": {"endpoint_url": "http://localhost:9000"},
    "https, path": {"endpoint_url": "https://store.example:8443", "config": _PATH},
    "https, aws": {},
    "http, virtual": {"endpoint_url": "http://s3.example.com", "config": _VIRTUAL},
    "http, only required checksums, token": {
        "endpoint_url": "http://127.0.0.1:80/base/",
        "aws_session_token": "token/with+signs==",
        "config": _ONLY_REQUIRED,
    },
    "https, only required checksums": {
        "config": _ONLY_REQUIRED,
    },
    "https, unsigned payload": {"config": {"s3": {"payload_signing_enabled": False}}},
    "https, accelerate": {"config": {"s3": {"use_accelerate_endpoint": True}}},
    "https, dual stack, fips": {"config": {"use_dualstack_endpoint": True, "use_fips_endpoint": True},
                                "region_name": "us-east-1"},
    "https, standard retries": {"config": {"retries": {"mode": "standard", "total_max_attempts": 1}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def clients(frozen: None, recorded: None, runner: asyncio.Runner) -> Iterator[dict[str, Twins]]:
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
def test_requests_are_equal(name: str, clients: dict[str, Twins], runner: asyncio.Runner) -> None:
    """Method, URL, headers, body and signature are equal, or both refuse in the same words."""
    before = fastpath.statistics()
    calls = 0

    @settings(max_examples=max(20, EXAMPLES // 2 // len(NAMES)), suppress_health_check=list(HealthCheck))
    @given(drawn=parameters(name), which=st.sampled_from(sorted(_CLIENTS)))
    def compare(drawn: dict[str, Any], which: str) -> None:
        nonlocal calls
        calls += 1
        pair = clients[which]
        pair.expect()
        plain = runner.run(outcome(pair.plain, name, built(drawn)))
        fast = runner.run(outcome(pair.fast, name, built(drawn)))
        assert fast == plain
        assert fast_sent(pair) == plain_sent(pair)

    compare()
    after = fastpath.statistics()
    compiled = after.operations.get(name, 0) - before.operations.get(name, 0)
    passed_on = sum(after.passed_on.values()) - sum(before.passed_on.values())
    assert compiled + passed_on == calls
    assert compiled > calls // 4, f"{compiled} of {calls} calls were compiled"


def plain_sent(pair: Twins) -> list[Any]:
    """What the plain client sent, its user agent as a set of words."""
    return [
        (sent, _words(agent))
        for sent, agent in zip(pair.plain_session.sent, pair.plain_session.agents, strict=True)
    ]


def fast_sent(pair: Twins) -> list[Any]:
    """The same of the other."""
    return [
        (sent, _words(agent))
        for sent, agent in zip(pair.fast_session.sent, pair.fast_session.agents, strict=True)
    ]


def _words(agent: str) -> list[Any]:
    # The features are written in the order of a set.
    return [sorted(word[2:].split(",")) if word.startswith("m/") else word for word in agent.split()]
