"""The example runs as it stands, on each server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from greenlang_async_storage.testing import StorageServer

ROOT = Path(__file__).parents[2]


def test_it_syncs_twice_and_back(server: StorageServer, bucket_name: str) -> None:
    """The first run sends all, the second nothing, and everything comes back."""
    variables = {**server.env(), "GREENLANG_DATA_LAKE_BUCKET": bucket_name}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.sync_directory"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    assert "140 new, 0 changed" in done.stdout
    assert "done: nothing changed: 0 sent, 140 unchanged" in done.stdout
    assert "back: 140 sent" in done.stdout
    assert len((ROOT / "examples" / "sync_directory.py").read_text().splitlines()) <= 80
