"""
Write the figures of a run into the documentation, between its markers.

    python -m benchmarks.publish               # benchmarks/results/full.json

What stands in README.md, docs/performance.md and docs/scale.md between `<!-- benchmark:NAME -->` and
`<!-- /benchmark -->` is replaced by the block of that name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.environment import ROOT
from benchmarks.results import Results

FILES: Final = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "scale.md")
_BLOCK: Final = re.compile(r"(<!-- benchmark:([a-z-]+) -->\n).*?(<!-- /benchmark -->)", re.DOTALL)


def blocks(results: Results) -> dict[str, str]:
    """What can be asked for by name, of what this run has measured."""
    scaling = report.scaling_tables(results)
    known = {"scaling": f"{report.circumstances(results)}\n\n{scaling}"} if scaling else {}
    if not report.main_workloads(results):
        return known
    return known | {
        "circumstances": report.circumstances(results),
        "headline": report.headline(results),
        "cpu": report.cpu_table(results),
        "ratios": report.ratio_table(results),
        "goals": report.goals_table(results),
        "losses": report.losses_text(results),
        "report": report.markdown(results),
    }


def fill(text: str, known: Mapping[str, str]) -> str:
    """*text* with every block that is *known* replaced; others stay as they are."""

    def replace(match: re.Match[str]) -> str:
        block = known.get(match[2])
        return match[0] if block is None else f"{match[1]}{block}\n{match[3]}"

    return _BLOCK.sub(replace, text)


def publish(results: Results) -> None:
    """Fill the blocks of the documentation."""
    known = blocks(results)
    for path in FILES:
        if path.exists():
            before = path.read_text()
            after = fill(before, known)
            if after != before:
                path.write_text(after)


if __name__ == "__main__":
    publish(
        Results.read(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "benchmarks" / "results" / "full.json")
    )
