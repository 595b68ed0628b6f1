"""G19: every `except` and `finally` suite of the core and the fast path runs in a test with a fault."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from tests.faults.figures._figure import Figure, Scale
from tools.fault_coverage import ROOT, core_files
from tools.fault_coverage import measure as handlers

PATHS: Final = (True,)
"""The tests take both paths themselves."""
ALONE: Final = True
"""Two workers."""
MINUTES: Final = 2.5
FULL_MINUTES: Final = 30.0

LEAST: Final = 0.98
CORE: Final = (
    *(
        "body",
        "chunks",
        "chunks_size",
        "chunks_source",
        "chunks_source_exits",
        "closing",
        "collector",
        "concurrency",
    ),
    *(
        "concurrency_cancel",
        "concurrency_cleanup",
        "concurrency_groups",
        "concurrency_progress",
        "concurrency_windows",
    ),
    *("connection", "errors", "fault_coverage", "irsa", "lifecycle", "listing_faults", "local_files"),
    *("names", "options", "requests", "retry", "settings", "verify"),
)
FAULTS: Final = (
    *("handlers_files", "handlers_plain", "handlers_replies"),
    *("handlers_requests", "handlers_values", "handlers_wire"),
    *("rows_addresses", "rows_requests"),
)
"""Those that reach handlers no other reaches; `rows_transfers` takes half a minute for two lines."""
FAST: Final = ("bodies", "enabling", "hostile_replies", "passing_on", "retries")
SECURITY: Final = ("s13_xml",)
_SETTINGS: Final = """\
[run]
branch = True
source = greenlang_async_storage
data_file = {data}
parallel = True
"""


async def measure(scale: Scale) -> list[Figure]:
    """The share of those lines that ran, by coverage.py in branch mode over the tests that bring faults."""
    settings = scale.folder / "coveragerc"
    data = scale.folder / "data"
    settings.write_text(_SETTINGS.format(data=data), encoding="utf-8")
    every = await asyncio.gather(
        *(_run(scale, settings, number, chosen) for number, chosen in _halves(scale))
    )
    told = scale.folder / "report.json"
    await _coverage(settings, "combine", "-q")
    await _coverage(settings, "json", "-q", "-i", "-o", str(told))
    report = handlers(json.loads(told.read_text(encoding="utf-8")), core_files())
    failed = [line for lines in every for line in lines]
    missing = list(report.missing())
    for line in missing:
        scale.progress(f"G19 {line}")
    return [
        Figure(
            "G19",
            "lines of except and finally suites run by tests that bring faults (core and fast path)",
            f">= {LEAST:.0%}",
            f"{report.share:.1%} of {report.lines} ({report.branch_share:.1%} with branches)",
            report.share >= LEAST and not failed,
            notes=tuple(f"G19: {line}" for line in (*failed, *missing[:10])),
        )
    ]


def _halves(scale: Scale) -> tuple[tuple[int, list[str]], tuple[int, list[str]]]:
    """Two workers' worth of tests; the nightly run takes every test of the core, on its servers too."""
    if scale.full:
        core = sorted(str(path) for path in (ROOT / "tests").glob("test_*.py"))
        return (1, core), (2, ["tests/fastpath", "tests/faults", "tests/security"])
    one = [f"tests/test_{name}.py" for name in CORE]
    one += [f"tests/security/test_{name}.py" for name in SECURITY]
    one += [f"tests/fastpath/test_{name}.py" for name in FAST]
    two = [f"tests/faults/test_{name}.py" for name in FAULTS]
    return (1, one), (2, [*two, "tests/fastpath/transport"])


async def _run(scale: Scale, settings: Path, number: int, chosen: list[str]) -> list[str]:
    """One worker; the tests that failed, by name."""
    arguments = ["-q", "-rfE", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    if not scale.full:
        arguments += ["-k", "not minio and not moto and not uvloop"]
    log = scale.folder / f"tests-{number}"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest"),
            *arguments,
            *chosen,
            cwd=ROOT,
            # Wide lines: the summary leaves out why a test failed where that does not fit.
            env={**os.environ, "COVERAGE_CORE": "ctrace", "COLUMNS": "300"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
        status = await process.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    scale.progress(f"G19 worker {number}: {lines[-1] if lines else 'said nothing'}")
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed or ([f"worker {number} ended with status {status}"] if status else [])


async def _coverage(settings: Path, command: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coverage", command, f"--rcfile={settings}", *arguments), cwd=ROOT
    )
    if status := await process.wait():
        raise RuntimeError(f"coverage {command} ended with status {status}")
