"""Reading one version of one object: the requests, and a reader that outlives broken connections."""

from __future__ import annotations

from greenlang_async_storage._conditions import version_args

from ._get import Pin, check_range
from ._reader import STEP, RangeReader, once_more, open_reader

__all__ = ["STEP", "Pin", "RangeReader", "check_range", "once_more", "open_reader", "version_args"]
