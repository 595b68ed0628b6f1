"""The published comparison: results as JSON beside this file, and a table in docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.faults.peers._rules import HANG, KINDS, LEAK, MIXED, PIECE, UNTYPED, WRONG, Score

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "reliability.md"
RESULTS: Final = Path(__file__).parent / "results.json"
BEGIN: Final = "<!-- peers -->"
END: Final = "<!-- /peers -->"
HEADING: Final = "## The same faults on other libraries"
_MEANS: Final = {
    WRONG: "success, and the bytes stored, read or listed are not what they must be",
    MIXED: "after an error the key holds neither the old object nor the whole new one",
    PIECE: "after an error the path holds neither the old file nor the whole new one",
    LEAK: "parts stay in the store that the library had the means to know of",
    HANG: "not ended after 16 s, with time-outs of 2 s set wherever there are any",
    UNTYPED: "an exception the library does not say its calls raise",
}
_INTRODUCTION: Final = """\
Seven operations that any library has: put, put a file in parts, get, get to a file, list, copy, delete.
Each request that a clean run of the library sends meets each phase and action of the single faults, with
403, 500, 503 and 200 with an error document as refusals; one fault per call, through the same proxy, before
the same store. The number of cases differs because libraries send different requests. A call passes when
nothing happened that the columns name: an error of a stated type is a pass, success is not asked for."""
_REMARKS: Final = """\
obstore has no call that writes a file: its documented loop does it, so those files are the loop's. Every
library makes at most three attempts; a finding counts when a second run shows it too; obstore has its
SHA-256 checksums on; peers run without awscrt, as `pip install` leaves them. Operations and faults are the
same for all; a fault only one of them could survive is not among them. An example of each finding:"""


def table(scores: Sequence[Score], day: str, step: int) -> str:
    """The section, without its markers."""
    head = ["Library", "Version", "Cases", "Passed", *(kind.capitalize() for kind in KINDS), "Done anyway"]
    lines = [
        HEADING,
        "",
        _INTRODUCTION,
        "",
        _row(head),
        _row(["---", "---", *(["---:"] * (len(head) - 2))]),
        *(_row(_cells(score)) for score in scores),
        "",
        *(f"- *{kind.capitalize()}*: {meaning}." for kind, meaning in _MEANS.items()),
        "- *Done anyway*: calls that did their work in spite of the fault.",
        "",
        _REMARKS,
        "",
        *(
            f"- {score.library}, {kind}: `{case}`"
            for score in scores
            for kind, case in score.examples.items()
        ),
        "",
        f"Run on {day} by `python -m tests.faults.peers --write`"
        + ("." if step == 1 else f", one of every {step} cases."),
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(score: Score) -> list[str]:
    share = f"{score.passed:,} ({100 * score.passed / max(score.cases, 1):.1f}%)"
    counts = [f"{score.broken[kind]:,}" for kind in KINDS]
    return [score.library, score.version, f"{score.cases:,}", share, *counts, f"{score.succeeded:,}"]


def write(scores: Sequence[Score], day: str, step: int) -> None:
    """Keep the results, and put the table into the page, between its markers or at the end."""
    kept = {"day": day, "step": step, "scores": [asdict(score) for score in scores]}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(placed(PAGE.read_text(), table(scores, day, step)))


def placed(page: str, section: str) -> str:
    """*page* with *section* between the markers, which are added at its end where they are missing."""
    block = f"{BEGIN}\n{section}\n{END}"
    if BEGIN not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + block + after


def published() -> tuple[list[Score], str, int]:
    """The scores, day and step of the last `write`."""
    kept = json.loads(RESULTS.read_text())
    return [Score(**score) for score in kept["scores"]], kept["day"], kept["step"]
