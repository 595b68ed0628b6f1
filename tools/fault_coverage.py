"""
How much of the package's `except` and `finally` suites ran, and which of their lines did not.

    python -m coverage json -o coverage.json
    python -m tools.fault_coverage coverage.json --least 98

Reads the report of coverage.py (branch mode); the suites are found in the sources themselves. A line counts
when it starts a statement that coverage counts; a jump counts when it starts in such a line.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "greenlang_async_storage"
PARTS = ("fastpath",)
"""Folders that count beside the core; the other folders with public names are users of the core."""


@dataclass(frozen=True, slots=True)
class Suites:
    """What one file has in its handlers, and what of it did not run."""

    path: Path
    lines: int
    missing: tuple[int, ...]
    jumps: int
    """Ways out of the handlers' own branches."""
    not_taken: tuple[tuple[int, int], ...]
    """From line to line; a negative one is the end of a function."""


@dataclass(frozen=True, slots=True)
class Report:
    """All files together."""

    files: tuple[Suites, ...]

    @property
    def lines(self) -> int:
        """Lines in handlers."""
        return sum(file.lines for file in self.files)

    @property
    def share(self) -> float:
        """Of those lines, how many ran; 1.0 where there are none."""
        missing = sum(len(file.missing) for file in self.files)
        return 1 - missing / self.lines if self.lines else 1.0

    @property
    def branch_share(self) -> float:
        """The same with the jumps counted too, as coverage.py does it."""
        every = self.lines + sum(file.jumps for file in self.files)
        left = sum(len(file.missing) + len(file.not_taken) for file in self.files)
        return 1 - left / every if every else 1.0

    def missing(self) -> Iterator[str]:
        """One text per line that did not run, and per jump that was not taken."""
        for file in self.files:
            source = file.path.read_text(encoding="utf-8").splitlines()
            name = file.path.relative_to(ROOT) if file.path.is_relative_to(ROOT) else file.path
            for line in file.missing:
                yield f"{name}:{line}: {source[line - 1].strip()}"
            for start, end in file.not_taken:
                goes = f"line {end}" if end > 0 else "the end"
                yield f"{name}:{start}: never went to {goes}: {source[start - 1].strip()}"


def handler_lines(source: str) -> frozenset[int]:
    """Where the statements inside `except` and `finally` suites start, those of nested blocks included."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Try | ast.TryStar):
            suites = [statement for handler in node.handlers for statement in handler.body]
            for statement in (*suites, *node.finalbody):
                found |= {inner.lineno for inner in ast.walk(statement) if isinstance(inner, ast.stmt)}
    return frozenset(found)


def core_files(parts: Sequence[str] = PARTS) -> list[Path]:
    """The modules of the core, and of the public folders *parts*, of the package that is installed."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        folders = path.relative_to(package).parts[:-1]
        if not folders or folders[0].startswith("_") or folders[0] in parts:
            found.append(path)
    return found


def measure(told: Mapping[str, object], files: Sequence[Path], root: Path = ROOT) -> Report:
    """
    The handlers of *files* by what coverage.py's JSON report says of them; paths in it count from *root*.

    Raises:
        ValueError: the report was made without branches.
    """
    known = told["files"]
    assert isinstance(known, Mapping)
    by_path = {(root / name).resolve(): facts for name, facts in known.items()}
    return Report(tuple(_suites(path, by_path.get(path.resolve())) for path in files))


def _suites(path: Path, facts: Mapping[str, Any] | None) -> Suites:
    lines = handler_lines(path.read_text(encoding="utf-8"))
    if facts is None:
        return Suites(path, len(lines), tuple(sorted(lines)), 0, ())
    if "missing_branches" not in facts:
        raise ValueError(f"nothing is known of the branches in {path}: run coverage with --branch")
    ran, missing = lines.intersection(facts["executed_lines"]), lines.intersection(facts["missing_lines"])
    taken = sum(start in lines for start, _ in facts["executed_branches"])
    # A jump from a line that never ran is told by the line.
    not_taken = tuple((start, end) for start, end in facts["missing_branches"] if start in ran)
    return Suites(path, len(ran) + len(missing), tuple(sorted(missing)), taken + len(not_taken), not_taken)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what is missing and the share; 1 when it is below what is asked for."""
    parser = argparse.ArgumentParser(description="Coverage of except and finally suites.")
    parser.add_argument("report", type=Path, help="what `coverage json` wrote")
    parser.add_argument("--least", type=float, default=98.0, help="percent of the lines that must have run")
    chosen = parser.parse_args(arguments)
    report = measure(json.loads(chosen.report.read_text(encoding="utf-8")), core_files())
    for line in report.missing():
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(
        f"{report.share:.1%} of {report.lines} lines in except and finally suites, "
        f"{report.branch_share:.1%} with their branches\n"
    )
    return 0 if report.share * 100 >= chosen.least else 1


if __name__ == "__main__":
    sys.exit(main())
