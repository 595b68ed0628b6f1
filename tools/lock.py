"""Writes constraints.txt and constraints-next.txt: the newest versions that fit together."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "greenlang-async-storage"
EXTRAS = "all"
HEADER = "# The versions the project is developed and tested with; made by `make constraints`.\n"


def lock(target: Path, *installs: list[str]) -> None:
    """Install into a fresh environment and write down what came."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(Path(folder) / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", "--upgrade", "pip"], check=True, cwd=ROOT)
        for arguments in installs:
            subprocess.run([*pip, "install", "-q", *arguments], check=True, cwd=ROOT)
        frozen = subprocess.run(
            [*pip, "freeze", "--all", "--exclude", PROJECT, "--exclude", "setuptools"],
            check=True,
            capture_output=True,
            text=True,
        )
    target.write_text(HEADER + frozen.stdout)


if __name__ == "__main__":
    lock(
        ROOT / "constraints.txt",
        ["--group", "dev", "--group", "services", "-e", f".[{EXTRAS}]"],
        ["--no-deps", "codecarbon"],
    )
    lock(ROOT / "constraints-next.txt", ["--group", "next"])
