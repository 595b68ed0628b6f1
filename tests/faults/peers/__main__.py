"""`python -m tests.faults.peers [--step N] [--only NAME] [--write]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime

from tests.faults.peers._libraries import LIBRARIES
from tests.faults.peers._report import table, write
from tests.faults.peers._run import run


def main() -> None:
    """Run, print, and with --write publish."""
    parser = argparse.ArgumentParser(description="the same single faults on other libraries")
    parser.add_argument("--step", type=int, default=1, help="every how manieth case (1)")
    parser.add_argument(
        "--only", choices=list(LIBRARIES), action="append", help="one library; may be repeated"
    )
    parser.add_argument("--write", action="store_true", help="publish: results.json and docs/reliability.md")
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write publishes all libraries together: leave --only out")
    scores = asyncio.run(run(given.only or list(LIBRARIES), given.step, print))
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    sys.stdout.write(table(scores, day, given.step) + "\n")
    if given.write:
        write(scores, day, given.step)


if __name__ == "__main__":
    main()
