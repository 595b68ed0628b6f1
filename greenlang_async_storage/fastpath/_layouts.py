"""What the quick reader learns of the entries of a listing: which elements in which order, as a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlang_async_storage.fastpath._shapes import Conversion, Field, OddReplyError, StructureReader
from greenlang_async_storage.fastpath._times import timestamp, timestamps

NAME = "[A-Za-z][A-Za-z0-9]*"
SPACE = " \t\n"
MAX_LAYOUTS = 8
"""
Different sequences of elements remembered per kind of entry; documents with more are read by the XML parser.
"""
_MAX_ENTRY_TOKENS = 64
_TOKEN = re.compile(rf"<(/?)({NAME})(\s?/)?>([^<]*)")
# Whatever the pattern of an entry does not match: all that is left, so that nothing is skipped.
_REST = r"|([\s\S]+)"
_SEPARATOR = "\0"
"""No document holds it, and no reference stands for it."""

_Step = tuple[int, str, Conversion]
Row = tuple[str, ...]
"""The texts of one entry, in the order of its layout."""
Unescape = Callable[[str], str]


class NotPlainError(Exception):
    """The document is outside the subset of XML the quick reader knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The elements of an entry in order: a pattern for all entries alike, and what its groups are."""

    pattern: re.Pattern[str]
    run: re.Pattern[str] | None
    """Finds entry after entry, and the rest in a last group; None where entries have no text."""
    steps: tuple[_Step, ...]
    nested: tuple[tuple[str, tuple[_Step, ...]], ...]
    lists: tuple[tuple[str, tuple[int, ...], Conversion], ...]

    def entries(self, rows: Sequence[Row], unescape: Unescape) -> list[dict[str, Any]]:
        """The dictionary of each row; columns are converted whole, which costs a fraction."""
        columns = list(zip(*rows, strict=False))
        names: list[str] = []
        values: list[Sequence[Any]] = []
        for index, name, convert in self.steps:
            names.append(name)
            values.append(converted(columns[index], convert, unescape))
        for member, steps in self.nested:
            inner = [converted(columns[index], convert, unescape) for index, _, convert in steps]
            names.append(member)
            values.append(_dictionaries([name for _, name, _ in steps], inner, len(rows)))
        for member, indexes, convert in self.lists:
            items = [converted(columns[index], convert, unescape) for index in indexes]
            names.append(member)
            values.append([list(each) for each in zip(*items, strict=True)])
        return _dictionaries(names, values, len(rows))


def _dictionaries(names: Sequence[str], values: Sequence[Sequence[Any]], count: int) -> list[dict[str, Any]]:
    if not names:
        return [{} for _ in range(count)]
    return [dict(zip(names, each, strict=False)) for each in zip(*values, strict=True)]


def converted(texts: Sequence[str], convert: Conversion, unescape: Unescape) -> Sequence[Any]:
    """What *convert* gives for each of *texts*, their references resolved."""
    resolved = _resolved(texts, unescape)
    if convert is str:
        return resolved
    if convert is timestamp:
        return timestamps(resolved)
    return list(map(convert, resolved))


def _resolved(texts: Sequence[str], unescape: Unescape) -> Sequence[str]:
    joined = _SEPARATOR.join(texts)
    if "&" not in joined:
        return texts
    joined = joined.replace("&quot;", '"').replace("&#34;", '"')
    resolved = joined.split(_SEPARATOR)
    return [unescape(text) for text in resolved] if "&" in joined else resolved


def layout_at(member: Field, document: str, position: int) -> tuple[Layout, re.Match[str]]:
    """The layout of the entry at *position*, learned where it is a new one, and its match."""
    layouts: list[Layout] = member.layouts
    for layout in layouts:
        if (entry := layout.pattern.match(document, position)) is not None:
            return layout, entry
    if len(layouts) >= MAX_LAYOUTS:
        raise NotPlainError
    layout = _learn(member, document, position)
    entry = layout.pattern.match(document, position)
    if entry is None:
        raise NotPlainError
    layouts.append(layout)
    return layout, entry


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
            raise NotPlainError
        self.pattern.append(f"<{tag}>([^<]*)</{tag}>")
        if member.is_list:
            self.lists.setdefault(member.name, ([], member.convert))[0].append(self.groups)
        else:
            if any(name == member.name for _, name, _ in steps):
                raise OddReplyError(f"<{tag}> more than once")
            steps.append((self.groups, member.name, member.convert))
        self.groups += 1


def _learn(member: Field, document: str, position: int) -> Layout:
    """The layout of the entry at *position*: leaves, and structures of leaves."""
    if member.reader is None:
        raise NotPlainError
    learner = _Learner()
    tokens, spaced = _tokens(document, position, member.tag)
    learner.pattern.append(f"<{member.tag}>")
    index = 1
    while index < len(tokens) - 1:
        index = _learn_child(learner, member.reader, tokens, index)
    learner.pattern.append(f"</{member.tag}>")
    # Space after an entry belongs to the pattern, so that a run of entries goes on.
    pattern = f"[{SPACE}]*".join([*learner.pattern, ""]) if spaced else "".join(learner.pattern)
    return Layout(
        re.compile(pattern),
        re.compile(pattern + _REST) if learner.groups else None,
        tuple(learner.steps),
        tuple((name, tuple(steps)) for name, steps in learner.nested.items()),
        tuple((name, tuple(indexes), convert) for name, (indexes, convert) in learner.lists.items()),
    )


def _learn_child(
    learner: _Learner, reader: StructureReader, tokens: list[tuple[bool, str]], index: int
) -> int:
    closing, tag = tokens[index]
    if closing:
        raise NotPlainError
    if tokens[index + 1] == (True, tag) and tag not in _containers(reader):
        learner.leaf(reader, tag, learner.steps, outer=True)
        return index + 2
    member = reader.fields.get(tag)
    if member is None or member.reader is None or member.is_list:
        raise NotPlainError
    if member.name in learner.nested:
        raise OddReplyError(f"<{tag}> more than once")
    steps = learner.nested[member.name] = []
    learner.pattern.append(f"<{tag}>")
    index += 1
    while tokens[index] != (True, tag):
        closing, inner = tokens[index]
        if closing or tokens[index + 1] != (True, inner):
            raise NotPlainError
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
            raise NotPlainError
        position = token.end()
        closing = token[1] == "/"
        tokens.append((closing, token[2]))
        is_leaf = not closing and document.startswith(f"</{token[2]}>", position)
        if closing and token[2] == tag:
            return tokens, spaced or token[4].isspace()
        if token[4] and not is_leaf:
            if token[4].strip(SPACE):
                raise NotPlainError
            spaced = True
