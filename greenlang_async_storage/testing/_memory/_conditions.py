"""If-Match and its relatives, for reads, writes and the source of a copy (RFC 9110, section 13)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from greenlang_async_storage.testing._memory._state import Version
from greenlang_async_storage.testing._memory._wire import Refusal, http_date, unquoted


def failed(condition: str) -> Refusal:
    """`PreconditionFailed`, naming the condition."""
    text = "At least one of the pre-conditions you specified did not hold"
    return Refusal(412, "PreconditionFailed", text, Condition=condition)


def check_read(version: Version, headers: Mapping[str, str]) -> None:
    """Pass when *version* may be read under *headers*; 412 or 304 otherwise."""
    modified = version.modified.replace(microsecond=0)
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        if not _holds(match, version):
            raise failed("If-Match")
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and modified > since:
        raise failed("If-Unmodified-Since")
    unchanged = {"etag": f'"{version.etag}"', "last-modified": http_date(version.modified)}
    if none_match is not None:
        if _holds(none_match, version):
            raise Refusal(304, "NotModified", "Not Modified", headers=unchanged)
    elif (since := _date(headers.get("if-modified-since"))) is not None and modified <= since:
        raise Refusal(304, "NotModified", "Not Modified", headers=unchanged)


def check_write(current: Version | None, headers: Mapping[str, str]) -> None:
    """Pass when a write over *current* is allowed; 412, or 404 for If-Match where there is nothing."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if none_match is not None:
        if unquoted(none_match) != "*":
            raise Refusal(501, "NotImplemented", "A header you provided implies functionality not here.")
        if current is not None:
            raise failed("If-None-Match")
    if match is not None:
        if current is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        if not _holds(match, current):
            raise failed("If-Match")


def check_source(version: Version, headers: Mapping[str, str]) -> None:
    """Pass when *version* may be copied; 412 otherwise, S3 knows no 304 here."""
    prefix = "x-amz-copy-source-"
    own = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
    try:
        check_read(version, own)
    except Refusal as refusal:
        raise failed(f"{prefix}if-*") from refusal


def _holds(expected: str, version: Version) -> bool:
    tags = [unquoted(tag) for tag in expected.split(",")]
    return "*" in tags or version.etag in tags


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None
