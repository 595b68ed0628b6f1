"""
Put rows into the data lake as parquet, and read some columns back: `python -m examples.tables`.

Needs GREENLANG_DATA_LAKE_BUCKET and a store, and the extra [parquet].
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from greenlang_async_storage import S3Error, StorageSession
from greenlang_async_storage.artifacts import ArtifactPolicy, bronze_key
from greenlang_async_storage.parquet import open_table, save_table

SCHEMA = pa.schema([("installation", pa.string()), ("good", pa.string()), ("kg_co2e", pa.float64())])


def readings() -> Iterator[pa.RecordBatch]:
    """Half a million rows, a batch at a time: as many as you like fit into the memory of one row group."""
    for day in range(50):
        rows = [(f"site-{n % 40}", ("steel", "cement")[n % 2], n * 0.25 + day) for n in range(10_000)]
        columns = list(zip(*rows, strict=True))
        yield pa.record_batch([pa.array(column) for column in columns], schema=SCHEMA)


async def main() -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        lake, now = session.data_lake, datetime.now(UTC)
        key = bronze_key("cbam", "tenant-123", f"readings-{now:%H%M%S%f}", now)
        options = ArtifactPolicy().options(
            lake.name, {"upload-id": "demo"}, application="cbam", created_at=now, tenant_id="tenant-123"
        )
        stored = await save_table(lake, key, readings(), schema=SCHEMA, schema_version="2", **options)
        print(f"{stored.key}  {stored.record_count:,} rows in {stored.size:,} bytes")

        total = 0.0
        async with open_table(lake, key, columns=["kg_co2e"]) as table:
            async for rows in table:
                total += pc.sum(rows["kg_co2e"]).as_py()
            print(f"{total:,.0f} kg CO2e in {table.row_groups} row groups, schema {table.schema_version}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except S3Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
