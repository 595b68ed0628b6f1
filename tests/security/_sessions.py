"""Sessions on scripted servers, and what a process has at most in memory meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from greenlang_async_storage import Bucket, StorageSession, StorageSettings

BOTH_PATHS = pytest.mark.parametrize("fast_path", [True, False], ids=["fast", "plain"])
"""The compiled fast path, and botocore's own pipeline."""
BUCKET: Final = "lake"


@asynccontextmanager
async def session_at(url: str, *, fast_path: bool = True, **values: Any) -> AsyncIterator[StorageSession]:
    """A session that tries each request once, on the server at *url*."""
    options: dict[str, Any] = {
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "not-a-secret",
        "region": "us-east-1",
        "data_lake_bucket": BUCKET,
        "retry_mode": "none",
        "encryption": "none",
        "attempt_timeout": 20,
        "endpoint_url": url or None,
    }
    async with StorageSession(StorageSettings(**{**options, "fast_path": fast_path, **values})) as session:
        yield session
        assert session.statistics().in_flight == 0


@asynccontextmanager
async def lake_at(url: str, *, fast_path: bool = True, **values: Any) -> AsyncIterator[Bucket]:
    """Its data lake."""
    async with session_at(url, fast_path=fast_path, **values) as session:
        yield session.data_lake


class PeakMemory:
    """The resident memory this process had at most since `start`, above what it had then; Linux."""

    def __init__(self) -> None:
        self._before = 0

    def start(self) -> None:
        """Forget the peaks before."""
        # "5" sets the peak to what is resident now; see proc(5).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _status("VmRSS")

    def grown(self) -> int:
        """Bytes."""
        return _status("VmHWM") - self._before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
