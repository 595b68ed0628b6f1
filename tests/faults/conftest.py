"""Fixtures of the fault tests: a laboratory behind each door, and retries that do not wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio

from greenlang_async_storage import _retry
from greenlang_async_storage._multipart import _abort
from tests.support.faults import Door, Lab, laboratory


@pytest.fixture(autouse=True)
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits are proved elsewhere; here they would only cost time."""
    monkeypatch.setattr(_retry.RetryPolicy, "pause", lambda *_: 0.0)
    monkeypatch.setattr(_abort, "LANDING_SECONDS", 0.0)


@pytest_asyncio.fixture(params=["direct", "served"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """The same fault through botocore's pipeline in memory, and through sockets with the fast path."""
    async with laboratory(cast("Door", request.param)) as made:
        yield made
