"""What the service model says about each compiled operation, put into the form the call needs."""

from __future__ import annotations

import datetime
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from botocore import httpchecksum
from botocore.serialize import RestXMLSerializer

from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._parser import ReplyParser
from greenlang_async_storage.fastpath._shapes import OddReplyError
from greenlang_async_storage.fastpath._xml import BodyWriter, compile_writer

OPERATIONS = frozenset(
    {
        "GetObject", "HeadObject", "PutObject", "DeleteObject", "DeleteObjects", "CopyObject",
        "ListObjectsV2", "ListObjectVersions", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
        "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts", "ListMultipartUploads",
        "GetObjectTagging", "PutObjectTagging", "HeadBucket",
    }
)  # fmt: skip

# The tables that botocore keeps as registrations of its handlers; the audit of handlers holds them to it.
_ENCODED_LISTINGS = frozenset({"ListObjectsV2", "ListObjectVersions"})
_COPIES = frozenset({"CopyObject", "UploadPartCopy"})
_ESCAPED_BODIES = frozenset({"DeleteObjects"})
_SSE_KEYS = frozenset(
    {
        "HeadObject", "GetObject", "PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart",
        "UploadPartCopy", "CompleteMultipartUpload",
    }
)  # fmt: skip

Convert = Callable[[Any], str | None]


class Place(Enum):
    """Where a parameter goes."""

    PATH = auto()
    QUERY = auto()
    HEADER = auto()
    METADATA = auto()
    XML = auto()
    BODY = auto()


@dataclass(frozen=True, slots=True)
class Member:
    """One input parameter: its place, its name there, and the conversion to text (None: leave it out)."""

    place: Place
    name: str
    convert: Convert


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, compiled from the service model; immutable, shared by all calls."""

    name: str
    model: Any
    method: str
    has_key: bool
    query: str
    """The constant part of the query string; empty for most."""
    members: Mapping[str, Member]
    required: frozenset[str]
    body_member: str | None
    """The member that is sent as the body, as it is."""
    streams: bool
    """The reply's body is handed out unread."""
    write_body: BodyWriter | None
    escape_newlines: bool
    static_parameters: tuple[tuple[str, object], ...]
    sse_prefixes: tuple[str, ...]
    encodes_keys: bool
    quotes_source: bool
    checksum_member: str | None
    checksum_header: str | None
    checksum_required: bool
    validation_member: str | None
    response_checksums: tuple[tuple[str, str], ...]
    """Headers whose checksum botocore would verify, and their algorithms, best first."""
    reply: ReplyParser


_compiled: weakref.WeakKeyDictionary[Any, dict[str, Operation]] = weakref.WeakKeyDictionary()


def operation(service_model: Any, serializer: RestXMLSerializer, name: str) -> Operation:
    """
    The compiled operation, made at its first use per service model. PassOn when this model cannot be
    compiled.
    """
    table = _compiled.setdefault(service_model, {})
    found = table.get(name)
    if found is None:
        try:
            found = table[name] = _compile(service_model.operation_model(name), serializer)
        except OddReplyError as error:
            raise PassOn(Reason.OPERATION) from error
    return found


def _compile(model: Any, serializer: RestXMLSerializer) -> Operation:
    # botocore strips the bucket from this path in place when the operation is first called: both forms occur.
    path, _, query = model.http["requestUri"].removeprefix("/{Bucket}").partition("?")
    if path not in ("", "/{Key+}"):
        raise PassOn(Reason.OPERATION)
    shape = model.input_shape
    payload = shape.serialization.get("payload")
    streaming = payload is not None and shape.members[payload].type_name in ("blob", "string")
    writer: BodyWriter | None = None
    if payload is not None and not streaming:
        writer = compile_writer(shape.members[payload])
    checksum = model.http_checksum
    member = checksum.get("requestAlgorithmMember")
    name = model.name
    return Operation(
        name=name,
        model=model,
        method=model.http["method"],
        has_key=path != "",
        query=query,
        members={key: _member(key, each, payload, serializer) for key, each in shape.members.items()},
        required=frozenset(shape.metadata.get("required", ())),
        body_member=payload if streaming else None,
        streams=bool(model.has_streaming_output),
        write_body=writer,
        escape_newlines=name in _ESCAPED_BODIES,
        static_parameters=tuple((each.name, each.value) for each in model.static_context_parameters),
        sse_prefixes=_sse_prefixes(name),
        encodes_keys=name in _ENCODED_LISTINGS,
        quotes_source=name in _COPIES,
        checksum_member=member,
        checksum_header=shape.members[member].serialization.get("name") if member else None,
        checksum_required=bool(model.http_checksum_required or checksum.get("requestChecksumRequired")),
        validation_member=checksum.get("requestValidationModeMember"),
        response_checksums=_response_checksums(checksum.get("responseAlgorithms", ())),
        reply=ReplyParser(model),
    )


def _response_checksums(modelled: Sequence[str]) -> tuple[tuple[str, str], ...]:
    known = {each.lower() for each in modelled}.intersection(httpchecksum._SUPPORTED_CHECKSUM_ALGORITHMS)
    best_first = [each for each in httpchecksum._ALGORITHMS_PRIORITY_LIST if each in known]
    return tuple((f"x-amz-checksum-{each}", each) for each in best_first)


def _sse_prefixes(name: str) -> tuple[str, ...]:
    if name in _COPIES:
        return ("SSECustomer", "CopySourceSSECustomer")
    return ("SSECustomer",) if name in _SSE_KEYS else ()


def _member(name: str, shape: Any, payload: str | None, serializer: RestXMLSerializer) -> Member:
    location = shape.serialization.get("location")
    wire = shape.serialization.get("name", name)
    if name == payload:
        return Member(Place.BODY if shape.type_name == "blob" else Place.XML, wire, _refuse)
    match location:
        case "uri":
            return Member(Place.PATH, wire, _text(shape))
        case "querystring":
            return Member(Place.QUERY, wire, _converter(shape, serializer._get_uri_and_query_string_value))
        case "header":
            convert = _converter(shape, lambda value, of: serializer._convert_header_value(of, value))
            return Member(Place.HEADER, wire.lower(), convert)
        case "headers":
            return Member(Place.METADATA, wire.lower(), _refuse)
    raise PassOn(Reason.OPERATION)


def _converter(shape: Any, botocore_conversion: Callable[[Any, Any], str]) -> Convert:
    match shape.type_name:
        case "string":
            return _text(shape)
        case "integer" | "long":
            return _integer(shape)
        case "boolean":
            return _boolean
        case "timestamp":

            def timestamp(value: Any) -> str:
                if type(value) is not datetime.datetime:
                    raise PassOn(Reason.PARAMETERS)
                return botocore_conversion(value, shape)

            return timestamp
        case "list" if shape.member.type_name == "string":

            def texts(value: Any) -> str | None:
                if type(value) not in (list, tuple) or any(type(each) is not str for each in value):
                    raise PassOn(Reason.PARAMETERS)
                return botocore_conversion(value, shape) if value else None

            return texts
    raise PassOn(Reason.OPERATION)


def _text(shape: Any) -> Convert:
    shortest = shape.metadata.get("min", 0)

    # Subclasses of str go to botocore: str() of an enum member is not its value.
    def text(value: Any) -> str:
        if type(value) is not str or len(value) < shortest:
            raise PassOn(Reason.PARAMETERS)
        return value

    return text


def _integer(shape: Any) -> Convert:
    smallest = shape.metadata.get("min")

    def integer(value: Any) -> str:
        if type(value) is not int or (smallest is not None and value < smallest):
            raise PassOn(Reason.PARAMETERS)
        return str(value)

    return integer


def _boolean(value: Any) -> str:
    if type(value) is not bool:
        raise PassOn(Reason.PARAMETERS)
    return "true" if value else "false"


def _refuse(_value: Any) -> str:
    raise PassOn(Reason.PARAMETERS)
