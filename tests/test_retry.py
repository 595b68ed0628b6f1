"""The retry policy: which failures, how long, how often, and how fast after throttling."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from unittest.mock import Mock

import pytest
import tenacity

from greenlang_async_storage import S3Error, S3ThrottlingError
from greenlang_async_storage._retry import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    BUDGET,
    LIMITER_FLOOR,
    LIMITER_SIGNS,
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


def overload(limiter: AdaptiveLimiter, refusals: int = LIMITER_SIGNS) -> None:
    """That many refusals at once."""
    for _ in range(refusals):
        limiter.throttled()


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


def test_a_few_refusals_are_no_overload() -> None:
    """The first request of a burst may be the one refused: the others are not made to wait for it."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    for _ in range(20):
        clock.now += 60.0
        overload(limiter, LIMITER_SIGNS - 1)
        assert [limiter.reserve() for _ in range(1_000)] == [0.0] * 1_000
        for _ in range(1_000):
            limiter.succeeded()
    assert limiter.rate is None


def test_an_overload_is_seen_before_its_second_is_over() -> None:
    """Of a store that refuses everything `LIMITER_SIGNS` replies are enough."""
    limiter = AdaptiveLimiter(Clock())
    overload(limiter)
    assert limiter.rate == LIMITER_FLOOR


def test_a_store_that_refuses_while_it_starts_is_asked_as_often_as_before() -> None:
    """Two seconds without it do not make the client forget what it took: nobody waits at the lowest rate."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    for _ in range(2_000):
        clock.now += 0.001
        limiter.reserve()
        limiter.succeeded()
    clock.now += 1.0
    limiter.reserve()
    overload(limiter)
    assert limiter.rate is not None
    assert limiter.rate > 500


def test_a_second_with_many_refusals_limits_a_slow_client_too() -> None:
    """A client too slow for `LIMITER_SIGNS` refusals goes by their share, unless that is an old story."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)

    def ten_calls() -> None:
        for number in range(10):
            clock.now += 0.1
            limiter.reserve()
            (limiter.throttled if number % 3 == 0 else limiter.succeeded)()

    ten_calls()
    clock.now += 60.0
    limiter.reserve()
    assert limiter.rate is None
    ten_calls()
    ten_calls()
    assert limiter.rate == pytest.approx(1.15 * 6, rel=0.2)


def _goodput(accepts: Callable[[float], bool], seconds: int = 60) -> tuple[float, AdaptiveLimiter]:
    """Accepted requests per second of 32 workers whose requests take 50 ms."""
    clock = Clock()
    clock.now = 0.0
    limiter = AdaptiveLimiter(clock)
    events = [(0.0, worker, False) for worker in range(32)]
    accepted = 0
    while events[0][0] < seconds:
        clock.now, worker, sent = heapq.heappop(events)
        if not sent:
            heapq.heappush(events, (clock.now + limiter.reserve() + 0.05, worker, True))
            continue
        if accepts(clock.now):
            limiter.succeeded()
            accepted += 1
        else:
            limiter.throttled()
        heapq.heappush(events, (clock.now, worker, False))
    return accepted / seconds, limiter


def test_refusals_at_random_cost_hardly_more_than_themselves() -> None:
    """A store that refuses every tenth request gets at least 70 % of the clean throughput, not a crawl."""
    chance = random.Random(3)
    clean, _ = _goodput(lambda _now: True)
    accepted, _ = _goodput(lambda _now: chance.random() >= 0.1)
    assert accepted >= 0.7 * clean


def test_a_store_at_its_limit_is_not_flooded() -> None:
    """Of a store that takes 100 a second nearly all is used, and few requests are sent in vain."""
    taken = refused = 0
    period = -1

    def accepts(now: float) -> bool:
        nonlocal taken, refused, period
        if int(now * 10) != period:
            period, taken = int(now * 10), 0
        taken += 1
        refused += taken > 10
        return taken <= 10

    accepted, _ = _goodput(accepts)
    assert accepted >= 85
    assert refused / 60 <= 30


def test_the_rate_falls_in_an_outage_and_comes_back() -> None:
    """Ten seconds of nothing but refusals, and the limiter is off again half a minute later."""
    _, during = _goodput(lambda now: now < 5, 15)
    assert during.rate == LIMITER_FLOOR
    _, after = _goodput(lambda now: not 5 < now < 15, 45)
    assert after.rate is None


def test_a_store_that_was_gone_gets_its_old_rate_back_at_once() -> None:
    """A second in which it refuses nothing is enough: the rate does not double from a crawl."""
    clean, _ = _goodput(lambda _now: True, 10)
    _, after = _goodput(lambda now: not 5 < now < 15, 17)
    assert after.rate is not None
    assert after.rate >= clean


@pytest.mark.parametrize("gone", [4.0, 10.0])
def test_a_store_that_went_in_the_middle_of_a_second_gets_its_whole_rate_back(gone: float) -> None:
    """What it took in the part of a second it was there for, going or coming back, is not what it takes."""
    clean, _ = _goodput(lambda _now: True, 10)
    _, after = _goodput(lambda now: not 5.7 < now < 5.7 + gone, int(8 + gone))
    assert after.rate is not None
    assert after.rate >= clean


def test_a_queue_made_at_a_higher_rate_is_not_stretched() -> None:
    """Callers who have their time keep it, so those behind them do not wait for places nobody uses."""
    clock = Clock()
    clock.now = 0.0
    limiter = AdaptiveLimiter(clock)
    for _ in range(1_000):
        limiter.reserve()
        limiter.succeeded()
        clock.now += 0.0009
    overload(limiter, 200)
    clock.now += 0.2
    limiter.throttled()
    assert limiter.rate is not None
    last = [limiter.reserve() for _ in range(int(5 * limiter.rate))][-1]
    clock.now += 1.1
    limiter.throttled()
    assert limiter.rate == LIMITER_FLOOR
    assert limiter.reserve() <= last - 1.1 + 1.0 / LIMITER_FLOOR


def test_one_burst_of_refusals_is_one_sign() -> None:
    """Two hundred requests refused at once do not lower the rate two hundred times."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    for _ in range(600):
        limiter.reserve()
        limiter.succeeded()
        clock.now += 0.002
    overload(limiter, 200)
    assert limiter.rate is not None
    assert limiter.rate > 400


def test_a_limited_rate_spaces_requests_evenly() -> None:
    """At r requests a second the n-th caller is sent away for n / r seconds."""
    limiter = AdaptiveLimiter(Clock())
    overload(limiter)
    assert limiter.rate is not None
    gap = 1.0 / limiter.rate
    waits = [limiter.reserve() for _ in range(4)]
    assert waits == pytest.approx([0.0, gap, 2 * gap, 3 * gap])


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    """Callers who cannot wait that long leave the place to others."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    overload(limiter)
    limiter.reserve()
    gap = 1.0 / LIMITER_FLOOR
    assert limiter.reserve(clock.now + gap / 2) == pytest.approx(gap)
    assert limiter.reserve(clock.now + gap / 2) == pytest.approx(gap)
    assert limiter.reserve() == pytest.approx(gap)


def test_the_rate_never_reaches_zero() -> None:
    """Even under constant throttling some requests go out, to find out when it ends."""
    clock = Clock()
    limiter = AdaptiveLimiter(clock)
    for _ in range(100):
        limiter.throttled()
        clock.now += 0.5
    assert limiter.rate == LIMITER_FLOOR
