"""
G18: the same single faults on other libraries.

The nightly column runs them, in the environment of the benchmarks; the short one repeats what was
published, for a run takes a quarter of an hour.
"""

from __future__ import annotations

from typing import Final

from tests.faults.figures._figure import Figure, Scale
from tests.faults.peers._libraries import LIBRARIES
from tests.faults.peers._report import published
from tests.faults.peers._rules import Score
from tests.faults.peers._run import run

PATHS: Final = (True,)
"""Both paths of ours are among the libraries."""
MINUTES: Final = 0.1
FULL_MINUTES: Final = 40.0
OURS: Final = "greenlang_async_storage"


async def measure(scale: Scale) -> list[Figure]:
    """How many cases of its own requests each library passes."""
    if scale.full:
        return figures_of(await run(list(LIBRARIES), 1, scale.progress), "this run")
    scores, day, _ = published()
    return figures_of(scores, f"published on {day}, not run again")


def figures_of(scores: list[Score], when: str) -> list[Figure]:
    """Ours as figures, the others as notes."""
    ours = [score for score in scores if score.library.startswith(OURS)]
    others = [f"{score.library}: {_told(score)}" for score in scores if score not in ours]
    return [
        Figure(
            goal="G18",
            what=f"single faults any library can meet: {score.library} ({when})",
            wanted="100%",
            measured=_told(score),
            holds=score.passed == score.cases > 0,
            notes=tuple(others) if score is ours[0] else (),
        )
        for score in ours
    ]


def _told(score: Score) -> str:
    return f"{score.passed:,} of {score.cases:,}"
