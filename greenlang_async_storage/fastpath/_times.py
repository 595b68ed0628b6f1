"""Timestamps of S3, read as botocore reads them but without its general parser for the two common forms."""

from __future__ import annotations

import datetime
import re
from functools import lru_cache
from typing import Final

from botocore.utils import parse_timestamp

# botocore's own idea of UTC (dateutil's), taken from its parser so that both always agree.
_UTC: Final = parse_timestamp("2006-03-01T00:00:00.000Z").tzinfo
_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3}|\.[0-9]{6})?Z")
_from_iso = datetime.datetime.fromisoformat


def timestamp(text: str) -> datetime.datetime:
    """What botocore's `parse_timestamp` gives for *text*; ValueError and the like exactly when it raises them."""
    if _ISO.fullmatch(text) is not None:
        try:
            return _from_iso(text).replace(tzinfo=_UTC)
        except ValueError:
            pass
    return _general(text)


@lru_cache(maxsize=1024)
def _general(text: str) -> datetime.datetime:
    # Last-Modified of an object that is read again and again comes through here.
    parsed: datetime.datetime = parse_timestamp(text)
    return parsed
