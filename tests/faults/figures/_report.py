"""The table of figures: printed, and kept between markers in docs/reliability.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from tests.faults.figures._figure import Figure
from tests.faults.figures._runner import Run

HEADER: Final = (
    "| Goal | What | Wanted | Fast path | Plain path | Seconds | Holds | Day |\n"
    "|---|---|---|---|---|---|---|---|"
)
END: Final = "<!-- /figures -->"
PACKAGES: Final = ("aioboto3", "aiobotocore", "botocore", "aiohttp", "httptools", "awscrt")
_SAME: Final = "as fast path"
_PATH: Final = re.compile(r"(?<![\w/:.])(?:/[\w.+@-]+){2,}")
_LONGEST_CELL: Final = 300
_LONGEST_NOTE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, both paths together."""

    goal: str
    what: str
    wanted: str
    fast: str
    plain: str
    seconds: float
    holds: bool

    def text(self, day: str) -> str:
        """The line in Markdown."""
        cells = (
            *(self.goal, self.what, self.wanted, self.fast, self.plain, f"{self.seconds:.0f}"),
            *("yes" if self.holds else "**no**", day),
        )
        return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def rows(runs: Iterable[Run]) -> list[Row]:
    """The lines of *runs*: a figure both paths have is one line; a run without figures is one that failed."""
    found: dict[tuple[str, str], list[tuple[Run, Figure]]] = {}
    for run in runs:
        for figure in run.figures or (_failed(run),):
            found.setdefault((figure.goal, figure.what), []).append((run, figure))
    made = [_row(key, measured) for key, measured in found.items()]
    return sorted(made, key=lambda row: _order(row.goal))


def _failed(run: Run) -> Figure:
    return Figure(run.module.goal, run.module.name, "figures", run.failure, holds=False)


def _row(key: tuple[str, str], measured: Sequence[tuple[Run, Figure]]) -> Row:
    by_path = {run.fast_path: figure for run, figure in measured}
    told = {path: figure.measured for path, figure in by_path.items()}
    fast, plain = told.get(True), told.get(False)
    both = measured[0][0].module.paths
    if plain is None:
        plain = "-" if False in both else _SAME
    return Row(
        *(key[0], key[1], measured[0][1].wanted, fast or "-", plain),
        seconds=sum(run.seconds for run, _ in measured),
        holds=all(figure.holds for _, figure in measured),
    )


def notes(runs: Iterable[Run]) -> list[str]:
    """Seeds and remarks as a list, each beginning with its goal."""
    found = []
    for run in runs:
        for figure in run.figures:
            seeds = [f"seeds {figure.seeds}"] if figure.seeds else []
            found += [f"- {figure.goal}, {figure.what}: {text}" for text in (*seeds, *figure.notes)]
    return sorted(
        dict.fromkeys(_clean(line, _LONGEST_NOTE) for line in found), key=lambda line: _order(line[2:])
    )


def render(runs: Sequence[Run], *, seed: int, day: str) -> str:
    """The whole block: machine, table, seeds and notes."""
    lines = [row.text(day) for row in rows(runs)]
    return _joined(machine(), seed, lines, notes(runs))


def merged(before: str, runs: Sequence[Run], *, seed: int, day: str) -> str:
    """The block *before* with the lines and notes of the goals in *runs* replaced, the others kept."""
    goals = {figure.goal for run in runs for figure in run.figures} | {run.module.goal for run in runs}
    kept_rows = [line for line in before.splitlines() if re.match(r"\| G\d", line)]
    kept_rows = [line for line in kept_rows if line.split("|")[1].strip() not in goals]
    kept_notes = [line for line in before.splitlines() if re.match(r"- G\d", line)]
    kept_notes = [line for line in kept_notes if line[2:].split(",")[0] not in goals]
    lines = sorted([*kept_rows, *(row.text(day) for row in rows(runs))], key=lambda line: _order(line[2:]))
    told = sorted([*kept_notes, *notes(runs)], key=lambda line: _order(line[2:]))
    return _joined(machine(), seed, lines, told)


def _joined(where: str, seed: int, lines: Sequence[str], told: Sequence[str]) -> str:
    text = f"{where}. First seed {seed}.\n\n{HEADER}\n" + "\n".join(lines)
    return text + ("\n\n" + "\n".join(told) if told else "")


def machine() -> str:
    """Processor, cores, system, Python and the packages that matter; no names of hosts or places."""
    told = [
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        f"Python {platform.python_version()}",
    ]
    for name in PACKAGES:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(told)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def write(page: Path, runs: Sequence[Run], *, full: bool, partly: bool, seed: int, day: str) -> None:
    """
    Put the table into *page*, between `<!-- figures:pr -->` (or `figures:full`) and `<!-- /figures -->`.

    *partly* keeps the lines of goals that were not measured this time.

    Raises:
        ValueError: the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    begin = f"<!-- figures:{'full' if full else 'pr'} -->"
    start = text.find(begin)
    stop = text.find(END, start)
    if start < 0 or stop < 0:
        raise ValueError(f"{page.name} has no place for the table: put {begin} and {END} into it")
    start += len(begin)
    before = text[start:stop]
    block = (merged(before, runs, seed=seed, day=day) if partly else render(runs, seed=seed, day=day)).strip()
    page.write_text(f"{text[:start]}\n{block}\n{text[stop:]}", encoding="utf-8")


def _order(goal: str) -> tuple[int, str]:
    found = re.match(r"G(\d+)", goal)
    return (int(found[1]) if found else 1_000, goal)


def _cell(text: str) -> str:
    return _clean(text).replace("|", "\\|")


def _clean(text: str, longest: int = _LONGEST_CELL) -> str:
    """One line without paths of this machine, of bounded length."""
    line = _PATH.sub("(path)", " ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest]}..."
