"""Times with a zone: refused without one where they are written, read as UTC where older code left none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TypeAlias

from greenlang_async_storage import S3InvalidRequestError

Clock: TypeAlias = Callable[[], datetime]
"""Tells the time, with a zone; every store takes one as `clock=`."""


def utc_now() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


def in_utc(what: str, moment: datetime) -> datetime:
    """*moment* in UTC. `S3InvalidRequestError` when it has no time zone, `TypeError` for no datetime."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} must be a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise S3InvalidRequestError(
            f"{what} {moment.isoformat()} has no time zone",
            remedy="Pass one that has, such as datetime.now(UTC) or moment.replace(tzinfo=UTC).",
        )
    return moment.astimezone(UTC)


def utc_day(what: str, day: date) -> date:
    """The day of *day*: a date as it is, a datetime with a zone by its day in UTC."""
    if isinstance(day, datetime):
        return in_utc(what, day).date()
    if not isinstance(day, date):
        raise TypeError(f"{what} must be a date or a datetime, not {type(day).__name__}")
    return day


def read_time(text: str) -> datetime:
    """A stored ISO 8601 time in UTC; one without a zone is UTC, as `utcnow()` wrote it. Else ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment.astimezone(UTC)
