"""When to try again and how fast: full jitter, one token bucket, and a rate limiter after throttling."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import tenacity

from ._errors import S3ThrottlingError

if TYPE_CHECKING:
    from ._errors import S3Error
    from ._types import RetryMode

BACKOFF_BASE: Final = 0.1
"""Seconds; the n-th wait is drawn evenly from 0 to `BACKOFF_BASE * 2**n`."""
BACKOFF_CAP: Final = 5.0
"""Seconds; short, so that a store that came back is used again soon."""
RETRY_AFTER_CAP: Final = 30.0
"""Seconds; a server may ask for more, but not hold a call longer than this."""

BUDGET: Final = 500
RETRY_COST: Final = 5
"""Tokens: an outage costs a client at most `BUDGET / RETRY_COST` retries, as in botocore's standard mode."""

LIMITER_FLOOR: Final = 5.0
"""Requests per second the limiter never goes below."""
LIMITER_PERIOD: Final = 1.0
"""Seconds over which it counts what is accepted and refused."""
LIMITER_STALE: Final = 2 * LIMITER_PERIOD
"""Seconds after which a count says how little was asked for, not what the store takes."""
LIMITER_HEADROOM: Final = 1.15
"""Requests sent for each one that is accepted."""
LIMITER_TOLERANCE: Final = 0.12
"""Share of refused requests that is no overload yet: as many as the headroom brings at a steady limit."""
LIMITER_SIGNS: Final = 10
"""Refusals, and more than were accepted, that show an overload before the period is over."""
LIMITER_GROWTH: Final = 2.0
"""How much the rate grows in a period without a refusal, at most."""


class RetryBudget:
    """Tokens all calls of a client share: retries take five, successes give one back."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = BUDGET

    def take(self) -> bool:
        """Whether one more retry is within the budget; takes its cost when it is."""
        if self.tokens < RETRY_COST:
            return False
        self.tokens -= RETRY_COST
        return True

    def give(self) -> None:
        """Count one success."""
        if self.tokens < BUDGET:
            self.tokens += 1


class AdaptiveLimiter:
    """
    A request rate that follows what the store accepts, and grows back while it refuses nothing.

    Costs nothing until the store is overloaded, which a few refusals at random do not show: it takes a
    second with more than `LIMITER_TOLERANCE` of them, or `LIMITER_SIGNS` that outnumber what was accepted.
    After such a second the rate is `LIMITER_HEADROOM` times what was accepted in it: a store at its limit
    sees a few requests more than it takes. A second with fewer refusals doubles the rate; one without any
    brings it back to where a store that was gone had been before. Once nobody needs half the rate the limiter
    switches itself off.
    """

    __slots__ = (
        "_accepted", "_before", "_clock", "_known", "_last", "_next", "_refused", "_sent", "_since", "rate",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rate: float | None = None
        """Requests per second allowed now; `None` while not limiting."""
        self._clock = clock
        self._next = 0.0
        self._since = clock()
        self._sent = self._accepted = self._refused = 0
        self._last = 0.0
        """Accepted per second in the last period."""
        self._before = 0.0
        """The same, or half of what it was a period earlier, whichever is more."""
        self._known = 0.0
        """Requests per second for a store that refuses none: what it took before it refused most."""

    def reserve(self, latest: float = math.inf) -> float:
        """Seconds to wait before the next request may go; takes that place unless it is after *latest*."""
        now = self._clock()
        self._turn(now)
        if self.rate is None:
            self._sent += 1
            return 0.0
        start = max(now, self._next)
        if start <= latest:
            self._sent += 1
            self._next = start + 1.0 / self.rate
        return start - now

    def throttled(self) -> None:
        """The store asked to slow down."""
        now = self._clock()
        self._turn(now)
        self._refused += 1
        if self.rate is None and self._refused >= LIMITER_SIGNS and self._refused > self._accepted:
            self._switch_on(max(self._before, self._accepted / max(now - self._since, LIMITER_PERIOD / 10)))

    def succeeded(self) -> None:
        """A request went through."""
        self._turn(self._clock())
        self._accepted += 1

    def _turn(self, now: float) -> None:
        """Once a period: set the rate by what the period has shown."""
        period = now - self._since
        if period < LIMITER_PERIOD:
            return
        accepted = self._accepted / period
        tolerated = LIMITER_TOLERANCE * (self._accepted + self._refused)
        overloaded = self._refused > tolerated and period < LIMITER_STALE
        if self.rate is None:
            if overloaded:
                self._switch_on(accepted)
        else:
            grown = self.rate * LIMITER_GROWTH
            if overloaded:
                taken = LIMITER_HEADROOM * accepted
                if self._accepted > self._refused and self._last >= accepted / 2:
                    # It has a limit, and is not just gone, or on its way back.
                    self._known = taken
                self._adjust(now, max(LIMITER_FLOOR, min(grown, taken)))
            elif self._next <= now and self._sent / period < self.rate / 2:
                self.rate, self._next = None, 0.0
            else:
                back = self._accepted > 0 and self._refused == 0
                self._adjust(now, max(grown, self._known) if back else grown)
        self._since, self._last, self._before = now, accepted, max(accepted, self._before / 2)
        self._sent = self._accepted = self._refused = 0

    def _switch_on(self, accepted: float) -> None:
        """Limit from now on, to a little more than the store took per second."""
        self._known = LIMITER_HEADROOM * max(accepted, self._before)
        self.rate = max(LIMITER_FLOOR, LIMITER_HEADROOM * accepted)

    def _adjust(self, now: float, rate: float) -> None:
        """Change the rate. Those who wait already keep their times; behind them it moves up with the rate."""
        assert self.rate is not None  # noqa: S101  # only called while limiting
        if rate > self.rate:
            self._next = now + max(0.0, self._next - now) * self.rate / rate
        self.rate = rate


class RetryPolicy:
    """Which failures of one call are tried again, after which wait, and how often."""

    __slots__ = ("budget", "limiter", "max_attempts")

    def __init__(self, mode: RetryMode, max_attempts: int, clock: Callable[[], float]) -> None:
        self.max_attempts = 1 if mode == "none" else max_attempts
        self.budget = RetryBudget()
        self.limiter = AdaptiveLimiter(clock) if mode == "adaptive" else None

    def note(self, error: S3Error | None) -> None:
        """Feed one attempt's result to the shared budget and limiter."""
        if error is None:
            self.budget.give()
            if self.limiter is not None:
                self.limiter.succeeded()
        elif self.limiter is not None and isinstance(error, S3ThrottlingError):
            self.limiter.throttled()

    def again(self, error: S3Error) -> bool:
        """Whether *error* deserves another attempt and the budget has one."""
        return error.retryable and self.budget.take()

    def pause(self, error: S3Error, attempts: int) -> float:
        """Seconds to wait after attempt number *attempts* failed with *error*."""
        state = tenacity.RetryCallState(_RETRYING, None, (), {})
        state.attempt_number = max(1, attempts)
        state.set_exception((type(error), error, None))
        return self.wait(state)

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: the server's wish, else full jitter."""
        asked = getattr(state.outcome.exception() if state.outcome else None, "retry_after", None)
        if asked is not None:
            return min(float(asked), RETRY_AFTER_CAP) + random.uniform(0.0, BACKOFF_BASE)  # noqa: S311  # not a secret
        return _jitter(state)


_RETRYING: Final = tenacity.AsyncRetrying()
_jitter = tenacity.wait_random_exponential(multiplier=BACKOFF_BASE, max=BACKOFF_CAP)
