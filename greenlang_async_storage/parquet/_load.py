"""Tables out of parquet files: the footer first, then one row group after the other."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3IntegrityError,
    S3InvalidRequestError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
)

from ._threads import in_thread

if TYPE_CHECKING:
    from pyarrow import Schema, Table

_TAIL: Final = 64 * 1024
_MAX_FOOTER: Final = 256 * 1024 * 1024
_MAGIC: Final = b"PAR1"
_GAP: Final = 1024 * 1024
"""Bytes between two columns that are cheaper read than asked around."""


class TableReader:
    """
    A parquet file in a bucket, open for reading: what it holds, and `async for` its row groups, in order.

    Every range is pinned to the version that was opened. Memory: one row group, encoded and decoded, of the
    chosen columns only; only these are read.
    """

    def __init__(
        self, bucket: Bucket, info: ObjectInfo, metadata: pq.FileMetaData, columns: Sequence[str] | None
    ) -> None:
        self._bucket = bucket
        self._metadata = metadata
        self._columns = None if columns is None else list(columns)
        self.info = info
        self.schema: Schema = metadata.schema.to_arrow_schema()
        self.record_count: int = metadata.num_rows
        self.row_groups: int = metadata.num_row_groups
        self.schema_version = info.metadata.get("schema-version")
        missing = sorted(set(self._columns or ()) - set(self.schema.names))
        if missing:
            raise S3InvalidRequestError(
                f"the table has no column {missing[0]!r}; it has {', '.join(self.schema.names[:20])}",
                bucket=bucket.name,
                key=info.key,
                remedy="Name columns of the table, or leave columns= out for all.",
            )

    async def __aiter__(self) -> AsyncIterator[Table]:
        for number in range(self.row_groups):
            yield await self.row_group(number)

    async def row_group(self, number: int) -> Table:
        """One row group, from 0, as a table. `S3IntegrityError` when a page does not match its checksum."""
        if not 0 <= number < self.row_groups:
            raise ValueError(f"row group {number} of {self.row_groups}; count from 0")
        pieces = []
        for start, stop in self._ranges(number):
            pieces.append((start, await _range(self._bucket, self.info, start, stop)))
        return await in_thread(partial(self._decode, number, pieces))

    async def table(self) -> Table:
        """All rows of the chosen columns, in memory."""
        found = [piece async for piece in self]
        if found:
            return pa.concat_tables(found)
        empty = self.schema.empty_table()
        return empty if self._columns is None else empty.select(self._columns)

    def _ranges(self, number: int) -> list[tuple[int, int]]:
        """Where the columns of a row group are, near ones together."""
        group = self._metadata.row_group(number)
        chunks = [group.column(index) for index in range(group.num_columns)]
        if self._columns is not None:
            wanted = set(self._columns)
            chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in wanted]
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(map(_span, chunks)):
            if merged and start - merged[-1][1] <= _GAP:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return merged

    def _decode(self, number: int, pieces: list[tuple[int, bytes]]) -> Table:
        source = pa.PythonFile(_Sparse(self.info.size, pieces), mode="r")
        try:
            file = pq.ParquetFile(source, metadata=self._metadata, page_checksum_verification=True)
            return file.read_row_group(number, columns=self._columns)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._bucket, self.info, f"has a damaged row group {number}: {error}") from error


@asynccontextmanager
async def open_table(
    bucket: Bucket, key: str, *, columns: Sequence[str] | None = None
) -> AsyncIterator[TableReader]:
    """
    The parquet file at *key*, for reading some *columns* or all, row group by row group.

    Raises:
        S3NotFoundError: no such key.
        S3IntegrityError: no parquet file, or not with the rows its `record-count` promises.
        S3InvalidRequestError: a column it does not have.
    """
    info = await bucket.head(key)
    metadata = await _footer(bucket, info)
    promised = info.metadata.get("record-count")
    if promised is not None and promised != str(metadata.num_rows):
        raise _damaged(bucket, info, f"has {metadata.num_rows} rows and was recorded with {promised[:40]}")
    yield TableReader(bucket, info, metadata, columns)


async def load_table(bucket: Bucket, key: str, *, columns: Sequence[str] | None = None) -> Table:
    """
    The table at *key*, or some *columns* of it, in memory with one row group in its encoded form.

    Raises as `open_table`, which also reads tables that do not fit into memory.
    """
    async with open_table(bucket, key, columns=columns) as reader:
        return await reader.table()


async def _footer(bucket: Bucket, info: ObjectInfo) -> pq.FileMetaData:
    if info.size < 12:
        raise _damaged(bucket, info, "is too short for a parquet file")
    start = max(0, info.size - _TAIL)
    tail = await _range(bucket, info, start, info.size)
    if tail[-4:] != _MAGIC:
        raise _damaged(bucket, info, "does not end as a parquet file does")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > min(info.size, _MAX_FOOTER):
        raise _damaged(bucket, info, f"names a footer of {length} bytes")
    if length > len(tail):
        tail = await _range(bucket, info, info.size - length, info.size)
    return await in_thread(partial(_parse_footer, bucket, info, tail))


def _parse_footer(bucket: Bucket, info: ObjectInfo, tail: bytes) -> pq.FileMetaData:
    source = pa.PythonFile(_Sparse(info.size, [(info.size - len(tail), tail)]), mode="r")
    try:
        return pq.read_metadata(source)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(bucket, info, f"has a damaged footer: {error}") from error


async def _range(bucket: Bucket, info: ObjectInfo, start: int, stop: int) -> bytes:
    try:
        async with bucket.open_download(info.key, range=(start, stop), if_match=info.etag) as body:
            return await body.read()
    except S3PreconditionFailedError as error:
        raise S3ObjectChangedError(
            "the table was replaced while it was being read",
            operation="GetObject",
            bucket=bucket.name,
            key=info.key,
        ) from error


def _span(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    starts = [chunk.data_page_offset]
    if chunk.has_dictionary_page:
        starts.append(chunk.dictionary_page_offset)
    start = min(offset for offset in starts if offset is not None)
    return start, start + chunk.total_compressed_size


class _Sparse(io.RawIOBase):
    """A file of which only some ranges are here; reading elsewhere is a damaged file's doing."""

    def __init__(self, size: int, pieces: list[tuple[int, bytes]]) -> None:
        self._size, self._pieces, self._at = size, pieces, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        data = next(self._found(self._at, stop), None)
        if data is None:
            raise OSError(f"bytes {self._at} to {stop} belong to no column")
        self._at = stop
        return data

    def _found(self, start: int, stop: int) -> Iterator[bytes]:
        for offset, data in self._pieces:
            if offset <= start and stop <= offset + len(data):
                yield data[start - offset : stop - offset]


def _damaged(bucket: Bucket, info: ObjectInfo, how: str) -> S3IntegrityError:
    return S3IntegrityError(
        f"the object {how}",
        operation="GetObject",
        bucket=bucket.name,
        key=info.key,
        code="InvalidTable",
        remedy="Write the table again; download_bytes() gives what is stored.",
    )
