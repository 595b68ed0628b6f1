"""The CPythons of this machine that can run the project, on PATH and in pyenv's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
# Prints the version of a final CPython that can make environments, else nothing.
CHECK = (
    "import sys, venv, ensurepip; v = sys.version_info; "
    "sys.implementation.name == 'cpython' and v.releaselevel == 'final' and print(v.major, v.minor)"
)


def candidates() -> Iterator[str]:
    """Programs that may be a Python."""
    yield sys.executable
    for minor in range(OLDEST[1], 30):
        name = f"python3.{minor}"
        if found := shutil.which(name):
            yield found
    roots = [os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")]
    for root in filter(None, roots):
        yield from sorted(str(path) for path in Path(root).glob("versions/3.*/bin/python3"))


def pythons() -> dict[tuple[int, int], str]:
    """Minor version to program, oldest first; the first program found of each version."""
    found: dict[tuple[int, int], str] = {}
    for program in candidates():
        try:
            done = subprocess.run(
                [program, "-c", CHECK], capture_output=True, text=True, check=False, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        numbers = done.stdout.split()
        if done.returncode == 0 and numbers:
            version = (int(numbers[0]), int(numbers[1]))
            if version >= OLDEST:
                found.setdefault(version, program)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    for version, program in pythons().items():
        print(f"{version[0]}.{version[1]} {program}")
