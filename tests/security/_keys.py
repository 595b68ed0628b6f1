"""Keys of objects as an attacker would name them, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator

# ruff: noqa: RUF001  # look-alikes of dots and slashes are what this is about

_PARTS = (
    *("..", ".", "", "...", "a..b", "..a", "a..", " ", ". .", "..;", "..%2f", "%2e%2e", "%2e%2e%2f", "%00"),
    *("..%c0%af", "..\\", "..\\..", "\\", "C:", "C:\\x", "c:x", "~", "~root", "$HOME", "-rf", "*", "?"),
    *("a\x00b", "\x00", "a\nb", "a\rb", "\x1b[2J", "\u202e", "\uff0e\uff0e", "\u2025", "\uff0f", "\u2215"),
    *("CON", "nul.txt", "AUX", "a:stream", "LPT1", "é", "e\u0301", "É", "\ufb01", "ß", "SS", "İ", "ı", "K"),
    *(
        "a" * 255,
        "a" * 256,
        "\ud800",
        "\ufffe",
        ".git",
        ".ssh",
        ".bashrc",
        "etc",
        "passwd",
        "dir",
        "dir-evil",
    ),
    *("link", "file", "File", "FILE", "folder", "out", ".out.0123456789abcdef.part", ".name.resume.part"),
)
_STARTS = (
    *("", "", "", "/", "//", "../", "..\\", "./", "C:/", "\\\\host\\share\\", "file:///", "~/", "link/"),
    "../dir-evil/",
)
_ENDS = ("", "", "", "", "/", "/.", "/..", "\x00.txt", " ", ".", "//", "/../../x")


def hostile_keys(count: int, seed: int = 20260101) -> list[str]:
    """*count* different keys: climbing, absolute, controls, odd Unicode, other systems' paths, too long."""
    chosen = random.Random(seed)
    found: dict[str, None] = dict.fromkeys(_plain())
    while len(found) < count:
        parts = [chosen.choice(_PARTS) for _ in range(chosen.choice((1, 1, 2, 2, 3, 5, 9)))]
        joined = chosen.choice(("/", "/", "/", "\\", "//")).join(parts)
        found[chosen.choice(_STARTS) + joined + chosen.choice(_ENDS)] = None
    return list(found)[:count]


def _plain() -> Iterator[str]:
    """Those everybody tries first."""
    for depth in range(1, 12):
        yield "../" * depth + "etc/passwd"
        yield "a/" * depth + "../" * (depth + 1) + "outside"
        yield "..\\" * depth + "outside"
    yield from ("/etc/passwd", "..", "../", ".", "/", "", "link/outside", "link", "a/../../outside")
    yield from ("../outside", "../dir-evil/file", "dir/../../outside", "x" * 1025, "a/" * 600, "é" * 513)
