"""The process of one measurement: `python -m tests.faults.figures._one JSON`, started by the runner."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.faults.figures._figure import Scale


def main(arguments: str) -> int:
    """Measure, and leave the figures, or why there are none, in the file the runner reads."""
    told: dict[str, Any] = json.loads(arguments)
    scale = Scale(
        full=told["full"],
        fast_path=told["fast_path"],
        folder=Path(told["folder"]),
        progress=lambda line: print(line, flush=True),  # noqa: T201  # the runner reads it
        seed=told["seed"],
    )
    try:
        module = importlib.import_module(told["module"])
        figures = asyncio.run(module.measure(scale))
        found: dict[str, Any] = {"figures": [dataclasses.asdict(figure) for figure in figures]}
    except Exception as error:  # noqa: BLE001  # whatever it is, the table says it
        traceback.print_exc()
        found = {"failure": f"{type(error).__name__}: {error}"}
    Path(told["result"]).write_text(json.dumps(found), encoding="utf-8")
    return 1 if "failure" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
