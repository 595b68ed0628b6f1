"""
G4, G9, G10: every single fault of every public operation, whether it ended in time, and what was repeated.

One run gives the three: a case is one public operation, one of its requests, one phase and one action.
"""

from __future__ import annotations

from typing import Final

from tests.faults._table_worker import Tally, Where, run_in_processes
from tests.faults.figures._figure import Figure, Scale
from tests.support.faults import Door

PATHS: Final = (True, False)
MINUTES: Final = 4.0
FULL_MINUTES: Final = 120.0
ALONE: Final = True
"""Two processes of its own."""
WORKERS: Final = 2
SHOWN: Final = 20
"""Failed cases the notes have room for."""


async def measure(scale: Scale) -> list[Figure]:
    """The whole table in memory, in two processes; in the long form on MinIO too, and pairs of faults."""
    door: Door = "served" if scale.fast_path else "direct"
    scale.progress(f"every single fault, {door}")
    figures = list(figures_of(await run_in_processes(door, WORKERS)))
    if scale.full:
        scale.progress(f"pairs of faults, {door}")
        pairs = await run_in_processes(door, WORKERS, "pairs")
        figures += figures_of(pairs, "all pairs of a stream upload and a file download")
        scale.progress("every single fault on MinIO")
        where: Where = "minio" if scale.fast_path else "minio-plain"
        figures += figures_of(await run_in_processes(where, WORKERS), "on MinIO")
    return figures


def figures_of(tally: Tally, where: str = "in memory") -> tuple[Figure, Figure, Figure]:
    """The three figures of one run."""
    good = tally.cases - len(tally.problems)
    failed = [f"{case}: {'; '.join(problems)}" for case, problems in tally.problems.items()]
    return (
        Figure(
            goal="G4",
            what=f"every single fault of every public operation, {where}",
            wanted="100%",
            measured=f"{good:,} of {tally.cases:,}",
            holds=good == tally.cases > 0,
            seeds="none: the table is enumerated from what clean runs send",
            notes=(
                f"{tally.succeeded:,} of {tally.cases:,} calls succeeded in spite of their fault.",
                *failed[:SHOWN],
            ),
        ),
        Figure(
            goal="G9",
            what=f"calls of that table ended by their deadline + 250 ms, {where}",
            wanted="100%",
            measured=f"{tally.timed - tally.late:,} of {tally.timed:,}",
            holds=tally.late == 0 < tally.timed,
            notes=("A call during which the machine held the process up for 100 ms or more is run again.",),
        ),
        Figure(
            goal="G10",
            what=f"requests of that table refused for good (400, 403, 404, 412) and sent again, {where}",
            wanted="0",
            measured=f"{tally.repeated:,} of {tally.refused:,}",
            holds=tally.repeated == 0 < tally.refused,
            notes=(
                "Not counted: the one further try after a 400 to HEAD, where botocore looks for the region.",
                "Not counted either: the one restart of a download whose object was replaced.",
            ),
        ),
    )
