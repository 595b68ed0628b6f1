"""XML both ways: request bodies written from the model, replies read with what could harm refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers import expat
from xml.sax.saxutils import escape

from greenlang_async_storage.fastpath._conditions import PassOn, Reason

MAX_DEPTH = 32
"""Elements within elements; S3's replies have five."""
_PIECE = 64 << 10
"""Bytes given to the C parser at once: in between, other threads get their turn."""
_TEXT_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
}

BodyWriter = Callable[[Any], bytes]
_Writer = Callable[[list[str], str, Any], None]


class UnsafeDocumentError(Exception):
    """The document has a DOCTYPE, or is nested deeper than any reply of S3."""


def check_document(document: bytes) -> None:
    """
    Refuse what makes reading a document cost more than its length: declarations and deep nesting.

    UnsafeDocumentError for those, `expat.ExpatError` when it is not well-formed; nothing is expanded or kept.
    """
    parser = expat.ParserCreate("utf-8")
    depth = 0

    def start(_name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise UnsafeDocumentError(f"the reply nests elements deeper than {MAX_DEPTH}")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise UnsafeDocumentError("the reply has a DOCTYPE, which S3 never sends")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(document, True)  # noqa: FBT003 - positional only


def parse_document(document: bytes) -> ET.Element:
    """The root element, read as botocore reads it, after `check_document`."""
    check_document(document)
    parser = ET.XMLParser(target=ET.TreeBuilder(), encoding="utf-8")  # noqa: S314 - checked above
    for start in range(0, len(document), _PIECE):
        parser.feed(document[start : start + _PIECE])
    root: ET.Element = parser.close()
    return root


def compile_writer(shape: Any) -> BodyWriter:
    """
    A function from the parameter to the document botocore would send. PassOn for values botocore would
    refuse.
    """
    write = _structure(shape)
    name = shape.serialization["name"]

    def document(value: Any) -> bytes:
        out: list[str] = []
        write(out, name, value)
        return "".join(out).encode("utf-8")

    return document


def _writer(shape: Any) -> _Writer:
    match shape.type_name:
        case "structure":
            return _structure(shape)
        case "list":
            return _list(shape)
        case "timestamp" | "blob" | "map" | "float" | "double":
            return _unsupported
    return _scalar(shape)


def _unsupported(_out: list[str], _name: str, _value: Any) -> None:
    raise PassOn(Reason.PARAMETERS)


def _namespace(shape: Any) -> str:
    namespace = shape.serialization.get("xmlNamespace")
    if not namespace:
        return ""
    uri = namespace if isinstance(namespace, str) else namespace["uri"]
    prefix = "" if isinstance(namespace, str) else namespace.get("prefix", "")
    return f' xmlns{":" + prefix if prefix else ""}="{uri}"'


def _structure(shape: Any) -> _Writer:
    required = frozenset(shape.metadata.get("required", ()))
    attributes = _namespace(shape)
    members = {
        name: (each.serialization.get("name", name), _writer(each)) for name, each in shape.members.items()
    }
    if (
        any(each.serialization.get("xmlAttribute") for each in shape.members.values())
        or shape.is_tagged_union
    ):
        return _unsupported

    def structure(out: list[str], name: str, value: Any) -> None:
        if type(value) is not dict or not required <= value.keys() or not value.keys() <= members.keys():
            raise PassOn(Reason.PARAMETERS)
        if not value:
            out.append(f"<{name}{attributes} />")
            return
        out.append(f"<{name}{attributes}>")
        start = len(out)
        for key, each in value.items():
            tag, write = members[key]
            write(out, tag, each)
        if len(out) == start:
            out[-1] = f"<{name}{attributes} />"
        else:
            out.append(f"</{name}>")

    return structure


def _list(shape: Any) -> _Writer:
    write = _writer(shape.member)
    flattened = shape.serialization.get("flattened")
    item = shape.member.serialization.get("name", "member")
    smallest = shape.metadata.get("min", 0)
    attributes = _namespace(shape)
    if flattened and attributes:
        return _unsupported

    def items(out: list[str], name: str, value: Any) -> None:
        if type(value) not in (list, tuple) or len(value) < smallest:
            raise PassOn(Reason.PARAMETERS)
        if flattened:
            for each in value:
                write(out, name, each)
        elif value:
            out.append(f"<{name}{attributes}>")
            for each in value:
                write(out, item, each)
            out.append(f"</{name}>")
        else:
            out.append(f"<{name}{attributes} />")

    return items


def _scalar(shape: Any) -> _Writer:
    accepted = _TEXT_TYPES.get(shape.type_name)
    smallest = shape.metadata.get("min")
    attributes = _namespace(shape)
    is_text = shape.type_name == "string"
    is_flag = shape.type_name == "boolean"
    if accepted is None:
        return _unsupported

    def scalar(out: list[str], name: str, value: Any) -> None:
        if type(value) not in accepted:
            raise PassOn(Reason.PARAMETERS)
        if smallest is not None and (len(value) if is_text else value) < smallest:
            raise PassOn(Reason.PARAMETERS)
        text = value if is_text else ("true" if value else "false") if is_flag else str(value)
        if text:
            out.append(f"<{name}{attributes}>{escape(text)}</{name}>")
        else:
            out.append(f"<{name}{attributes} />")

    return scalar
