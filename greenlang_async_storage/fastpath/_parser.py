"""Replies of success, turned into the dictionary botocore returns for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from greenlang_async_storage.fastpath._columns import Columns
from greenlang_async_storage.fastpath._listing import read_quickly
from greenlang_async_storage.fastpath._shapes import OddReplyError, StructureReader, scalar_conversion
from greenlang_async_storage.fastpath._times import timestamp
from greenlang_async_storage.fastpath._xml import parse_document

Headers = dict[str, str]
_Conversion = Callable[[str], Any]

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


class ReplyParser:
    """
    The parser of one operation's successful replies, compiled from its output shape.

    It raises for every reply that is not plainly what the model promises (OddReplyError, and what conversions
    and the XML reader raise); such a reply is botocore's to judge.
    """

    __slots__ = ("_collecting", "_decoded", "_headers", "_is_bytes", "_payload", "_prefix", "_reader")

    def __init__(self, model: Any) -> None:
        shape = model.output_shape
        self._headers: dict[str, tuple[str, _Conversion]] = {}
        self._collecting = self._prefix = ""
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
        members, prefix = self._headers, self._prefix
        collected: dict[str, str] = {}
        for name, value in headers.items():
            if name in members:
                member, convert = members[name]
                parsed[member] = convert(value)
            elif prefix and name.startswith(prefix):
                collected[name[len(prefix) :]] = value
        if prefix:
            parsed[self._collecting] = collected
        if "Expires" in parsed:
            parsed["ExpiresString"] = headers["expires"]
        return parsed

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
