"""What the fast path did in this process, and what it passed on and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Statistics:
    """Calls since the process started, over all clients of all sessions."""

    compiled: int
    """Calls whose request was made here."""
    operations: Mapping[str, int]
    """The same by operation name."""
    handed_over: int
    """
    Of the compiled calls, those whose first answer botocore then handled: retries, redirects, rare errors.
    """
    passed_on: Mapping[str, int]
    """Calls that went to botocore untouched, by reason."""


class _Counters:
    __slots__ = ("handed_over", "operations", "passed_on")

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.passed_on: Counter[str] = Counter()
        self.handed_over = 0


COUNTERS = _Counters()


def statistics() -> Statistics:
    """A frozen copy of the counters; subtract two of them to see what a piece of code did."""
    return Statistics(
        compiled=COUNTERS.operations.total(),
        operations=MappingProxyType(dict(COUNTERS.operations)),
        handed_over=COUNTERS.handed_over,
        passed_on=MappingProxyType(dict(COUNTERS.passed_on)),
    )
