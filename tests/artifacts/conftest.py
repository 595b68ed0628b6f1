"""What every test of the artifacts shares: objects as other programs write them, and a clock to turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.seeding import Seeder


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Writes with a plain client, as the platform's older code does."""
    return Seeder(observer, bucket_name)


class TurnedClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 2, 3, 10, 30, 0, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, by: timedelta) -> None:
        """Move on, or back."""
        self.now += by


@pytest.fixture
def clock() -> TurnedClock:
    """A clock of the test's own."""
    return TurnedClock()
