"""The same for what is built on it: artifacts, directories made equal, tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa

from greenlang_async_storage import Bucket
from greenlang_async_storage.artifacts import CalculationStore, EmissionFactorCache, ModelStore, ReportStore
from greenlang_async_storage.ingest import plan_copy, plan_download, plan_upload
from greenlang_async_storage.parquet import load_table, open_table, save_table
from tests.faults._cancel_lab import LARGE, MADE, SMALL, Scene, Work

NOW: Final = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
DAY: Final = date(2026, 2, 3)
FACTORS: Final = {"DE": {"kg_co2e_per_kwh": 0.38}}
TABLE: Final = pa.table({"tenant": ["acme", "globex"] * 50, "kg": list(range(100))})


async def prepare(at: Scene) -> None:
    """What is there before: artifacts of each kind in the bucket, files in the folder."""
    lake = at.lab.lake
    await CalculationStore(lake).save("acme", "c1", {"kg": 1}, calculated_at=NOW)
    await ReportStore(lake).store("acme", "annual", SMALL, generated_at=NOW)
    await EmissionFactorCache(lake).put("epa", FACTORS, version="1")
    models = ModelStore(lake)
    for version in ("1", "2"):
        await models.save("m", version, LARGE, {"of": version})
    await models.promote("m", "1")
    await save_table(lake, "table.parquet", TABLE)
    for name, data in (("one", SMALL), ("sub/two", LARGE), ("three", b"{}")):
        path = at.folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _made(at: Scene) -> Bucket:
    return at.lab.lake.scoped(MADE)


async def _calculations(at: Scene) -> None:
    store = CalculationStore(_made(at))
    await store.save("acme", "c2", {"kg": 2}, calculated_at=NOW)
    assert await store.load("acme", "c2", DAY) == {"kg": 2}
    assert [found.name async for found in store.list("acme", DAY)] == ["c2"]


async def _reports(at: Scene) -> None:
    store = ReportStore(_made(at))
    stored = await store.store("acme", "annual", SMALL, generated_at=NOW, filename="Bericht ü.pdf")
    assert (await store.load(stored.key)).data == SMALL
    await store.presign_download(stored.key)


async def _factors(at: Scene) -> None:
    async def load() -> dict[str, object]:
        return dict(FACTORS)

    cache = EmissionFactorCache(_made(at))
    assert await cache.get_or_load("epa", load, version="1") == FACTORS
    assert await cache.get("epa") == FACTORS
    await cache.info("epa")
    assert await cache.sources() == ["epa"]


async def _model_saved(at: Scene) -> None:
    store = ModelStore(_made(at))
    await store.save("m", "1", LARGE, {"a": 1})
    await store.promote("m", "1", "production")
    assert await store.metrics("m", stage="production") == {"a": 1}


async def _model_taken_over(at: Scene) -> None:
    store = ModelStore(_made(at))
    await store.save("m", "1", at.folder / "source", {"a": 1}, take_over=True)


async def _model_read(at: Scene) -> None:
    store = ModelStore(at.lab.lake)
    assert await store.load("m") == LARGE
    assert await store.versions("m") == ["1", "2"]
    assert await store.names() == ["m"]
    assert [found.stage for found in await store.stages("m")] == ["production"]


async def _model_downloaded(at: Scene) -> None:
    await ModelStore(at.lab.lake).download("m", at.folder / "target")


async def _model_unpickled(at: Scene) -> None:
    store = ModelStore(_made(at))
    await store.save("p", "1", {"weights": [1, 2]})
    assert await store.load("p", trust=True) == {"weights": [1, 2]}


async def _sync_up(at: Scene) -> None:
    async with await plan_upload(at.folder / "tree", _made(at)) as plan:
        assert len([action async for action in plan]) == 3
        assert (await plan.apply(concurrency=2)).ok
        assert [failure async for failure in plan.failures()] == []


async def _sync_down(at: Scene) -> None:
    async with await plan_download(at.lab.lake, "tree/", at.folder / "down") as plan:
        assert (await plan.apply(concurrency=2)).ok


async def _sync_copy(at: Scene) -> None:
    async with await plan_copy(at.lab.lake, "tree/", at.lab.lake, MADE) as plan:
        assert (await plan.apply(concurrency=2)).ok


async def _table_saved(at: Scene) -> None:
    await save_table(_made(at), "t.parquet", TABLE)


async def _table_read(at: Scene) -> None:
    assert (await load_table(at.lab.lake, "table.parquet")).num_rows == 100
    async with open_table(at.lab.lake, "table.parquet", columns=["kg"]) as reader:
        async for group in reader:
            assert group.num_columns == 1


RING: Final[Mapping[str, Work]] = {
    "calculations": _calculations,
    "reports": _reports,
    "emission factors": _factors,
    "model saved": _model_saved,
    "model taken over": _model_taken_over,
    "model read": _model_read,
    "model downloaded": _model_downloaded,
    "model unpickled": _model_unpickled,
    "directory uploaded": _sync_up,
    "directory downloaded": _sync_down,
    "prefix copied": _sync_copy,
    "table saved": _table_saved,
    "table read": _table_read,
}
