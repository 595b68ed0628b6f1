"""JSON objects: the same bytes with orjson and without, and clear words for what JSON cannot express."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies

from greenlang_async_storage import Bucket
from greenlang_async_storage._uploads._json import encode_json


@pytest.fixture(params=["orjson", "json"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With orjson installed, and without."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    return str(request.param)


class Colour(enum.Enum):
    GREEN = "green"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024  # the untyped kind is the one under test


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": [1, 2.5, True, None, "ü☃"]}, '{"a":[1,2.5,true,null,"ü☃"]}'),
        ((1, 2), "[1,2]"),
        (Pair(1, 2), "[1,2]"),
        (collections.OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (collections.defaultdict(int, a=1), '{"a":1}'),
        ({1: "a", None: "b", False: "c"}, '{"1":"a","null":"b","false":"c"}'),
        (2**70, str(2**70)),
        (Colour.GREEN, '"green"'),
        ([Level.HIGH], "[3]"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ("", '""'),
        ({"null": None}, '{"null":null}'),
    ],
)
def test_what_json_takes(library: str, value: object, text: str) -> None:
    """Compact UTF-8, the same with either library."""
    assert encode_json(value) == text.encode()


def looped() -> list[object]:
    """A list that holds itself."""
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {"b": Decimal("1.5")}]}, r"value\['a'\]\[1\]\['b'\] is a Decimal"),
        ([datetime(2026, 1, 1, tzinfo=UTC)], r"value\[0\] is a datetime"),
        ({"point": Point(1)}, r"value\['point'\] is a Point"),
        (b"bytes", "value is a bytes"),
        ({1, 2}, "value is a set"),
        ({"x": None, "y": float("nan")}, r"value\['y'\] is nan"),
        ([float("inf")], r"value\[0\] is inf"),
        ({(1, 2): 3}, "value has a key that is a tuple"),
        (looped(), r"value\[0\] contains itself"),
        ({"text": "\ud800"}, r"value\['text'\] holds half of a surrogate pair"),
        (object(), "value is a object"),
    ],
)
def test_what_json_does_not_take_is_named(library: str, value: object, place: str) -> None:
    """TypeError with the place and the way out; never a null or a guess in its stead."""
    with pytest.raises(TypeError, match=f"{place}.*convert it first"):
        encode_json(value)


def test_endless_depth_is_refused(library: str) -> None:
    """Lists in lists, a hundred thousand deep: TypeError, not a crash."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(TypeError, match="nested too deeply"):
        encode_json(value)


VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(),
    lambda inner: (
        strategies.lists(inner, max_size=4) | strategies.dictionaries(strategies.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_values_survive(value: object) -> None:
    """Whatever is JSON comes back equal, from either library."""
    with pytest.MonkeyPatch.context() as patch:
        fast = encode_json(value)
        patch.setitem(sys.modules, "orjson", None)
        slow = encode_json(value)
    assert json.loads(fast) == json.loads(slow) == value


@pytest.mark.asyncio
async def test_json_is_stored_as_such(lake: Bucket, observer: Any) -> None:
    """UTF-8 bytes of type application/json, unless another type is asked for; read back equal."""
    value = {"factor": 0.25, "unit": "kg CO₂e"}
    await lake.upload_json("no-extension", value)
    assert (await lake.head("no-extension")).content_type == "application/json"
    assert observer.get_object(Bucket=lake.name, Key="no-extension")["Body"].read() == encode_json(value)
    assert await lake.download_json("no-extension") == value
    await lake.upload_json("key.geojson", value, content_type="application/geo+json")
    assert (await lake.head("key.geojson")).content_type == "application/geo+json"


@pytest.mark.asyncio
async def test_what_is_no_json_is_not_sent(lake: Bucket) -> None:
    """The TypeError comes before any request."""
    with pytest.raises(TypeError, match="is a Decimal"):
        await lake.upload_json("key", Decimal(1))
    assert not await lake.exists("key")
