"""Reading one version of one object: the requests, and a reader that outlives broken connections."""

from __future__ import annotations

from ._get import Pin, check_range, version_args
from ._reader import RangeReader, once_more, open_reader

__all__ = ["Pin", "RangeReader", "check_range", "once_more", "open_reader", "version_args"]
