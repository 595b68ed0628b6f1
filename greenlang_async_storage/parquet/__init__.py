"""
Tables in parquet files, by pyarrow (extra `[parquet]`): written and read row group by row group.

`save_table` takes a table, or batches of any number; `open_table` gives batches back as they are needed, and
`load_table` a whole table. Conversions run in a thread.
"""

from __future__ import annotations

try:
    import pyarrow as _pyarrow  # noqa: F401  # said here once, and with the remedy
except ImportError as error:
    raise ImportError(
        "greenlang_async_storage.parquet needs pyarrow: pip install 'greenlang-async-storage[parquet]'"
    ) from error

from ._load import TableReader, load_table, open_table
from ._save import StoredTable, save_table

__all__ = ["StoredTable", "TableReader", "load_table", "open_table", "save_table"]
