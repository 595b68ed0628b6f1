"""Readers of XML elements, compiled from the model's output shapes: botocore's results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from xml.etree import ElementTree as ET

from greenlang_async_storage.fastpath._times import timestamp

Conversion = Callable[[str], Any]


class OddReplyError(Exception):
    """A reply the compiled readers leave to botocore."""


class Field:
    """One member of a structure that comes in the body."""

    __slots__ = ("convert", "flattened", "is_list", "layouts", "name", "reader", "tag")

    def __init__(self, name: str, shape: Any) -> None:
        self.name = name
        self.is_list = shape.type_name == "list"
        self.flattened = bool(shape.serialization.get("flattened"))
        inner = shape.member if self.is_list else shape
        self.reader: StructureReader | None = None
        self.convert: Conversion = str
        if inner.type_name == "structure":
            self.reader = StructureReader(inner)
        else:
            self.convert = scalar_conversion(inner)
        # What the quick reader has learned about entries of this kind.
        self.layouts: list[Any] = []
        self.tag = shape.serialization.get("name", name)
        if self.is_list and self.flattened:
            self.tag = inner.serialization.get("name", self.tag)


class StructureReader:
    """Turns an element into the dictionary of one structure shape."""

    __slots__ = ("_by_tag", "fields")

    def __init__(self, shape: Any) -> None:
        if shape.is_tagged_union or shape.type_name != "structure":
            raise OddReplyError(f"{shape.name} is no plain structure")
        self.fields: dict[str, Field] = {}
        for name, member in shape.members.items():
            serialization = member.serialization
            if serialization.get("xmlAttribute") or serialization.get("eventheader"):
                raise OddReplyError(f"{shape.name}.{name} is an attribute")
            if serialization.get("location") not in ("header", "headers", "statusCode"):
                field = Field(name, member)
                self.fields[field.tag] = field
        self._by_tag: dict[str, Field | None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no member comes in the body."""
        return not self.fields

    def read(self, element: Iterable[ET.Element]) -> dict[str, Any]:
        """The members among the children of *element*; OddReplyError where botocore's result is odd."""
        parsed: dict[str, Any] = {}
        by_tag = self._by_tag
        for child in element:
            tag = child.tag
            field = by_tag[tag] if tag in by_tag else self._lookup(tag)
            if field is None:
                continue
            reader = field.reader
            if not field.is_list:
                if field.name in parsed:
                    raise OddReplyError(f"<{tag}> more than once")
                parsed[field.name] = field.convert(child.text or "") if reader is None else reader.read(child)
            elif field.flattened:
                value = field.convert(child.text or "") if reader is None else reader.read(child)
                parsed.setdefault(field.name, []).append(value)
            elif field.name in parsed:
                raise OddReplyError(f"<{tag}> more than once")
            elif reader is None:
                parsed[field.name] = [field.convert(item.text or "") for item in child]
            else:
                parsed[field.name] = [reader.read(item) for item in child]
        return parsed

    def _lookup(self, tag: str) -> Field | None:
        field = self.fields.get(tag.rpartition("}")[2])
        # Tags come from the network: a server may not fill the memory with names.
        if len(self._by_tag) < 256:
            self._by_tag[tag] = field
        return field


def scalar_conversion(shape: Any) -> Conversion:
    """The conversion botocore applies to the text of *shape*."""
    match shape.type_name:
        case "string" | "character":
            return str
        case "integer" | "long":
            return int
        case "boolean":
            return _flag
        case "timestamp":
            return timestamp
    raise OddReplyError(f"no conversion for {shape.type_name}")


def _flag(text: str) -> bool:
    return text == "true"
