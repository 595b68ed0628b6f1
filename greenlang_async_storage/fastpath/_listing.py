"""
The quick reader of listings: regular expressions over the whole document, for the plain form servers send.

It recognises a subset of XML in which nothing can be ambiguous and must consume the document from its first
byte to its last; for anything else (attributes, comments, CDATA, unusual characters or references, nesting it
has no use for) it gives up and the XML parser reads the document. What it returns is what that reading would
return.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlang_async_storage.fastpath._shapes import Conversion, Field, OddReplyError, StructureReader

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "[A-Za-z][A-Za-z0-9]*"
_PROLOGUE = re.compile(
    rf"""(?:<\?xml version="1\.0" encoding="(?:UTF-8|utf-8)"\?>\s*)?<({_NAME})(?: xmlns="[^"<&]*")?>"""
)
_OPEN = re.compile(f"<({_NAME})>")
_LEAF = re.compile(rf"<({_NAME})>([^<]*)</\1>|<({_NAME})\s?/>")
_TOKEN = re.compile(rf"<(/?)({_NAME})(\s?/)?>([^<]*)")
# Bytes XML forbids or changes: a carriage return becomes a line feed.
_CONTROLS = bytes({*range(0x20)} - {0x09, 0x0A})
# The end of a CDATA section, and the two characters no document may hold.
_FORBIDDEN = (b"]]>", b"\xef\xbf\xbe", b"\xef\xbf\xbf")
_SPACE = " \t\n"
_SPACES = re.compile(f"[{_SPACE}]*")
_REFERENCE = re.compile("&(?:amp|lt|gt|quot|apos|#(?:x[0-9A-Fa-f]{1,6}|[0-9]{1,7}));")
_NAMED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}

MAX_LAYOUTS = 8
"""
Different sequences of elements remembered per kind of entry; documents with more are read by the XML parser.
"""
_MAX_ENTRY_TOKENS = 64

_Step = tuple[int, str, Conversion]


class _NotPlainError(Exception):
    """The document is outside the subset."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The elements of an entry in order: a pattern for all entries alike, and what its groups are."""

    pattern: re.Pattern[str]
    steps: tuple[_Step, ...]
    nested: tuple[tuple[str, tuple[_Step, ...]], ...]
    lists: tuple[tuple[str, tuple[int, ...], Conversion], ...]

    def build(self, groups: tuple[str, ...], unescape: Callable[[str], str]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for index, name, convert in self.steps:
            text = groups[index]
            if "&" in text:
                text = unescape(text)
            row[name] = text if convert is str else convert(text)
        for member, steps in self.nested:
            row[member] = {name: convert(unescape(groups[index])) for index, name, convert in steps}
        for member, indexes, convert in self.lists:
            row[member] = [convert(unescape(groups[index])) for index in indexes]
        return row


def read_quickly(reader: StructureReader, body: bytes) -> dict[str, Any] | None:
    """The members in *body*, or None when the document is not of the plain form."""
    if len(body.translate(None, _CONTROLS)) != len(body) or any(each in body for each in _FORBIDDEN):
        return None
    try:
        return _Reading(body.decode()).members(reader)
    except (UnicodeDecodeError, _NotPlainError):
        return None


class _Reading:
    """One document being read."""

    __slots__ = ("_document", "_references")

    def __init__(self, document: str) -> None:
        self._document = document
        self._references = _resolve_references(document)

    def members(self, reader: StructureReader) -> dict[str, Any]:
        document = self._document
        root = _PROLOGUE.match(document)
        if root is None or root[1] == "Error":
            raise _NotPlainError
        closing = f"</{root[1]}>"
        end = document.rfind(closing)
        if end < root.end() or document[end + len(closing) :].strip(_SPACE):
            raise _NotPlainError
        parsed: dict[str, Any] = {}
        position = self._skip_space(root.end())
        while position < end:
            position = self._skip_space(self._element(reader, position, parsed))
        if position != end:
            raise _NotPlainError
        return parsed

    def _skip_space(self, position: int) -> int:
        if self._document[position] not in _SPACE:
            return position
        space = _SPACES.match(self._document, position)
        return position if space is None else space.end()

    def _element(self, reader: StructureReader, position: int, parsed: dict[str, Any]) -> int:
        """Read the child of the root at *position*; the position after it."""
        document = self._document
        opening = _OPEN.match(document, position)
        member = reader.fields.get(opening[1]) if opening is not None else None
        if member is not None and member.reader is not None:
            return self._entries(member, position, parsed)
        leaf = _LEAF.match(document, position)
        if leaf is None:
            raise _NotPlainError
        known = reader.fields.get(leaf[1] or leaf[3])
        if known is not None:
            if known.is_list or known.reader is not None:
                raise _NotPlainError
            if known.name in parsed:
                raise OddReplyError(f"<{known.tag}> more than once")
            parsed[known.name] = known.convert(self._unescape(leaf[2] or ""))
        return leaf.end()

    def _entries(self, member: Field, position: int, parsed: dict[str, Any]) -> int:
        """Read a run of entries of one kind."""
        document, unescape = self._document, self._unescape
        if member.is_list and not member.flattened:
            raise _NotPlainError
        rows: list[dict[str, Any]] = parsed.setdefault(member.name, []) if member.is_list else []
        layout = _layout_at(member, document, position)
        match, build = layout.pattern.match, layout.build
        append = rows.append
        while (entry := match(document, position)) is not None:
            append(build(entry.groups(), unescape))
            position = entry.end()
        if not member.is_list:
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
    found = _REFERENCE.findall(document)
    if len(found) != ampersands:
        raise _NotPlainError
    return {reference: _NAMED.get(reference) or _numbered(reference) for reference in set(found)}


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
    raise _NotPlainError


def _layout_at(member: Field, document: str, position: int) -> _Layout:
    layouts: list[_Layout] = member.layouts
    for layout in layouts:
        if layout.pattern.match(document, position) is not None:
            return layout
    if len(layouts) >= MAX_LAYOUTS:
        raise _NotPlainError
    layout = _learn(member, document, position)
    layouts.append(layout)
    return layout


@dataclass(slots=True)
class _Learner:
    """Collects the pattern of one entry while its tokens are read."""

    pattern: list[str] = field(default_factory=list)
    groups: int = 0
    steps: list[_Step] = field(default_factory=list)
    nested: dict[str, list[_Step]] = field(default_factory=dict)
    lists: dict[str, tuple[list[int], Conversion]] = field(default_factory=dict)

    def leaf(self, reader: StructureReader, tag: str, steps: list[_Step], *, outer: bool) -> None:
        member = reader.fields.get(tag)
        if member is None:
            self.pattern.append(f"<{tag}>[^<]*</{tag}>")
            return
        if member.reader is not None or (member.is_list and not (member.flattened and outer)):
            raise _NotPlainError
        self.pattern.append(f"<{tag}>([^<]*)</{tag}>")
        if member.is_list:
            self.lists.setdefault(member.name, ([], member.convert))[0].append(self.groups)
        else:
            if any(name == member.name for _, name, _ in steps):
                raise OddReplyError(f"<{tag}> more than once")
            steps.append((self.groups, member.name, member.convert))
        self.groups += 1


def _learn(member: Field, document: str, position: int) -> _Layout:
    """The layout of the entry at *position*: leaves, and structures of leaves."""
    if member.reader is None:
        raise _NotPlainError
    learner = _Learner()
    tokens, spaced = _tokens(document, position, member.tag)
    learner.pattern.append(f"<{member.tag}>")
    index = 1
    while index < len(tokens) - 1:
        index = _learn_child(learner, member.reader, tokens, index)
    learner.pattern.append(f"</{member.tag}>")
    return _Layout(
        # Space after an entry belongs to the pattern, so that a run of entries goes on.
        re.compile(f"[{_SPACE}]*".join([*learner.pattern, ""]) if spaced else "".join(learner.pattern)),
        tuple(learner.steps),
        tuple((name, tuple(steps)) for name, steps in learner.nested.items()),
        tuple((name, tuple(indexes), convert) for name, (indexes, convert) in learner.lists.items()),
    )


def _learn_child(
    learner: _Learner, reader: StructureReader, tokens: list[tuple[bool, str]], index: int
) -> int:
    closing, tag = tokens[index]
    if closing:
        raise _NotPlainError
    if tokens[index + 1] == (True, tag) and tag not in _containers(reader):
        learner.leaf(reader, tag, learner.steps, outer=True)
        return index + 2
    member = reader.fields.get(tag)
    if member is None or member.reader is None or member.is_list:
        raise _NotPlainError
    if member.name in learner.nested:
        raise OddReplyError(f"<{tag}> more than once")
    steps = learner.nested[member.name] = []
    learner.pattern.append(f"<{tag}>")
    index += 1
    while tokens[index] != (True, tag):
        closing, inner = tokens[index]
        if closing or tokens[index + 1] != (True, inner):
            raise _NotPlainError
        learner.leaf(member.reader, inner, steps, outer=False)
        index += 2
    learner.pattern.append(f"</{tag}>")
    return index + 1


def _containers(reader: StructureReader) -> frozenset[str]:
    return frozenset(tag for tag, member in reader.fields.items() if member.reader is not None)


def _tokens(document: str, position: int, tag: str) -> tuple[list[tuple[bool, str]], bool]:
    """
    The tags of one entry, from its opening to its closing one, and whether there is space between them.

    Text stands only between the two tags of a leaf.
    """
    tokens: list[tuple[bool, str]] = []
    spaced = False
    while True:
        token = _TOKEN.match(document, position)
        if token is None or token[3] or len(tokens) >= _MAX_ENTRY_TOKENS:
            raise _NotPlainError
        position = token.end()
        closing = token[1] == "/"
        tokens.append((closing, token[2]))
        is_leaf = not closing and document.startswith(f"</{token[2]}>", position)
        if closing and token[2] == tag:
            return tokens, spaced or token[4].isspace()
        if token[4] and not is_leaf:
            if token[4].strip(_SPACE):
                raise _NotPlainError
            spaced = True
