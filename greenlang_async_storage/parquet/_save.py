"""Tables into parquet files, one row group in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, Unpack, cast

import pyarrow as pa
import pyarrow.parquet as pq

from greenlang_async_storage import Bucket, S3InvalidRequestError, S3LocalFileError, WriteOptions

from ._threads import in_thread

if TYPE_CHECKING:
    from pyarrow import RecordBatch, RecordBatchReader, Schema, Table

ROW_GROUP_ROWS: Final = 128 * 1024
ROW_GROUP_BYTES: Final = 64 * 1024 * 1024
CONTENT_TYPE: Final = "application/x-parquet"

TableSource: TypeAlias = (
    "Table | RecordBatch | RecordBatchReader | Iterable[RecordBatch] | AsyncIterable[RecordBatch]"
)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table as it was stored."""

    bucket: str
    key: str
    etag: str
    size: int
    """Bytes of the parquet file."""
    record_count: int
    schema_version: str
    version_id: str | None = None


async def save_table(
    bucket: Bucket,
    key: str,
    table: TableSource,
    *,
    schema: Schema | None = None,
    schema_version: str = "1",
    row_group_rows: int = ROW_GROUP_ROWS,
    compression: str = "zstd",
    **options: Unpack[WriteOptions],
) -> StoredTable:
    """
    Store *table* as parquet, with `record-count` and `schema-version` as metadata.

    *table* is a pyarrow table, batch or `RecordBatchReader`, or record batches from any (async) iterable,
    with *schema* where there may be none. A row group has at most *row_group_rows* rows and about 64 MiB of
    Arrow data; its pages carry checksums. The file is built on disk, in a temporary folder, since its record
    count is known only at the end. Memory beside *table*: the rows of one group (64 MiB, plus one batch of
    yours), their encoded form, and `concurrency * part_size` bytes of the upload.

    Raises:
        S3InvalidRequestError: no batch and no *schema*, or a batch of another schema; nothing was stored.
        S3LocalFileError: the disk is full; other subclasses of `S3Error` as `Bucket.upload_file`.
    """
    if row_group_rows < 1:
        raise ValueError(f"row_group_rows is {row_group_rows}; pass at least 1")
    metadata = dict(options.get("metadata") or {})
    async with _folder() as folder:
        path = folder / "table.parquet"
        file = _ParquetFile(path, compression, key)
        count = await _write(file, table, schema, row_group_rows)
        metadata.update({"record-count": str(count), "schema-version": schema_version})
        chosen: WriteOptions = {"content_type": CONTENT_TYPE, **options, "metadata": metadata}
        stored = await bucket.upload_file(key, path, **chosen)
    return StoredTable(bucket.name, key, stored.etag, stored.size, count, schema_version, stored.version_id)


async def _write(file: _ParquetFile, table: TableSource, schema: Schema | None, row_group_rows: int) -> int:
    """The number of rows in the finished file."""
    try:
        if schema is None:
            schema = getattr(table, "schema", None)
        if schema is not None:
            await in_thread(partial(file.open, schema))
        waiting: list[RecordBatch] = []
        async with aclosing(_pieces(table, row_group_rows)) as pieces:
            async for batch in pieces:
                if waiting and _is_full([*waiting, batch], row_group_rows):
                    await in_thread(partial(file.write, waiting))
                    waiting = []
                waiting.append(batch)
        if waiting:
            await in_thread(partial(file.write, waiting))
    except BaseException:
        await in_thread(file.abandon)
        raise
    await in_thread(file.close)
    if not file.opened:
        raise S3InvalidRequestError(
            "there is no batch, so nothing tells the columns",
            key=file.key,
            remedy="Pass schema= for tables without rows.",
        )
    return file.rows


async def _pieces(table: TableSource, row_group_rows: int) -> AsyncGenerator[RecordBatch, None]:
    """Batches that each fit into a row group; slices share memory with what they come from."""
    async with aclosing(_batches(table)) as batches:
        async for batch in batches:
            size = max(1, batch.nbytes)
            step = min(row_group_rows, max(1, batch.num_rows * ROW_GROUP_BYTES // size))
            for start in range(0, max(1, batch.num_rows), step):
                yield batch.slice(start, step)


async def _batches(table: TableSource) -> AsyncGenerator[RecordBatch, None]:
    if isinstance(table, pa.RecordBatch):
        yield table
        return
    if isinstance(table, AsyncIterable):
        async with AsyncExitStack() as stack:
            if isinstance(table, AsyncGenerator):
                await stack.enter_async_context(aclosing(table))
            async for batch in table:
                yield _checked(batch)
        return
    source = table.to_batches() if isinstance(table, pa.Table) else table
    # An iterable may read files or compute: its steps run in a thread.
    batches = iter(cast("Iterable[RecordBatch]", source))
    while (found := await in_thread(partial(next, batches, None))) is not None:
        yield _checked(found)


def _checked(batch: object) -> RecordBatch:
    if not isinstance(batch, pa.RecordBatch):
        raise TypeError(
            f"expected pyarrow record batches, not {type(batch).__name__}; see Table.to_batches()"
        )
    return batch


def _is_full(batches: list[RecordBatch], row_group_rows: int) -> bool:
    rows = sum(batch.num_rows for batch in batches)
    size: int = sum(batch.nbytes for batch in batches)
    return rows > row_group_rows or size > ROW_GROUP_BYTES


class _ParquetFile:
    """A parquet file being written; every method blocks."""

    def __init__(self, path: Path, compression: str, key: str) -> None:
        self._path, self._compression, self.key = path, compression, key
        self._writer: pq.ParquetWriter | None = None
        self.opened = False
        self.rows = 0

    def open(self, schema: Schema) -> None:
        self._writer = pq.ParquetWriter(
            self._path, schema, compression=self._compression, write_page_checksum=True
        )
        self.opened = True

    def write(self, batches: list[RecordBatch]) -> None:
        """One row group."""
        if self._writer is None:
            self.open(batches[0].schema)
        writer = cast("pq.ParquetWriter", self._writer)
        try:
            table = pa.Table.from_batches(batches, writer.schema)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        except (pa.ArrowInvalid, ValueError) as error:
            raise S3InvalidRequestError(
                f"a batch does not fit the table: {error}",
                key=self.key,
                remedy="Give every batch the same schema, or cast it first.",
            ) from error
        except OSError as error:
            raise self._disk(error) from error
        self.rows += table.num_rows

    def close(self) -> None:
        """Write the footer."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            raise self._disk(error) from error

    def abandon(self) -> None:
        """Let go of a file that is about to be removed."""
        with suppress(Exception):
            self.close()

    def _disk(self, error: OSError) -> S3LocalFileError:
        return S3LocalFileError(
            f"the parquet file cannot be written: {error}", key=self.key, errno=error.errno
        )


class _folder:  # noqa: N801  # used like a function
    """A private folder, removed with all it holds however the block ends."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    async def __aenter__(self) -> Path:
        try:
            await in_thread(self._make)
        except BaseException:
            await self.__aexit__()
            raise
        return self._made[0]

    async def __aexit__(self, *_: object) -> None:
        for path in self._made:
            await in_thread(partial(shutil.rmtree, path, ignore_errors=True))

    def _make(self) -> None:
        try:
            self._made.append(Path(tempfile.mkdtemp(prefix="greenlang-table-")))
        except OSError as error:
            raise S3LocalFileError(
                f"no temporary folder can be made: {error.strerror or error}", errno=error.errno
            ) from error
