"""When to try again and how fast: full jitter, one token bucket, and a rate limiter after throttling."""

from __future__ import annotations

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

LIMITER_FLOOR: Final = 1.0
"""Requests per second the limiter never goes below."""
LIMITER_BACKOFF: Final = 0.7
LIMITER_STEP: Final = 0.1
"""Requests per second each success adds: a steady load grows its rate by a tenth a second."""


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
    A request rate that falls when the store throttles and grows back while it does not (AIMD).

    Costs nothing until the first throttle; switches itself off past twice the rate measured then.
    """

    __slots__ = ("_ceiling", "_clock", "_count", "_next", "_window", "rate")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rate: float | None = None
        """Requests per second allowed now; `None` while not limiting."""
        self._clock = clock
        self._next = 0.0
        self._ceiling = 0.0
        self._window = clock()
        self._count = 0

    def reserve(self) -> float:
        """Seconds to wait before the next request may go; takes its place in the schedule."""
        now = self._clock()
        self._count += 1
        if now - self._window >= 1.0:
            self._window, self._count = now, 1
        if self.rate is None:
            return 0.0
        start = max(now, self._next)
        self._next = start + 1.0 / self.rate
        return start - now

    def throttled(self) -> None:
        """The store asked to slow down."""
        now = self._clock()
        measured = self._count / max(now - self._window, 0.1)
        if self.rate is None:
            self._ceiling = 2.0 * max(measured, LIMITER_FLOOR)
        current = measured if self.rate is None else min(self.rate, max(measured, LIMITER_FLOOR))
        self.rate = max(LIMITER_FLOOR, current * LIMITER_BACKOFF)

    def succeeded(self) -> None:
        """A request went through."""
        if self.rate is None:
            return
        self.rate += LIMITER_STEP
        if self.rate >= self._ceiling:
            self.rate = None
            self._next = 0.0


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

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: the server's wish, else full jitter."""
        asked = getattr(state.outcome.exception() if state.outcome else None, "retry_after", None)
        if asked is not None:
            return min(float(asked), RETRY_AFTER_CAP) + random.uniform(0.0, BACKOFF_BASE)  # noqa: S311  # not a secret
        return _jitter(state)


_jitter = tenacity.wait_random_exponential(multiplier=BACKOFF_BASE, max=BACKOFF_CAP)
