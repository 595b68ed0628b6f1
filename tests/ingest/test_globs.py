"""Patterns: what they cover, and which folders need not be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage.ingest._globs import PathFilter

CASES = [
    ("*.csv", "a.csv", True),
    ("*.csv", "deep/er/a.csv", True),
    ("*.csv", "a.csv.gz", False),
    ("/*.csv", "a.csv", True),
    ("/*.csv", "deep/a.csv", False),
    ("raw/*.csv", "raw/a.csv", True),
    ("raw/*.csv", "raw/x/a.csv", False),
    ("raw/*.csv", "x/raw/a.csv", False),
    ("raw/**/*.csv", "raw/a.csv", True),
    ("raw/**/*.csv", "raw/x/y/a.csv", True),
    ("**/raw/*", "x/raw/a", True),
    ("**/raw/*", "raw/a", True),
    ("raw/**", "raw/x/y", True),
    ("raw/**", "raw", False),
    ("raw/**", "x/raw/y", False),
    ("tmp/", "tmp/x", True),
    ("tmp/", "a/tmp/x", True),
    ("tmp/", "tmp", False),
    ("tmp", "tmp", True),
    ("tmp", "a/tmp/b/c", True),
    ("t?p", "tap", True),
    ("t?p", "t/p", False),
    ("[ab].txt", "a.txt", True),
    ("[!ab].txt", "a.txt", False),
    ("[!ab].txt", "c.txt", True),
    ("[0-9].txt", "7.txt", True),
    ("[x", "[x", True),
    (r"\*.txt", "*.txt", True),
    (r"\*.txt", "a.txt", False),
    ("a+b(c).txt", "a+b(c).txt", True),
    ("A.txt", "a.txt", False),
    ("ü*", "über", True),
    ("*", "line\nbreak", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), CASES)
def test_what_a_pattern_covers(pattern: str, path: str, expected: bool) -> None:
    """As an include it lets in exactly what it keeps out as an exclude."""
    assert PathFilter(include=[pattern]).accepts(path) is expected
    assert PathFilter(exclude=[pattern]).accepts(path) is not expected


def test_exclude_wins() -> None:
    """What both name is left out; without an include everything else is in."""
    both = PathFilter(include=["*.csv"], exclude=["raw/"])
    assert both.accepts("a.csv")
    assert not both.accepts("raw/a.csv")
    assert not both.accepts("a.txt")
    assert PathFilter().accepts("anything/at all")


PARTS = st.sampled_from(["a", "b", "*", "**", "a*", "?"])
PATTERNS = st.builds(
    lambda lead, parts, end: lead + "/".join(parts) + end,
    st.sampled_from(["", "/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@given(pattern=PATTERNS, folder=PATHS, rest=PATHS)
def test_a_folder_is_passed_over_only_when_all_below_it_is(pattern: str, folder: str, rest: str) -> None:
    """Not reading a folder never loses a file that should be looked at."""
    paths = PathFilter(exclude=[pattern])
    if paths.prunes(folder):
        assert not paths.accepts(f"{folder}/{rest}")


def test_large_folders_are_passed_over() -> None:
    """An excluded folder is not read at all."""
    paths = PathFilter(exclude=["node_modules/", "raw/**", "/build"])
    assert paths.prunes("node_modules")
    assert paths.prunes("a/node_modules")
    assert paths.prunes("raw")
    assert paths.prunes("build")
    assert not paths.prunes("a/raw")
    assert not paths.prunes("a/build")


@pytest.mark.parametrize("pattern", ["", "/", "..", "a/../b", "./a"])
def test_patterns_that_match_nothing_are_refused(pattern: str) -> None:
    """A pattern that could never match is a mistake."""
    with pytest.raises(ValueError, match="names no path below the directory"):
        PathFilter(include=[pattern])


def test_patterns_are_a_list() -> None:
    """One string is not taken for its characters."""
    with pytest.raises(TypeError, match="pass a list"):
        PathFilter(exclude="*.csv")
    with pytest.raises(TypeError, match="is a bytes, not a str"):
        PathFilter(exclude=[b"*.csv"])  # type: ignore[list-item]
