"""Timestamps of S3, read as botocore reads them but without its general parser for the common forms."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from functools import lru_cache

from botocore.utils import parse_timestamp

_BEFORE_MONTH = ("-0", "-1")
_from_iso = datetime.datetime.fromisoformat
_UTC_START = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# Listings date all entries in one form, which one comparison tells: every digit made 0.
_ZEROES = str.maketrans("123456789", "0" * 9)
_FORM = "0000-00-00T00:00:00.000Z"


class _Zone:
    """
    The time zone object botocore's parser puts into the timestamps of this process.

    On a machine whose local time is UTC it is dateutil's local zone, elsewhere dateutil's UTC; so it is taken
    from that parser, and again after `time.tzset()`.
    """

    __slots__ = ("info", "names")

    def __init__(self) -> None:
        self.names: tuple[str, str] | None = None
        self.info: datetime.tzinfo | None = None

    def renew(self) -> None:
        self.names = time.tzname
        self.info = parse_timestamp("2006-03-01T00:00:00.000Z").tzinfo
        _general.cache_clear()


_zone = _Zone()


def timestamp(text: str) -> datetime.datetime:
    """What botocore's `parse_timestamp` gives for *text*; it raises exactly when that raises."""
    if time.tzname is not _zone.names:
        _zone.renew()
    # `YYYY-mm-ddTHH:MM:SS.mmmZ`, and no date by weeks; what stands between these marks is checked by the
    # conversion.
    if (
        len(text) == 24
        and text[4:6] in _BEFORE_MONTH
        and text[10] == "T"
        and text[19] == "."
        and text[23] == "Z"
    ):
        try:
            return _from_iso(text).replace(tzinfo=_zone.info)
        except ValueError:
            pass
    return _general(text)


def timestamps(texts: Sequence[str]) -> list[datetime.datetime]:
    """`timestamp` of each of *texts*."""
    moments = _usual(texts)
    if moments is None:
        return [timestamp(text) for text in texts]
    if time.tzname is not _zone.names:
        _zone.renew()
    # The same as replace(tzinfo=...), which takes twice as long.
    start = _UTC_START.replace(tzinfo=_zone.info)
    return [start + (moment - _UTC_START) for moment in moments]


def utc_timestamps(texts: Sequence[str]) -> list[datetime.datetime]:
    """The same moments in UTC; one without a zone is meant so."""
    moments = _usual(texts)
    return [_in_utc(timestamp(text)) for text in texts] if moments is None else moments


def _in_utc(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)


def _usual(texts: Sequence[str]) -> list[datetime.datetime] | None:
    """The moments in UTC when all of *texts* are `YYYY-mm-ddTHH:MM:SS.mmmZ`."""
    if "\n".join(texts).translate(_ZEROES) != "\n".join([_FORM] * len(texts)):
        return None
    try:
        return list(map(_from_iso, texts))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _general(text: str) -> datetime.datetime:
    # Last-Modified of an object that is read again and again comes through here.
    parsed: datetime.datetime = parse_timestamp(text)
    return parsed
