"""Where and with what a run was made: processor, memory, versions; no names and no paths."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "greenlang-async-storage",
    "aioboto3",
    "aiobotocore",
    "boto3",
    "s3fs",
    "miniopy-async",
    "aiohttp-s3-client",
    "aiohttp",
    "obstore",
    "httptools",
    "awscrt",
    "uvloop",
)


def describe() -> dict[str, str | int]:
    """Cores, processor, memory in GiB, system."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": _field(Path("/proc/cpuinfo"), "model name")
        or platform.processor()
        or platform.machine(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _field(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _memory() -> int:
    total = _field(Path("/proc/meminfo"), "MemTotal")
    return round(int(total.split()[0]) / 1024**2) if total else 0


def versions(python: Path) -> dict[str, str]:
    """The versions of Python and of everything compared, in the environment of *python*."""
    done = subprocess.run(
        [str(python), "-m", "benchmarks.machine"], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    known = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in PACKAGES:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    print(json.dumps(known))
