"""What was found: lines of ok, warning, failed or skipped, each with what to do; as text or as JSON."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]

_COLOURS: Final[dict[Status, str]] = {"ok": "32", "warning": "33", "failed": "1;31", "skipped": "2"}
_LABEL: Final = 9
_NAME: Final = 22


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    section: str
    name: str
    status: Status
    detail: str
    remedy: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    """For machines only."""


class Report:
    """All lines, in the order in which they were found."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def add(
        self, section: str, name: str, status: Status, detail: str, remedy: str = "", **facts: object
    ) -> None:
        """Note one more."""
        self.lines.append(Line(section, name, status, detail, remedy, facts))

    def has_failed(self, section: str | None = None) -> bool:
        """Whether anything (of *section*) failed."""
        return any(line.status == "failed" for line in self.lines if section in (None, line.section))

    def count(self, status: Status) -> int:
        """How many lines have that status."""
        return sum(line.status == status for line in self.lines)

    def document(self) -> dict[str, object]:
        """The report for machines."""
        return {
            "ok": not self.has_failed(),
            "failed": self.count("failed"),
            "warnings": self.count("warning"),
            "checks": [
                {
                    "section": line.section,
                    "name": line.name,
                    "status": line.status,
                    "detail": line.detail,
                    "remedy": line.remedy or None,
                    **line.facts,
                }
                for line in self.lines
            ],
        }

    def text(self) -> list[str]:
        """The report for people: sections, wrapped and coloured on a terminal."""
        terminal = sys.stdout is not None and sys.stdout.isatty()
        width = max(60, shutil.get_terminal_size((80, 24)).columns) if terminal else 10_000
        coloured = terminal and not os.environ.get("NO_COLOR")
        found: list[str] = []
        section = ""
        for line in self.lines:
            if line.section != section:
                section = line.section
                found += ["", section] if found else [section]
            found += _rendered(line, width, coloured=coloured)
        return [*found, "", self._verdict()]

    def _verdict(self) -> str:
        failed, warnings = self.count("failed"), self.count("warning")
        if failed:
            return f"{failed} failed, {warnings} warnings: the lines marked failed say what to do."
        return f"No failure, {warnings} warnings." if warnings else "Everything works."


def _rendered(line: Line, width: int, *, coloured: bool) -> list[str]:
    indent = " " * (2 + _LABEL + _NAME)
    label = f"{line.status:<{_LABEL}}"
    if coloured:
        label = f"\x1b[{_COLOURS[line.status]}m{label}\x1b[0m"
    room = width - len(indent)
    first, *rest = textwrap.wrap(line.detail, room, break_on_hyphens=False) or [""]
    name = f"{line.name:<{_NAME}}"
    if len(line.name) >= _NAME:
        name = f"{line.name}\n{indent}"
    lines = [f"  {label}{name}{first}".rstrip(), *(indent + each for each in rest)]
    if line.remedy:
        wrapped = textwrap.wrap(f"-> {line.remedy}", room, subsequent_indent="   ", break_on_hyphens=False)
        lines += [indent + each for each in wrapped]
    return lines
