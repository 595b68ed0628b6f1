"""Ranges, conditions and names as pure functions, on whatever strangers send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage.fastapi._conditions import evaluate, http_date, parse_range, range_applies
from greenlang_async_storage.fastapi._names import content_disposition, is_active, is_allowed, safe_name

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)


@given(st.text(max_size=60), st.integers(0, 10**13))
def test_any_range_header_is_within_the_object_or_ignored(header: str, size: int) -> None:
    """Whatever is sent, the bytes named lie in the object."""
    for text in (header, f"bytes={header}"):
        span = parse_range(text)
        if span is not None and (found := span.within(size)) is not None:
            assert 0 <= found[0] < found[1] <= size


@given(st.integers(0, 10**25), st.integers(0, 10**25), st.integers(0, 2**43))
def test_ranges_mean_what_slices_mean(first: int, last: int, size: int) -> None:
    """First and last byte, inclusive, clipped; behind the end there is nothing."""
    span = parse_range(f"bytes={first}-{last}")
    if last < first:
        assert span is None or first >= 10**18
    elif first >= size:
        assert span is None or span.within(size) is None
    else:
        assert span is not None
        assert span.within(size) == (first, min(last + 1, size))


def test_header_digits_are_ascii_and_unbounded() -> None:
    """Digits of other scripts are no numbers; thousands of digits are no failure."""
    assert parse_range("bytes=٣-٤") is None
    assert parse_range(f"bytes=0-{'9' * 9000}") is not None


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_condition_gets_a_verdict(one: str, other: str) -> None:
    """No header makes it raise."""
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        assert evaluate({name: one}, "etag", MOMENT) in {"send", "not-modified", "failed"}
    range_applies(other, "etag", MOMENT, MOMENT)


def test_times_are_compared_in_whole_seconds() -> None:
    """A date has no fractions; the object of that second is not newer than its own date."""
    own = http_date(MOMENT)
    assert own == "Mon, 04 May 2026 03:02:01 GMT"
    assert evaluate({"if-modified-since": own}, "e", MOMENT) == "not-modified"
    assert evaluate({"if-unmodified-since": own}, "e", MOMENT) == "send"
    older = http_date(MOMENT - timedelta(seconds=1))
    assert evaluate({"if-modified-since": older}, "e", MOMENT) == "send"
    assert evaluate({"if-unmodified-since": older}, "e", MOMENT) == "failed"


def test_a_date_names_one_version_only_when_its_second_is_over() -> None:
    """Until then another write may have the same date (RFC 9110, 8.8.2.2)."""
    own = http_date(MOMENT)
    assert not range_applies(own, "e", MOMENT, MOMENT)
    assert range_applies(own, "e", MOMENT, MOMENT + timedelta(seconds=1))
    assert not range_applies(http_date(MOMENT - timedelta(hours=1)), "e", MOMENT, MOMENT + timedelta(days=1))


@given(st.text(max_size=400))
def test_any_name_is_one_safe_segment_and_header(name: str) -> None:
    """Never empty, never a way up, at most 255 bytes; the header is one line of ASCII."""
    safe = safe_name(name)
    assert 1 <= len(safe.encode()) <= 255
    assert safe.strip(".")
    assert not set(safe) & set("/\\\r\n\0")
    assert safe_name(safe) == safe
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')


@pytest.mark.parametrize(
    ("kind", "allowed", "expected"),
    [
        ("text/csv", None, True),
        ("text/csv", frozenset({"text/csv"}), True),
        ("image/png", frozenset({"image/*"}), True),
        ("imagex/png", frozenset({"image/*"}), False),
        ("text/html", frozenset({"text/csv"}), False),
        ("", frozenset({"text/csv"}), False),
        ("text/csv", frozenset(), False),
    ],
)
def test_types_are_allowed_by_name_or_family(
    kind: str, allowed: frozenset[str] | None, expected: bool
) -> None:
    """Exactly, or by `family/*`; an empty list allows nothing."""
    assert is_allowed(kind, allowed) is expected


def test_what_browsers_run_is_active() -> None:
    """Markup and scripts, in every spelling; data and pictures are not."""
    for kind in ("text/html", "TEXT/HTML", "application/xhtml+xml", "image/svg+xml", "text/javascript"):
        assert is_active(kind)
    for kind in ("text/csv", "application/pdf", "image/png", "application/json", "application/octet-stream"):
        assert not is_active(kind)
