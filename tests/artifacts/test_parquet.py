"""Tables in parquet: every row back, one row group in memory, and nothing read that was not asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlang_async_storage import (
    Bucket,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3ObjectChangedError,
    StorageSession,
)
from greenlang_async_storage.artifacts import ArtifactPolicy, bronze_key, silver_key
from greenlang_async_storage.parquet import load_table, open_table, save_table
from tests.support.faulty import FaultyClient
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

KEY = silver_key("cbam", "emissions", "t1", "rows")
ROWS = 5_000
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "good": pa.array([f"good {number % 7}" for number in range(ROWS)]).dictionary_encode(),
        "kg": pa.array([number / 8 for number in range(ROWS)]),
        "tags": pa.array([[str(number)] for number in range(ROWS)]),
    }
)


async def test_a_table_comes_back(lake: Bucket) -> None:
    """All types and rows, with record-count and schema-version as metadata, and your own options."""
    policy = ArtifactPolicy().options(
        lake.name,
        {"upload-id": "u1"},
        application="cbam",
        created_at=datetime.now(UTC),
    )
    stored = await save_table(lake, KEY, TABLE, schema_version="3", **policy)
    assert (stored.key, stored.record_count, stored.schema_version) == (KEY, ROWS, "3")
    info = await lake.head(KEY)
    assert info.content_type == "application/x-parquet"
    assert info.metadata["record-count"] == str(ROWS)
    assert info.metadata["schema-version"] == "3"
    assert info.metadata["upload-id"] == "u1"
    assert (await load_table(lake, KEY)).equals(TABLE)


async def test_row_groups_are_bounded_and_read_one_by_one(lake: Bucket) -> None:
    """Never more rows than asked for in a group; small batches share one."""
    await save_table(lake, KEY, TABLE, row_group_rows=700)
    async with open_table(lake, KEY) as reader:
        assert (reader.record_count, reader.row_groups, reader.schema_version) == (ROWS, 8, "1")
        sizes = [piece.num_rows async for piece in reader]
        assert sizes == [700] * 7 + [100]
        assert (await reader.row_group(2)).equals(TABLE.slice(1400, 700))
    await save_table(lake, KEY, TABLE.to_batches(max_chunksize=10), schema=TABLE.schema, row_group_rows=1000)
    async with open_table(lake, KEY) as reader:
        assert reader.row_groups == 5


async def test_only_the_chosen_columns_are_read(lake: Bucket, session: StorageSession) -> None:
    """Fewer bytes over the wire than the file has; a column that is not there is named."""
    wide = pa.table({f"c{number}": pa.array([os.urandom(200) for _ in range(ROWS)]) for number in range(4)})
    stored = await save_table(lake, KEY, wide, compression="none")
    before = session.statistics().bytes_received
    found = await load_table(lake, KEY, columns=["c2"])
    assert found.equals(wide.select(["c2"]))
    assert session.statistics().bytes_received - before < stored.size / 2
    with pytest.raises(S3InvalidRequestError, match="no column 'c9'"):
        await load_table(lake, KEY, columns=["c9"])


async def test_batches_from_anywhere(lake: Bucket) -> None:
    """Readers, generators and async generators, whose length nobody knows before the end."""

    def generated() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches(max_chunksize=999)

    async def streamed() -> AsyncIterator[pa.RecordBatch]:
        for batch in generated():
            yield batch

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, generated())
    one = TABLE.combine_chunks().to_batches()[0]
    for source in (generated(), streamed(), reader, one):
        stored = await save_table(lake, KEY, source)
        assert stored.record_count == ROWS
        assert (await load_table(lake, KEY)).equals(TABLE)


async def test_empty_tables(lake: Bucket) -> None:
    """No rows are fine where the columns are known."""
    await save_table(lake, KEY, TABLE.slice(0, 0))
    assert (await load_table(lake, KEY)).equals(TABLE.slice(0, 0))
    await save_table(lake, KEY, [], schema=TABLE.schema)
    assert (await load_table(lake, KEY, columns=["kg"])).schema.names == ["kg"]
    with pytest.raises(S3InvalidRequestError, match="schema="):
        await save_table(lake, "none", [])
    assert not await lake.exists("none")


async def test_what_fits_no_table_stores_nothing(lake: Bucket) -> None:
    """A batch of another schema, and what is no batch; a producer's own failure comes out as it is."""
    other = pa.record_batch({"x": [1]})
    with pytest.raises(S3InvalidRequestError, match="schema"):
        await save_table(lake, KEY, [TABLE.to_batches()[0], other])
    wrong: Any = [{"x": 1}]
    with pytest.raises(TypeError, match="record batches"):
        await save_table(lake, KEY, wrong)
    with pytest.raises(ValueError, match="row_group_rows"):
        await save_table(lake, KEY, TABLE, row_group_rows=0)

    async def broken() -> AsyncIterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="gone"):
        await save_table(lake, KEY, broken())
    assert not await lake.exists(KEY)


async def test_damage_is_told(lake: Bucket, seed: Seeder) -> None:
    """No parquet, a cut file, a byte flipped in a page, a record count that is not true."""
    with pytest.raises(S3NotFoundError):
        await load_table(lake, KEY)
    for data in (b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\xff" * 20 + b"PAR1", b"PAR1" * 4):
        seed.put(KEY, data)
        with pytest.raises(S3IntegrityError):
            await load_table(lake, KEY)
    await save_table(lake, KEY, TABLE, compression="none")
    whole = bytearray(await lake.download_bytes(KEY))
    seed.put(KEY, bytes(whole), Metadata={"record-count": "7"})
    with pytest.raises(S3IntegrityError, match="recorded with 7"):
        await load_table(lake, KEY)
    whole[200] ^= 1
    seed.put(KEY, bytes(whole))
    with pytest.raises(S3IntegrityError, match="row group 0"):
        await load_table(lake, KEY)


async def test_a_table_that_is_replaced_is_not_mixed(lake: Bucket) -> None:
    """Row groups of one version only."""
    await save_table(lake, KEY, TABLE, row_group_rows=1000)
    async with open_table(lake, KEY) as reader:
        await reader.row_group(0)
        await save_table(lake, KEY, TABLE.slice(0, 2000), row_group_rows=1000)
        with pytest.raises(S3ObjectChangedError):
            await reader.row_group(1)


async def test_tables_of_others_are_read(lake: Bucket, seed: Seeder) -> None:
    """Without our metadata, with a footer larger than the first read."""
    names = [f"a rather long name of a column, number {number}" for number in range(900)]
    wide = pa.table({name: [number] for number, name in enumerate(names)})
    sink = pa.BufferOutputStream()
    pq.write_table(wide, sink)
    key = bronze_key("cbam", "t1", "wide", date(2026, 2, 3))
    seed.put(key, sink.getvalue().to_pybytes(), checksum=None)
    faults = FaultyClient.install(lake)
    async with open_table(lake, key) as reader:
        assert (reader.schema_version, reader.record_count) == (None, 1)
        assert (await reader.table()).equals(wide)
    assert faults.calls["get_object"] == 3
