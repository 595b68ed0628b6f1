# ruff: noqa: T201  # the table is what this prints
"""`python -m tests.faults.figures`: measure what was promised, print the table, write it where it is read."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.faults.figures import _report, _runner

PAGE = _runner.ROOT / "docs" / "reliability.md"


def main(given: Sequence[str] | None = None) -> int:
    """0 when every figure holds, 1 when one does not, 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.figures", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the nightly figures; hours instead of minutes")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="G", help="modules by the start of their name"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--seed", type=int, default=0, help="where random figures start (0)")
    told = parser.parse_args(given)
    try:
        modules = _runner.discover(only=told.only)
    except ValueError as error:
        parser.error(str(error))
    order = _runner.Order(full=told.full, seed=told.seed)
    runs = asyncio.run(_runner.run_all(modules, order, _say))
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"\n{_report.render(runs, seed=told.seed, day=day)}", flush=True)
    if told.write:
        _report.write(PAGE, runs, full=told.full, partly=bool(told.only), seed=told.seed, day=day)
    return 0 if all(row.holds for row in _report.rows(runs)) and runs else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
