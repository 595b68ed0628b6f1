"""The retry policy: which failures, how long, how often, and how fast after throttling."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import tenacity

from greenlang_async_storage import S3Error, S3ThrottlingError
from greenlang_async_storage._retry import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    BUDGET,
    LIMITER_FLOOR,
    RETRY_AFTER_CAP,
    RETRY_COST,
    AdaptiveLimiter,
    RetryBudget,
    RetryPolicy,
)


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def state(error: Exception, attempt: int) -> tenacity.RetryCallState:
    """A call whose attempt number *attempt* failed with *error*."""
    call = tenacity.RetryCallState(Mock(), None, (), {})
    call.attempt_number = attempt
    call.set_exception((type(error), error, None))
    return call


def test_an_outage_spends_the_budget_once() -> None:
    """However many calls fail, only BUDGET / RETRY_COST of them are retried."""
    budget = RetryBudget()
    taken = sum(budget.take() for _ in range(1000))
    assert taken == BUDGET // RETRY_COST


def test_successes_refill_the_budget() -> None:
    """After RETRY_COST successes one more retry is affordable, and the budget never overflows."""
    budget = RetryBudget()
    while budget.take():
        pass
    for _ in range(RETRY_COST):
        assert not budget.take()
        budget.give()
    assert budget.take()
    for _ in range(2 * BUDGET):
        budget.give()
    assert budget.tokens == BUDGET


def test_waits_are_jittered_and_capped() -> None:
    """The n-th wait lies between 0 and BACKOFF_BASE * 2**n, never above the cap."""
    policy = RetryPolicy("standard", 10, Clock())
    for attempt in range(1, 12):
        waits = [policy.wait(state(S3Error("x", retryable=True), attempt)) for _ in range(200)]
        ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt)
        assert min(waits) >= 0
        assert max(waits) <= ceiling
        assert len(set(waits)) > 100


def test_the_servers_wish_is_honoured_up_to_a_cap() -> None:
    """Retry-After decides the wait, but cannot hold a call for hours."""
    policy = RetryPolicy("standard", 3, Clock())
    error = S3ThrottlingError("slow", retryable=True)
    error.retry_after = 3.0
    assert 3.0 <= policy.wait(state(error, 1)) <= 3.0 + BACKOFF_BASE
    error.retry_after = 86400.0
    assert policy.wait(state(error, 1)) <= RETRY_AFTER_CAP + BACKOFF_BASE


@pytest.mark.parametrize(
    ("mode", "attempts", "limited"), [("adaptive", 3, True), ("standard", 3, False), ("none", 1, False)]
)
def test_modes_differ_in_attempts_and_limiter(mode: str, attempts: int, limited: bool) -> None:
    """`none` is one attempt; only `adaptive` limits the rate."""
    policy = RetryPolicy(mode, 3, Clock())  # type: ignore[arg-type]  # parametrised
    assert policy.max_attempts == attempts
    assert (policy.limiter is not None) is limited


def test_permanent_errors_are_not_retried_and_cost_nothing() -> None:
    """A 404 leaves the budget alone."""
    policy = RetryPolicy("standard", 3, Clock())
    assert not policy.again(S3Error("no", retryable=False))
    assert policy.budget.tokens == BUDGET


def test_the_limiter_sleeps_until_the_first_throttle() -> None:
    """A store that never throttles is never waited for."""
    limiter = AdaptiveLimiter(Clock())
    assert [limiter.reserve() for _ in range(10_000)] == [0.0] * 10_000


def test_throttling_lowers_the_rate_and_successes_raise_it() -> None:
    """Multiplicative decrease, additive increase, off again past twice the measured rate."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    for _ in range(100):
        limiter.reserve()
        clock.now += 0.005
    limiter.throttled()
    assert limiter.rate is not None
    lowered = limiter.rate
    assert 100 < lowered < 200
    limiter.throttled()
    assert limiter.rate is not None
    assert limiter.rate < lowered
    low = limiter.rate
    limiter.succeeded()
    assert limiter.rate > low
    for _ in range(100_000):
        limiter.succeeded()
    assert limiter.reserve() == limiter.reserve() == 0.0


def test_a_limited_rate_spaces_requests_evenly() -> None:
    """At r requests a second the n-th caller is sent away for n / r seconds."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    limiter.reserve()
    clock.now += 1.0
    limiter.throttled()
    assert limiter.rate is not None
    gap = 1.0 / limiter.rate
    waits = [limiter.reserve() for _ in range(4)]
    assert waits == pytest.approx([0.0, gap, 2 * gap, 3 * gap])


def test_the_rate_never_reaches_zero() -> None:
    """Even under constant throttling one request a second goes out."""
    limiter = AdaptiveLimiter(Clock())
    for _ in range(100):
        limiter.throttled()
    assert limiter.rate == LIMITER_FLOOR
