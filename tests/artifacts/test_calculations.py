"""Calculation results: saved under their day and tenant, restored by a model, apart from other tenants."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from greenlang_async_storage import (
    Bucket,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
)
from greenlang_async_storage.artifacts import CalculationStore
from tests.artifacts.conftest import TurnedClock
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

DAY = date(2026, 2, 3)


class Emissions(BaseModel):
    """A result with types JSON has no form for."""

    run: uuid.UUID
    total: Decimal
    at: datetime


@dataclasses.dataclass
class Line:
    """One line of a result."""

    good: str
    kilograms: Decimal


RESULT = Emissions(run=uuid.UUID(int=7), total=Decimal("1234.5600"), at=datetime(2026, 2, 3, 10, tzinfo=UTC))


@pytest.fixture
def store(lake: Bucket, clock: TurnedClock) -> CalculationStore:
    """Results of the application `cbam`."""
    return CalculationStore(lake, clock=clock)


async def test_a_result_comes_back(store: CalculationStore, lake: Bucket, clock: TurnedClock) -> None:
    """As plain JSON, under the key of the platform, with its metadata."""
    stored = await store.save("t1", "calc-1", {"emissions": 12.5, "unit": "tCO2e", "name": "Zürich"})
    assert stored.key == "silver/cbam/calculations/2026/02/03/t1/calc-1.json"
    assert await store.load("t1", "calc-1", DAY) == {"emissions": 12.5, "unit": "tCO2e", "name": "Zürich"}
    info = await lake.head(stored.key)
    assert info.content_type == "application/json"
    assert dict(info.metadata) == {
        "tenant-id": "t1",
        "calculation-id": "calc-1",
        "application": "cbam",
        "calculated-at": clock.now.isoformat(),
        "content-hash": stored.content_hash,
    }


async def test_a_model_restores_types(store: CalculationStore) -> None:
    """Decimals with their digits, times with their zone, UUIDs; without a model they are text."""
    values = {"run": RESULT.run, "total": RESULT.total, "at": RESULT.at}
    for name, result in (("dict", values), ("model", RESULT)):
        await store.save("t1", name, result)
        found = await store.load("t1", name, DAY, model=Emissions)
        assert found == RESULT
        assert str(found.total) == "1234.5600"
    plain = await store.load("t1", "dict", DAY)
    assert plain == {"run": str(RESULT.run), "total": "1234.5600", "at": "2026-02-03 10:00:00+00:00"}
    await store.save("t1", "lines", [Line("steel", Decimal(2)), Line("cement", Decimal("0.1"))])
    assert await store.load("t1", "lines", DAY, model=tuple[Line, ...]) == (
        Line("steel", Decimal(2)),
        Line("cement", Decimal("0.1")),
    )


async def test_a_day_left_out_is_today_or_yesterday(store: CalculationStore, clock: TurnedClock) -> None:
    """Also just after midnight; the day before that has to be named."""
    await store.save("t1", "c", 1)
    for _ in range(2):
        assert await store.load("t1", "c") == 1
        clock.turn(timedelta(days=1))
    with pytest.raises(S3NotFoundError):
        await store.load("t1", "c")
    assert await store.load("t1", "c", DAY) == 1


async def test_the_time_of_the_calculation_decides_the_day(store: CalculationStore) -> None:
    """Its day in UTC; without a zone it is refused."""
    late = datetime.fromisoformat("2026-03-01T23:30:00-05:00")
    stored = await store.save("t1", "c", {}, calculated_at=late)
    assert "/2026/03/02/" in stored.key
    with pytest.raises(S3InvalidRequestError, match="no time zone"):
        await store.save("t1", "c", {}, calculated_at=datetime(2026, 3, 1))  # noqa: DTZ001  # what is refused


async def test_a_tenant_never_sees_another(store: CalculationStore, lake: Bucket) -> None:
    """`t1` does not list or load what is `t10`'s, or another application's, or of another day."""
    for tenant in ("t1", "t10", "t", "T1"):
        for number in range(3):
            await store.save(tenant, f"{tenant}-{number}", {"tenant": tenant})
    await CalculationStore(lake, "other").save("t1", "x", {}, calculated_at=datetime(2026, 2, 3, tzinfo=UTC))
    await store.save("t1", "tomorrow", {}, calculated_at=datetime(2026, 2, 4, tzinfo=UTC))
    found = [item async for item in store.list("t1", DAY)]
    assert [item.name for item in found] == ["t1-0", "t1-1", "t1-2"]
    assert {item.tenant_id for item in found} == {"t1"}
    assert {item.day for item in found} == {DAY}
    with pytest.raises(S3NotFoundError):
        await store.load("t1", "t10-0", DAY)
    for bad in ("t1/../t10", "t10/", ".."):
        with pytest.raises(S3InvalidRequestError):
            await store.load(bad, "t10-0", DAY)
        with pytest.raises(S3InvalidRequestError):
            store.list(bad, DAY)


async def test_other_objects_are_not_listed(store: CalculationStore, seed: Seeder) -> None:
    """What has no key of a result is left out."""
    await store.save("t1", "c", {})
    folder = "silver/cbam/calculations/2026/02/03/t1"
    for name in ("c.csv", "deeper/c.json", "with space.json"):
        seed.put(f"{folder}/{name}", b"")
    assert [item.name async for item in store.list("t1", DAY)] == ["c"]


async def test_create_only(store: CalculationStore) -> None:
    """A second save replaces, unless it may only create."""
    await store.save("t1", "c", 1)
    await store.save("t1", "c", 2)
    with pytest.raises(S3PreconditionFailedError):
        await store.save("t1", "c", 3, if_none_match=True)
    assert await store.load("t1", "c", DAY) == 2


@pytest.mark.parametrize("result", [float("nan"), {"a": object()}, {1, 2}, {(1, 2): 3}, "\ud800", b"bytes"])
async def test_what_json_cannot_hold_is_refused(
    store: CalculationStore, lake: Bucket, result: object
) -> None:
    """With what to do about it, and before anything is sent."""
    with pytest.raises((TypeError, ValueError), match=r"result .*; \w+"):
        await store.save("t1", "c", result)
    assert [item async for item in lake.list_objects()] == []


async def test_damage_is_told(store: CalculationStore, seed: Seeder) -> None:
    """Other bytes than were saved, no JSON, and JSON that does not fit the model: the data is not quoted."""
    stored = await store.save("t1", "c", {"secret": "1234"})
    with pytest.raises(S3IntegrityError, match=r"Emissions: run: .* \(3 errors\)") as caught:
        await store.load("t1", "c", DAY, model=Emissions)
    assert "1234" not in str(caught.value)
    seed.put(stored.key, b"{}", Metadata={"content-hash": stored.content_hash})
    with pytest.raises(S3IntegrityError, match="SHA-256"):
        await store.load("t1", "c", DAY)
    seed.put(stored.key, b"{")
    with pytest.raises(S3IntegrityError, match="not JSON"):
        await store.load("t1", "c", DAY)


async def test_large_results_are_converted_in_threads(store: CalculationStore) -> None:
    """Several MiB, both ways."""
    rows = [{"row": number, "value": str(number) * 10} for number in range(20_000)]
    await store.save("t1", "large", rows)
    assert await store.load("t1", "large", DAY) == rows
    assert len(await store.load("t1", "large", DAY, model=list[dict[str, Any]])) == 20_000


async def test_what_older_code_wrote_stays_readable(store: CalculationStore, seed: Seeder) -> None:
    """Naive UTC times in the metadata, `default=str` in the text, no hash and no checksum."""
    now = datetime(2026, 2, 3, 10, 30, 0, 5)  # noqa: DTZ001  # as older code had it
    seed.put(
        "silver/cbam/calculations/2026/02/03/tenant-123/calc-9.json",
        json.dumps({"total": Decimal("1.50"), "at": now}, default=str).encode(),
        checksum=None,
        ContentType="application/json",
        Metadata={
            "tenant-id": "tenant-123",
            "calculation-id": "calc-9",
            "application": "cbam",
            "calculated-at": now.isoformat(),
        },
    )
    assert await store.load("tenant-123", "calc-9", DAY) == {"total": "1.50", "at": str(now)}
    assert [item.name async for item in store.list("tenant-123", DAY)] == ["calc-9"]
