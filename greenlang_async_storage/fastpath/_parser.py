"""Replies of success, turned into the dictionary botocore returns for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from greenlang_async_storage.fastpath._columns import Columns
from greenlang_async_storage.fastpath._listing import read_quickly
from greenlang_async_storage.fastpath._shapes import OddReplyError, StructureReader, scalar_conversion
from greenlang_async_storage.fastpath._times import timestamp
from greenlang_async_storage.fastpath._xml import parse_document

Headers = dict[str, str]
_Conversion = Callable[[str], Any]
_MAX_PLANS = 256

# What botocore's handlers decode when they, and not the user, asked for encoded keys.
_DECODED: Mapping[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "ListObjectsV2": (
        ("Delimiter", "Prefix", "StartAfter"),
        (("Contents", "Key"), ("CommonPrefixes", "Prefix")),
    ),
    "ListObjectVersions": (
        ("KeyMarker", "NextKeyMarker", "Prefix", "Delimiter"),
        (("Versions", "Key"), ("DeleteMarkers", "Key"), ("CommonPrefixes", "Prefix")),
    ),
}


class _Plan(NamedTuple):
    """What becomes of the headers of a reply; stores send the same ones with every reply of a kind."""

    members: list[tuple[str, str, _Conversion]]
    """Header, member of the result, conversion."""
    collected: list[tuple[str, str]]
    """Header of user metadata, and its name there."""


class ReplyParser:
    """
    The parser of one operation's successful replies, compiled from its output shape.

    It raises for every reply that is not plainly what the model promises (OddReplyError, and what conversions
    and the XML reader raise); such a reply is botocore's to judge.
    """

    __slots__ = (
        "_collecting",
        "_decoded",
        "_headers",
        "_is_bytes",
        "_payload",
        "_plans",
        "_prefix",
        "_reader",
    )

    def __init__(self, model: Any) -> None:
        shape = model.output_shape
        self._headers: dict[str, tuple[str, _Conversion]] = {}
        self._collecting = self._prefix = ""
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._payload: str | None = shape.serialization.get("payload")
        self._is_bytes = bool(model.has_streaming_output)
        self._decoded = _DECODED.get(model.name)
        for name, member in shape.members.items():
            location = member.serialization.get("location")
            wire = member.serialization.get("name", name).lower()
            if location == "header":
                self._headers[wire] = (
                    name,
                    timestamp if member.type_name == "timestamp" else scalar_conversion(member),
                )
            elif location == "headers":
                if self._prefix:
                    raise OddReplyError(f"{model.name} collects headers twice")
                self._collecting, self._prefix = name, wire
        body_shape = shape if self._payload is None else shape.members[self._payload]
        self._reader = None if self._is_bytes else StructureReader(body_shape)

    def head(self, status: int, headers: Headers) -> dict[str, Any]:
        """The members that come in headers, and the metadata of the response."""
        metadata: dict[str, Any] = {}
        parsed: dict[str, Any] = {"ResponseMetadata": metadata}
        if "x-amzn-requestid" in headers:
            metadata["RequestId"] = headers["x-amzn-requestid"]
        elif "x-amz-request-id" in headers:
            metadata["RequestId"] = headers["x-amz-request-id"]
            metadata["HostId"] = headers.get("x-amz-id-2", "")
        metadata["HTTPStatusCode"] = status
        metadata["HTTPHeaders"] = headers
        names = tuple(headers)
        plan = self._plans.get(names) or self._plan(names)
        for name, member, convert in plan.members:
            parsed[member] = convert(headers[name])
        if self._prefix:
            parsed[self._collecting] = {short: headers[name] for name, short in plan.collected}
        if "Expires" in parsed:
            parsed["ExpiresString"] = headers["expires"]
        return parsed

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        """What to do with headers of these *names*."""
        known, prefix = self._headers, self._prefix
        plan = _Plan(
            [(name, *known[name]) for name in names if name in known],
            [(name, name[len(prefix) :]) for name in names if prefix and name not in known
             and name.startswith(prefix)],
        )  # fmt: skip
        if len(self._plans) < _MAX_PLANS:
            self._plans[names] = plan
        return plan

    def body(self, status: int, body: bytes, parsed: dict[str, Any], *, decode_keys: bool) -> None:
        """Add to *parsed* the members that come in the body of a reply that is not handed out as a stream."""
        reader = self._reader
        if reader is None:
            return
        members = self._members(reader, status, body) if body else {}
        if decode_keys and self._decoded is not None and members.get("EncodingType") == "url":
            _decode(members, *self._decoded)
        if self._payload is None:
            parsed.update(members)
        else:
            parsed[self._payload] = members

    def _members(self, reader: StructureReader, status: int, body: bytes) -> dict[str, Any]:
        if reader.is_empty:
            # Nothing is expected, so what came is an error or a stranger.
            raise OddReplyError("a body where the model has none")
        found = read_quickly(reader, body)
        if found is not None:
            return found
        root = parse_document(body)
        if status == 200 and root.tag == "Error":
            raise OddReplyError("an error in a reply of status 200")
        return reader.read(root)


def _decode(members: dict[str, Any], top: tuple[str, ...], nested: tuple[tuple[str, str], ...]) -> None:
    for name in top:
        if name in members:
            members[name] = unquote_plus(members[name])
    for name, child in nested:
        entries = members.get(name, ())
        if type(entries) is Columns:
            entries.decode_keys()
            continue
        for entry in entries:
            # As in botocore, an entry without the child is a KeyError: the reply is odd.
            text = entry[child]
            if "%" in text or "+" in text:
                entry[child] = unquote_plus(text)
