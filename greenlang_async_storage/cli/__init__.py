"""
The command line: `greenlang-storage`, or `python -m greenlang_async_storage.cli`.

Needs the extra `[cli]` (typer, rich). Settings come from the environment, as everywhere; `doctor` shows them.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command the process was started with, and exit with its code (documented in `--help`)."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"greenlang-storage needs {' and '.join(missing)}: "
            "run pip install 'greenlang-async-storage[cli]'.\n"
        )
        raise SystemExit(1)
    try:
        from ._app import start

        start()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
