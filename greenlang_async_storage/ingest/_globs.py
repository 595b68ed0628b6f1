"""Which paths a plan looks at: include and exclude patterns, the same for both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_CLASS: Final = re.compile(r"\[(!?)(\]?[^\]/]*)\]")


class PathFilter:
    """
    Paths that match an *include* pattern (or any, without one) and no *exclude* pattern.

    Patterns are matched against the path below the directory or prefix, segment by segment: `*` and `?` stay
    within a segment, `[ab]` and `[!ab]` are one character, `**` is any number of segments, a backslash takes
    the next character as it is. A pattern without a `/` before its end matches a name at any depth, others
    start at the top. A pattern that matches a folder matches all below it; one that ends in `/` matches
    folders only. Case counts. What is left out on one side is left out on the other, so it is never deleted.
    """

    __slots__ = ("_exclude", "_include", "_prune")

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = _any_of(_regex(each) for each in _patterns("include", include))
        self._exclude = _any_of(_regex(each) for each in _patterns("exclude", exclude))
        self._prune = _any_of(_regex(_folder(each)) for each in exclude)

    def accepts(self, path: str) -> bool:
        """Whether the file at *path*, relative and with `/`, is looked at."""
        if self._exclude is not None and self._exclude.fullmatch(path):
            return False
        return self._include is None or self._include.fullmatch(path) is not None

    def prunes(self, folder: str) -> bool:
        """Whether nothing in *folder* can be looked at, so that it need not be read."""
        return self._prune is not None and self._prune.fullmatch(folder) is not None


def _patterns(name: str, patterns: Sequence[str]) -> Sequence[str]:
    if isinstance(patterns, str | bytes):
        raise TypeError(f"{name} is one {type(patterns).__name__}, not a sequence of patterns: pass a list")
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern of {name} is a {type(pattern).__name__}, not a str: {pattern!r}")
        if not pattern.strip("/") or any(part in (".", "..") for part in pattern.split("/")):
            raise ValueError(
                f"{name} pattern {pattern!r} names no path below the directory; write it like 'a/*.csv'"
            )
    return patterns


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    found = list(patterns)
    return re.compile("|".join(f"(?:{each})" for each in found), re.DOTALL) if found else None


def _folder(pattern: str) -> str:
    """A pattern for the folders of which *pattern* covers everything."""
    folder = pattern.removesuffix("/**").rstrip("/")
    return f"/{folder.lstrip('/')}" if "/" in pattern.rstrip("/") else folder


def _regex(pattern: str) -> str:
    """A regular expression for the paths of files that *pattern* covers."""
    folders_only = pattern.endswith("/")
    body = pattern.strip("/")
    anchored = "/" in pattern.rstrip("/")
    parts = body.split("/")
    text = "" if anchored else "(?:.*/)?"
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:.*/)?"
        else:
            text += _segment(part) + ("" if last else "/")
    return text + ("/.*" if folders_only else "(?:/.*)?")


def _segment(part: str) -> str:
    text, index = "", 0
    while index < len(part):
        char = part[index]
        index += 1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "\\" and index < len(part):
            text += re.escape(part[index])
            index += 1
        elif char == "[" and (found := _CLASS.match(part, index - 1)) and found[2]:
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", found[2])
            text += f"[{'^/' if found[1] else ''}{inside}]"
            index = found.end()
        else:
            text += re.escape(char)
    return text
