"""Numbers and times as people write and read them."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Final

from greenlang_async_storage import S3Error

from ._errors import UsageError, facts_of

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {
    "": 1,
    **{f"{unit}{ending}": 1024**power for power, unit in enumerate("kmgt", 1) for ending in ("", "ib")},
    **{f"{unit}b": 1000**power for power, unit in enumerate("kmgt", 1)},
    "b": 1,
}


def size_text(size: float) -> str:
    """`12.3 MiB`; whole bytes below 1 KiB."""
    value = float(size)
    for unit in _SIZES:
        if value < 1023.95 or unit == _SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def seconds_text(seconds: float) -> str:
    """`0.8 s`, `45 s`, `3 min`, `11 h`, `6 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def count_text(number: int, noun: str) -> str:
    """`1 object`, `1,234 objects`; `1,234 copies`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def time_text(moment: datetime | None) -> str:
    """`2026-11-23 02:03:11` in UTC; blanks where unknown."""
    return " " * 19 if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def parse_seconds(text: str, option: str, *, least: float = 0.0) -> float:
    """Seconds from `90`, `15m`, `24h`, `7d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _SECONDS:
        raise UsageError(f"{option} is {text!r}: give a time such as 90s, 15m, 24h or 7d.")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not (least <= seconds and math.isfinite(seconds)):
        raise UsageError(f"{option} is {text!r}: give at least {seconds_text(least)}.")
    return seconds


def parse_age(text: str, option: str) -> timedelta:
    """The same as a `timedelta`."""
    try:
        return timedelta(seconds=parse_seconds(text, option))
    except OverflowError:
        raise UsageError(f"{option} is {text!r}: that is longer than any store exists.") from None


def parse_size(text: str, option: str) -> int:
    """Bytes from `1048576`, `10MiB`, `5 GB`; `10M` is MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _BYTES:
        raise UsageError(f"{option} is {text!r}: give a size such as 1048576, 10MiB or 5GB.")
    return int(float(match[1]) * _BYTES[match[2]]) if "." in match[1] else int(match[1]) * _BYTES[match[2]]


def plain(value: object) -> object:
    """*value* as JSON knows it: dataclasses become objects, times ISO 8601 in UTC."""
    if isinstance(value, S3Error):
        return facts_of(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)
