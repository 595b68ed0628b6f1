"""JSON as the artifacts have it: decimals, times and UUIDs as text, and models of pydantic both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError

from greenlang_async_storage import S3IntegrityError

from ._threads import WORTH_A_THREAD, in_thread

T = TypeVar("T")

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What a JSON text holds."""
JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object."""

_AS_TEXT = (Decimal, datetime, date, time, timedelta, UUID, PurePath)


async def encoded(value: object, what: str) -> bytes:
    """
    *value* as compact UTF-8 JSON (RFC 8259), made in a thread.

    Decimals, dates, times, UUIDs and paths become `str(value)`; pydantic models and dataclasses objects.
    TypeError for anything else, ValueError for NaN and infinities, which JSON does not have.
    """
    return await in_thread(lambda: _encode(value, what))


async def decoded(data: bytes, bucket: str, key: str) -> JsonValue:
    """The value of a JSON text; in a thread from 128 KiB on. `S3IntegrityError` when it is none."""
    try:
        if len(data) < WORTH_A_THREAD:
            return cast("JsonValue", json.loads(data))
        return cast("JsonValue", await in_thread(lambda: json.loads(data)))
    except (ValueError, RecursionError) as error:
        raise damaged(bucket, key, f"is not JSON: {error}") from error


async def restored(data: bytes, model: type[T], bucket: str, key: str) -> T:
    """*data* as *model*, by pydantic, in a thread from 128 KiB on; `S3IntegrityError` if it does not fit."""
    adapter: TypeAdapter[T] = _adapter(cast("Hashable", model))
    try:
        if len(data) < WORTH_A_THREAD:
            return adapter.validate_json(data)
        return await in_thread(lambda: adapter.validate_json(data))
    except ValidationError as error:
        # Its own text quotes the data, which may be a tenant's.
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the value"
        name = getattr(model, "__name__", repr(model))
        raise damaged(
            bucket, key, f"does not fit {name}: {place}: {first['msg']} ({error.error_count()} errors)"
        ) from error


def damaged(bucket: str, key: str, how: str) -> S3IntegrityError:
    """What is raised for an object whose content is not what its key promises."""
    return S3IntegrityError(
        f"the object {how}",
        operation="GetObject",
        bucket=bucket,
        key=key,
        code="InvalidArtifact",
        remedy="Read it with download_bytes(), and correct what writes this key.",
    )


@cache
def _adapter(model: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(model)  # type: ignore[arg-type]  # it says so where it is none


def _encode(value: object, what: str) -> bytes:
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply for JSON; store it in a flatter form") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half of a surrogate pair; clean its text first") from error
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}; replace NaN and infinities by None") from error
    except TypeError as error:
        raise TypeError(
            f"{what} is not JSON: {error}; convert it with str(), float() or dict() first"
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
