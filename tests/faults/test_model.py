"""G14 in short: a bucket is a dict, whatever is called and whatever breaks meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlang_async_storage import Bucket
from tests.faults._bucket_model import divergence
from tests.faults._model_worlds import Bench, Place
from tests.support import servers

pytestmark = pytest.mark.timeout(300)

PLACES: list[tuple[Place, bool, int]] = [("memory", False, 25), ("served", True, 30), ("minio", True, 6)]


@pytest.mark.parametrize(("place", "fast_path", "runs"), PLACES, ids=[place for place, *_ in PLACES])
def test_a_bucket_is_a_dict(tmp_path: Path, place: Place, fast_path: bool, runs: int) -> None:
    """Histories of 50 steps by the bucket and by two tenants of it, with faults: no divergence."""
    if place == "minio" and servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    with Bench(place, tmp_path, fast_path=fast_path) as bench:
        assert divergence(bench, runs=runs, steps=50, shrink=True) == ""
        assert bench.runs >= runs
        assert bench.steps >= 40 * runs


def test_a_delete_that_is_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that says it was done and was not is a divergence: the machine looks, and looks at the store."""

    async def forgetful(_self: Bucket, _key: str) -> None:
        return

    monkeypatch.setattr(Bucket, "delete", forgetful)
    with Bench("memory", tmp_path) as bench:
        assert divergence(bench, runs=15, steps=50).startswith("AssertionError")
