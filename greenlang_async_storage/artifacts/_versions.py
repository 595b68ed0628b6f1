"""The order of versions: PEP 440 among those that follow it, else the natural order of digit runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

_PEP_440: Final = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>[0-9]*))?"
    r"(?:-(?P<post_bare>[0-9]+)|(?P<post>[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]*)))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_number>[0-9]*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_PHASES: Final = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_RUNS: Final = re.compile(r"[0-9]+|[^0-9]+")

_Run: TypeAlias = tuple[int, int, str]
_Released: TypeAlias = tuple[
    int, tuple[int, ...], tuple[int, int], int, tuple[int, int], tuple[_Run, ...], tuple[_Run, ...], str
]
_BEFORE_ALL: Final = -1
_AFTER_ALL: Final = 3


def in_order(versions: Iterable[str]) -> list[str]:
    """
    *versions* in ascending order, each once: `1.0rc1` < `1.0` < `1.10`, and `2026.9-b` < `2026.10-b`.

    Two that both follow PEP 440 are compared by its rules (Python Packaging Guide, "Version specifiers"), any
    other two by their runs of digits as numbers and the rest as text. Where that goes in circles, the highest
    of each kind decides, so the last one is the same whatever the order of the input.
    """
    released: list[tuple[_Released, str]] = []
    natural: list[tuple[tuple[tuple[_Run, ...], str], str]] = []
    for version in set(versions):
        key = _pep_440(version)
        if key is None:
            natural.append(((_natural(version), version), version))
        else:
            released.append((key, version))
    first = [version for _, version in sorted(released)]
    second = [version for _, version in sorted(natural)]
    merged = []
    while first and second:
        higher = first if _natural(first[-1]) > _natural(second[-1]) else second
        merged.append(higher.pop())
    return [*first, *second, *reversed(merged)]


def _pep_440(version: str) -> _Released | None:
    found = _PEP_440.fullmatch(version)
    if found is None:
        return None
    release = tuple(int(part) for part in found["release"].split("."))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    posted = found["post"] is not None or found["post_bare"] is not None
    if found["pre"] is not None:
        pre = (_PHASES[found["pre"].lower()], int(found["pre_number"] or 0))
    else:
        # A development release of a final one comes before all its pre-releases.
        pre = (_BEFORE_ALL if found["dev"] is not None and not posted else _AFTER_ALL, 0)
    post = int(found["post_bare"] or found["post_number"] or 0) if posted else _BEFORE_ALL
    dev = (0, int(found["dev_number"] or 0)) if found["dev"] is not None else (1, 0)
    local: tuple[_Run, ...] = ()
    if found["local"] is not None:
        # Of local parts numbers are the higher ones.
        parts = re.split(r"[-_.]", found["local"].lower())
        local = tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
    return int(found["epoch"] or 0), release, pre, post, dev, local, _natural(version), version


def _natural(version: str) -> tuple[_Run, ...]:
    return tuple(
        (0, int(run), "") if run[0] in "0123456789" else (1, 0, run) for run in _RUNS.findall(version)
    )
