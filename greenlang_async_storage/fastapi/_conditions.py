"""Conditional and range requests as pure functions. Source: RFC 9110, sections 8.8, 13 and 14."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["send", "not-modified", "failed"]

_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)
_LARGEST: Final = 10**18
"""Larger positions mean the same: no object reaches it, and stores parse 64 bits."""
_SETTLED: Final = timedelta(seconds=1)
"""A time of whole seconds names one version only once its second is over (RFC 9110, 8.8.2.2)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A single byte range as it was asked for."""

    start: int | None
    """`None`: *suffix* counts from the end."""
    stop: int | None
    """Half-open; `None` is the end."""
    suffix: int = 0

    def within(self, size: int) -> tuple[int, int] | None:
        """The half-open bytes of an object of *size* bytes; `None` when it holds none of them."""
        if self.start is None:
            return (max(0, size - self.suffix), size) if self.suffix and size else None
        if self.start >= size:
            return None
        return self.start, size if self.stop is None else min(self.stop, size)


def parse_range(header: str | None) -> Span | None:
    """
    The one range of a Range header; `None` where the whole object is to be sent.

    Other units, broken syntax and several ranges are ignored, as RFC 9110 section 14.2 allows.
    """
    if header is None or (match := _RANGE.fullmatch(header.strip())) is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return Span(None, None, _number(suffix))
    start = _number(first)
    if not last:
        return Span(start, None)
    stop = _number(last) + 1
    return Span(start, stop) if stop > start else None


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Whether the answer depends on the object's ETag or time."""
    names = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    return any(name in headers for name in names)


def evaluate(headers: Mapping[str, str], etag: str, modified: datetime | None) -> Verdict:
    """What a GET or HEAD of this object is answered, in the order of RFC 9110 section 13.2.2."""
    wanted = headers.get("if-match")
    if wanted is not None:
        if not _matches(wanted, etag, weak=False):
            return "failed"
    elif (since := _date(headers.get("if-unmodified-since"))) and modified and _seconds(modified) > since:
        return "failed"
    known = headers.get("if-none-match")
    if known is not None:
        return "not-modified" if _matches(known, etag, weak=True) else "send"
    since = _date(headers.get("if-modified-since"))
    return "not-modified" if since and modified and _seconds(modified) <= since else "send"


def range_applies(if_range: str | None, etag: str, modified: datetime | None, now: datetime) -> bool:
    """Whether If-Range names exactly this version; without the header it does (RFC 9110, section 13.1.5)."""
    if if_range is None:
        return True
    value = if_range.strip()
    if (match := _ENTITY_TAG.fullmatch(value)) is not None:
        return match[1] is None and match[2] == etag
    named = _date(value)
    return named is not None and modified is not None and _seconds(modified) == named <= now - _SETTLED


def http_date(moment: datetime) -> str:
    """*moment* as an IMF-fixdate."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    """Whether the list names *etag*, which is a strong one; `*` is any."""
    if header.strip() == "*":
        return True
    return any(match[2] == etag and (weak or match[1] is None) for match in _ENTITY_TAG.finditer(header))


def _number(digits: str) -> int:
    return int(digits) if len(digits) < len(str(_LARGEST)) else _LARGEST


def _date(value: str | None) -> datetime | None:
    """An HTTP date; `None` for what is none, which makes the condition count for nothing."""
    if value is None:
        return None
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
