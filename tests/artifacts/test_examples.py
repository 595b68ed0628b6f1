"""The examples of the artifacts: small, and run as users run them, on each server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenlang_async_storage.testing import StorageServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ["calculations", "factors", "models", "reports", "tables"]
PURPOSES = ("DATA_LAKE", "REPORTS", "MODELS", "TEMP", "CACHE")
SHOWN = {
    "calculations": "total 115.1250 t CO2e",
    "factors": "regions in version",
    "models": "exists already",
    "reports": "filename*=UTF-8''Emissionen%20Z%C3%BCrich%202026.pdf",
    "tables": "500,000 rows",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, server: StorageServer, tmp_path: Path) -> None:
    """`python -m examples.<name>` with nothing but the environment ends well and shows what it did."""
    buckets = {
        f"GREENLANG_{purpose}_BUCKET": f"example-{name}-{purpose.lower().replace('_', '-')}"
        for purpose in PURPOSES
    }
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-m", f"examples.{name}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **server.env(), **buckets},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN[name] in done.stdout
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_on_a_page(name: str) -> None:
    """At most 80 lines."""
    lines = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
