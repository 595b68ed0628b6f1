"""
Measure the SDK beside its peers and write benchmarks/results/.

    make bench         # a short run
    make bench-full    # everything, the scaling plots included

    .venv/bin/python -m benchmarks --scaling    # the scaling plots alone
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import environment, publish, report, runner
from benchmarks.candidates import BY_NAME, ENTRIES
from benchmarks.workloads import FULL, SCALING, SHORT, TINY
from greenlang_async_storage.testing import ServerStartError

RESULTS = environment.ROOT / "benchmarks" / "results"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="everything; most of an hour")
    size.add_argument("--scaling", action="store_true", help="the scaling plots alone; ten minutes")
    size.add_argument("--tiny", action="store_true", help="does it run at all?")
    parser.add_argument("--rounds", type=int, help="rounds over all candidates; ratios are their medians")
    parser.add_argument(
        "--only", nargs="+", metavar="CANDIDATE", choices=sorted(BY_NAME), help=", ".join(BY_NAME)
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument(
        "--publish", action="store_true", help="also write the figures into the documentation"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    options = _arguments(arguments)
    plan = FULL if options.full else SCALING if options.scaling else TINY if options.tiny else SHORT
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    entries = [entry for entry in ENTRIES if not options.only or entry.name in options.only]
    try:
        python = environment.ensure()
        results = runner.run(plan, entries, python)
    except (ServerStartError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    data = options.output / f"{plan.name}.json"
    results.write(data)
    text = report.markdown(results)
    data.with_suffix(".md").write_text(text)
    subprocess.run([str(python), "-m", "benchmarks.chart", str(data)], check=True, cwd=environment.ROOT)
    if options.publish:
        publish.publish(results)
    print(text)
    print(f"written: {plan.name}.json, .md, .svg and .png in {options.output.name}/")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
