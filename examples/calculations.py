"""
Store calculation results and read them back with their types: `python -m examples.calculations`.

Needs GREENLANG_DATA_LAKE_BUCKET and a store; `python -m greenlang_async_storage.testing minio -- …` has one.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from pydantic import BaseModel

from greenlang_async_storage import S3Error, StorageSession
from greenlang_async_storage.artifacts import CalculationStore

INTENSITIES = {"steel": Decimal("1.89"), "cement": Decimal("0.62"), "aluminium": Decimal("6.70")}
"""Tonnes of CO2e for each tonne of goods; made up."""


class Emissions(BaseModel):
    """The result of one calculation."""

    run: UUID
    good: str
    tonnes: Decimal
    tonnes_co2e: Decimal


def calculate(good: str, tonnes: Decimal) -> Emissions:
    """The emissions of *tonnes* of a good."""
    return Emissions(run=uuid4(), good=good, tonnes=tonnes, tonnes_co2e=tonnes * INTENSITIES[good])


async def main() -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        store = CalculationStore(session.data_lake, application="cbam")
        now = datetime.now(UTC)
        results = {f"calc-{good}": calculate(good, Decimal("12.50")) for good in INTENSITIES}
        for calculation_id, result in results.items():
            stored = await store.save("tenant-123", calculation_id, result, calculated_at=now)
            print(f"{stored.key}  {stored.size} bytes")

        total = Decimal(0)
        async for item in store.list("tenant-123", now):
            if item.name in results:
                found = await store.load(item.tenant_id, item.name, item.day, model=Emissions)
                assert found == results[item.name]
                total += found.tonnes_co2e
        print(f"total {total} t CO2e")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except S3Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
