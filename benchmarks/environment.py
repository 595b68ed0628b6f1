"""The environment of the benchmarks, `.venv-bench`: the project, its peers, and what draws the charts."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / ".venv-bench"
PYTHON: Final = FOLDER / "bin" / "python"
_STAMP: Final = FOLDER / ".installed"
_INPUTS: Final = (ROOT / "benchmarks" / "requirements.txt", ROOT / "constraints.txt", ROOT / "pyproject.toml")


def _fingerprint() -> str:
    digest = hashlib.sha256(platform.python_version().encode())
    for path in _INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def ensure() -> Path:
    """
    The interpreter of `.venv-bench`, made or brought up to date first where needed.

    The project's own packages have the versions of constraints.txt there too, so everybody who builds on
    aiobotocore builds on the same one.
    """
    wanted = _fingerprint()
    if _STAMP.exists() and _STAMP.read_text() == wanted and PYTHON.exists():
        return PYTHON
    print("installing the peers into .venv-bench: a minute, once", flush=True)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", "constraints.txt"]
    subprocess.run([*pip, "hatchling", "editables"], check=True, cwd=ROOT)
    subprocess.run(
        [*pip, "--no-build-isolation", "-r", "benchmarks/requirements.txt", "-e", ".[json]"],
        check=True,
        cwd=ROOT,
    )
    _STAMP.write_text(wanted)
    return PYTHON
