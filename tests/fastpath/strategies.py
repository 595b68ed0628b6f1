"""Generated parameters of the compiled operations, made from the service model itself."""

from __future__ import annotations

import datetime
import io
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import botocore.session
from hypothesis import strategies as st

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._model import OPERATIONS

EXAMPLES = int(os.environ.get("GREENLANG_STORAGE_DIFF_EXAMPLES", "2000"))
"""Examples of all differential tests together."""
FULL = 20_000
"""What `make test-full` asks for."""
NAMES = sorted(OPERATIONS)

_plain = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=24)
_words = st.lists(_plain, min_size=1, max_size=3).map(" ".join)
_odd = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
_values = st.one_of(
    _plain, _plain, _plain, _words, st.sampled_from(["", "a, b", 'x="y"', "a  b", " a", "ü", "0"])
)
_texts = st.one_of(
    _plain,
    _odd,
    st.sampled_from(["a/b", "a b+c", "%41", "日本語", "a&b=c", "~-._", "/", "a//b", "?x=1", "#"]),
)
_keys = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.sampled_from(
        ["k", "a/b/c.json", "/lead", "../x", "a b", "a+b", "ä/ö", "x?y", "tr/", "//", ".", "%2F", "a~b"]
    ),
)
BUCKETS = ("plain-bucket", "dotted.bucket.name", "Upper_Case", "b2", "192.168.1.1")
_times = st.datetimes(
    min_value=datetime.datetime(1980, 1, 1),  # noqa: DTZ001 - naive ones are part of the domain
    max_value=datetime.datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from(
        [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-7, minutes=30))]
    ),
)
_metadata = st.dictionaries(st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=8), _values, max_size=4)
_sources = st.one_of(
    st.sampled_from(["src/key", "/src/k ü", "src/a b?versionId=x1", "src/a?b"]),
    st.builds(lambda key, version: {"Bucket": "src", "Key": key, **version}, _keys,
              st.sampled_from([{}, {"VersionId": "v1"}])),
)  # fmt: skip
_customer_keys = st.sampled_from(["0123456789abcdef0123456789abcdef", b"\x00\xff" * 16])
_algorithms = st.sampled_from(["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"])


class BodyOf:
    """Makes the same body anew for each client."""

    def __init__(self, kind: str, data: bytes, skip: int = 0) -> None:
        self.kind = kind
        self.data = data
        self.skip = skip

    def __repr__(self) -> str:
        return f"BodyOf({self.kind!r}, {self.data!r}, {self.skip})"

    def make(self) -> Any:
        match self.kind:
            case "bytearray":
                return bytearray(self.data)
            case "text":
                return self.data.hex()
            case "stream":
                stream = io.BytesIO(self.data)
                stream.seek(min(self.skip, len(self.data)))
                return stream
        return self.data


_bodies = st.builds(
    BodyOf,
    st.sampled_from(["bytes", "bytes", "bytearray", "text", "stream"]),
    st.one_of(st.binary(max_size=64), st.sampled_from([b"", b"x" * (1 << 20), b"y" * ((1 << 20) + 7)])),
    st.integers(0, 3),
)


@lru_cache(maxsize=1)
def service_model() -> Any:
    """The S3 model of the installed botocore."""
    return botocore.session.get_session().get_service_model("s3")


@lru_cache(maxsize=64)
def parameters(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters of operation *name* that its model allows; some of them botocore itself will refuse."""
    shape = service_model().operation_model(name).input_shape
    required = shape.metadata.get("required", [])
    members = {member: _of(member, each) for member, each in shape.members.items()}
    optional = [member for member in members if member not in required]
    few = st.lists(st.sampled_from(optional), max_size=5, unique=True) if optional else st.just([])

    @st.composite
    def draw(choose: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
        chosen = [*required, *choose(few)]
        if "Body" in members and "Body" not in chosen and choose(st.integers(0, 3)):
            chosen.append("Body")
        order = choose(st.permutations(chosen))
        return {member: choose(members[member]) for member in order}

    return draw()


def built(drawn: dict[str, Any]) -> dict[str, Any]:
    """*drawn* with bodies made; a fresh copy for each call."""
    return {name: value.make() if isinstance(value, BodyOf) else value for name, value in drawn.items()}


def _of(name: str, shape: Any) -> st.SearchStrategy[Any]:
    special: dict[str, st.SearchStrategy[Any]] = {
        "Bucket": st.sampled_from(BUCKETS),
        "Key": _keys,
        "Body": _bodies,
        "Metadata": _metadata,
        "CopySource": _sources,
        "SSECustomerKey": _customer_keys,
        "CopySourceSSECustomerKey": _customer_keys,
        "ContentLength": st.integers(0, 64),
    }
    if name in special:
        return special[name]
    if name == "ChecksumAlgorithm":
        return _algorithms
    location = shape.serialization.get("location")
    match shape.type_name:
        case "string":
            return (
                st.sampled_from(shape.enum) if shape.enum else (_values if location == "header" else _texts)
            )
        case "integer" | "long":
            return st.one_of(st.integers(0, 10_000), st.just(-1), st.just(1 << 40))
        case "boolean":
            return st.booleans()
        case "timestamp":
            return _times
        case "list":
            return st.lists(_of("", shape.member), max_size=3)
        case "structure":
            return _structure(shape)
    raise AssertionError(f"no strategy for {name}: {shape.type_name}")


def _structure(shape: Any) -> st.SearchStrategy[dict[str, Any]]:
    required = shape.metadata.get("required", [])
    each = {name: _of("Text" if name == "Key" else name, member) for name, member in shape.members.items()}
    return st.fixed_dictionaries(
        {name: each[name] for name in required},
        optional={name: strategy for name, strategy in each.items() if name not in required},
    )


def payload(data: bytes) -> fastpath.Payload:
    """*data* with its digest."""
    import hashlib

    return fastpath.Payload(data, hashlib.sha256(data).hexdigest())
