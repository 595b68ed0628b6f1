"""
The quick reader of listings: regular expressions over the whole document, for the plain form servers send.

It recognises a subset of XML in which nothing can be ambiguous and must consume the document from its first
byte to its last; for anything else (attributes, comments, CDATA, unusual characters or references, nesting it
has no use for) it gives up and the XML parser reads the document. What it returns is what that reading would
return.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from greenlang_async_storage.fastpath._columns import MEMBER, Columns, are_wanted, columns_of
from greenlang_async_storage.fastpath._layouts import (
    NAME,
    SPACE,
    Layout,
    NotPlainError,
    Row,
    Unescape,
    layout_at,
)
from greenlang_async_storage.fastpath._shapes import Field, OddReplyError, StructureReader

T = TypeVar("T")

_PROLOGUE = re.compile(
    rf"""(?:<\?xml version="1\.0" encoding="(?:UTF-8|utf-8)"\?>\s*)?<({NAME})(?: xmlns="[^"<&]*")?>"""
)
_OPEN = re.compile(f"<({NAME})>")
_LEAF = re.compile(rf"<({NAME})>([^<]*)</\1>|<({NAME})\s?/>")
# Bytes XML forbids or changes: a carriage return becomes a line feed.
_CONTROLS = bytes({*range(0x20)} - {0x09, 0x0A})
_BRACKET, _CDATA_END = b"]", b"]]>"
# The two characters no document may hold.
_FORBIDDEN = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")
_SPACES = re.compile(f"[{SPACE}]*")
_REFERENCE = re.compile("&(?:amp|lt|gt|quot|apos|#(?:x[0-9A-Fa-f]{1,6}|[0-9]{1,7}));")
_NAMED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}

LARGE_DOCUMENT = 512 << 10
"""Documents from this size on are read in a thread: for the event loop they would be a stall."""
_SINGLY = 4
"""Entries matched one by one before a longer run of the same layout is expected."""
_WINDOWS = (2 << 10, 32 << 10)
"""Characters searched at once, at first and at most: what a search leaves over is copied."""


def read_quickly(reader: StructureReader, body: bytes) -> dict[str, Any] | None:
    """The members in *body*, or None when the document is not of the plain form."""
    if len(body.translate(None, _CONTROLS)) != len(body):
        return None
    # One byte is looked for fifty times as quickly as three.
    if _BRACKET in body and _CDATA_END in body:
        return None
    if not body.isascii() and any(each in body for each in _FORBIDDEN):
        return None
    try:
        return _Reading(body.decode()).members(reader)
    except (UnicodeDecodeError, NotPlainError):
        return None


class _Entries:
    """The entries of one kind in a document: their texts by layout, and how the layouts took turns."""

    __slots__ = ("_member", "_rows", "_turns")

    def __init__(self, member: Field) -> None:
        self._member = member
        self._rows: dict[Layout, list[Row]] = {}
        self._turns: list[tuple[Layout, int]] = []

    def read(self, document: str, position: int, end: int) -> int:
        """Take the entries from *position* on, at least one, before *end*; the position after them."""
        layout, entry = layout_at(self._member, document, position)
        while True:
            position = self._alike(layout, entry, document, end)
            for other in self._member.layouts:
                if (following := other.pattern.match(document, position)) is not None:
                    layout, entry = other, following
                    break
            else:
                return position

    def _alike(self, layout: Layout, entry: re.Match[str], document: str, end: int) -> int:
        """Take *entry* and those of the same layout that follow."""
        rows = self._rows.setdefault(layout, [])
        before = len(rows)
        position = entry.start()
        following: re.Match[str] | None = entry
        while following is not None:
            rows.append(following.groups())
            position = following.end()
            if len(rows) - before == _SINGLY and layout.run is not None:
                position = self._run(layout.run, rows, document, position, end)
                break
            following = layout.pattern.match(document, position)
        self._turns.append((layout, len(rows) - before))
        return position

    def _run(self, run: re.Pattern[str], rows: list[Row], document: str, position: int, end: int) -> int:
        opening = f"<{self._member.tag}>"
        window, largest = _WINDOWS
        while position < end:
            stop = document.find(opening, position + window, end)
            if stop < 0:
                stop = end
            found: list[Row] = run.findall(document, position, stop)
            rest = found[-1][-1]
            if rest:
                found.pop()
            rows += found
            position = stop - len(rest)
            if rest:
                break
            window = min(2 * window, largest)
        return position

    def dictionaries(self, unescape: Unescape) -> Sequence[dict[str, Any]]:
        """The entries in their order."""
        made = {layout: layout.entries(rows, unescape) for layout, rows in self._rows.items()}
        return self._in_turn(made)

    def columns(self, unescape: Unescape) -> Columns | None:
        """The same in columns; None where an entry lacks what S3 always sends."""
        made: dict[Layout, Columns] = {}
        for layout, rows in self._rows.items():
            columns = columns_of(layout, rows, unescape)
            if columns is None:
                return None
            made[layout] = columns
        return Columns(
            self._in_turn({layout: each.keys for layout, each in made.items()}),
            self._in_turn({layout: each.sizes for layout, each in made.items()}),
            self._in_turn({layout: each.etags for layout, each in made.items()}),
            self._in_turn({layout: each.moments for layout, each in made.items()}),
            self._in_turn({layout: each.classes for layout, each in made.items()}),
        )

    def _in_turn(self, made: Mapping[Layout, Sequence[T]]) -> Sequence[T]:
        """What was made of each layout's entries, in the order of the document."""
        if len(made) == 1:
            return next(iter(made.values()))
        left = {layout: iter(each) for layout, each in made.items()}
        return [item for layout, count in self._turns for item in islice(left[layout], count)]


class _Reading:
    """One document being read."""

    __slots__ = ("_document", "_found", "_references")

    def __init__(self, document: str) -> None:
        self._document = document
        self._references = _resolve_references(document)
        self._found: dict[str, _Entries] = {}

    def members(self, reader: StructureReader) -> dict[str, Any]:
        document = self._document
        root = _PROLOGUE.match(document)
        if root is None or root[1] == "Error":
            raise NotPlainError
        closing = f"</{root[1]}>"
        end = document.rfind(closing)
        if end < root.end() or document[end + len(closing) :].strip(SPACE):
            raise NotPlainError
        parsed: dict[str, Any] = {}
        position = self._skip_space(root.end())
        while position < end:
            position = self._skip_space(self._element(reader, position, end, parsed))
        if position != end:
            raise NotPlainError
        for name, entries in self._found.items():
            columns = entries.columns(self._unescape) if name == MEMBER and are_wanted() else None
            parsed[name] = entries.dictionaries(self._unescape) if columns is None else columns
        return parsed

    def _skip_space(self, position: int) -> int:
        if self._document[position] not in SPACE:
            return position
        space = _SPACES.match(self._document, position)
        return position if space is None else space.end()

    def _element(self, reader: StructureReader, position: int, end: int, parsed: dict[str, Any]) -> int:
        """Read the child of the root at *position*; the position after it."""
        document = self._document
        opening = _OPEN.match(document, position)
        member = reader.fields.get(opening[1]) if opening is not None else None
        if member is not None and member.reader is not None:
            return self._entries(member, position, end, parsed)
        leaf = _LEAF.match(document, position)
        if leaf is None:
            raise NotPlainError
        known = reader.fields.get(leaf[1] or leaf[3])
        if known is not None:
            if known.is_list or known.reader is not None:
                raise NotPlainError
            if known.name in parsed:
                raise OddReplyError(f"<{known.tag}> more than once")
            parsed[known.name] = known.convert(self._unescape(leaf[2] or ""))
        return leaf.end()

    def _entries(self, member: Field, position: int, end: int, parsed: dict[str, Any]) -> int:
        """Read a run of entries of one kind."""
        if member.is_list:
            if not member.flattened:
                raise NotPlainError
            entries = self._found.get(member.name)
            if entries is None:
                entries = self._found[member.name] = _Entries(member)
            return entries.read(self._document, position, end)
        single = _Entries(member)
        position = single.read(self._document, position, end)
        rows = single.dictionaries(self._unescape)
        if len(rows) != 1 or member.name in parsed:
            raise OddReplyError(f"<{member.tag}> more than once")
        parsed[member.name] = rows[0]
        return position

    def _unescape(self, text: str) -> str:
        if "&" not in text:
            return text
        text = text.replace("&quot;", '"').replace("&#34;", '"')
        return _REFERENCE.sub(self._character, text) if "&" in text else text

    def _character(self, reference: re.Match[str]) -> str:
        return self._references[reference[0]]


def _resolve_references(document: str) -> dict[str, str]:
    """Every reference in *document* with its character; not plain when XML does not know one."""
    ampersands = document.count("&")
    if not ampersands:
        return {}
    # Servers write the quotes of all ETags alike, and nothing else in most pages.
    first = _REFERENCE.match(document, document.index("&"))
    if first is not None and document.count(first[0]) == ampersands:
        found = {first[0]}
    else:
        references = _REFERENCE.findall(document)
        if len(references) != ampersands:
            raise NotPlainError
        found = set(references)
    return {reference: _NAMED.get(reference) or _numbered(reference) for reference in found}


def _numbered(reference: str) -> str:
    digits = reference[2:-1]
    code = int(digits[1:], 16) if digits[0] == "x" else int(digits)
    if (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    ):
        return chr(code)
    raise NotPlainError
