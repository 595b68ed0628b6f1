"""Values as compact UTF-8 JSON: by orjson where it is installed, by the standard library's rules anyway."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from enum import Enum
from typing import cast


def encode_json(value: object) -> bytes:
    """
    *value* as compact UTF-8 JSON (RFC 8259), the same with orjson and without.

    Takes what `json.dumps` takes, UUIDs (as text) and enum members (by value). TypeError, naming the place,
    for anything else: dates, Decimals, dataclasses, bytes, NaN, infinities, values that contain themselves.
    """
    fast = _orjson()
    if fast is not None:
        try:
            encoded = fast(value)
        except TypeError:
            pass  # the standard library takes more: large integers, keys that are no str
        else:
            # orjson writes null for NaN and infinities; JSON has no such numbers.
            if b"null" not in encoded or _fault(value, "value", ()) is None:
                return encoded
    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_natively
        )
        return text.encode()
    except RecursionError as exc:
        raise TypeError("value is nested too deeply for JSON; store it in a flatter form") from exc
    except (TypeError, ValueError) as exc:
        place = _fault(value, "value", ()) or f"value is not JSON: {exc}"
        raise TypeError(f"{place}; convert it first, for example with str() or isoformat()") from exc


def _orjson() -> Callable[[object], bytes] | None:
    """Orjson's encoder, told to leave to the standard library's rules what it would decide by itself."""
    try:
        import orjson
    except ImportError:
        return None
    option = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    return lambda value: orjson.dumps(value, option=option)


def _natively(value: object) -> object:
    """What orjson takes and the standard library does not."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is not JSON")


def _fault(value: object, place: str, above: tuple[int, ...]) -> str | None:
    """The first value JSON cannot take, as "value['a'][0] is a Decimal"; `None` when there is none."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place} is {value}, which JSON does not know"
    if value is None or isinstance(value, str | int | uuid.UUID):
        return _surrogate(value, place) if isinstance(value, str) else None
    if not isinstance(value, dict | list | tuple):
        return f"{place} is a {type(value).__name__}, which JSON does not know"
    if id(value) in above:
        return f"{place} contains itself"
    above = (*above, id(value))
    if isinstance(value, dict):
        for name, item in cast("dict[object, object]", value).items():
            if not isinstance(name, str | int | float | None):
                return f"{place} has a key that is a {type(name).__name__}, which JSON does not know"
            if fault := _fault(item, f"{place}[{name!r}]", above):
                return fault
        return None
    for index, item in enumerate(cast("list[object]", value)):
        if fault := _fault(item, f"{place}[{index}]", above):
            return fault
    return None


def _surrogate(text: str, place: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{place} holds half of a surrogate pair, which UTF-8 cannot express"
    return None
