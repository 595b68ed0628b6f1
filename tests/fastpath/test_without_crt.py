"""The same proofs where botocore signs without the CRT, which is decided when botocore is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import botocore.compat
import pytest

from tests.fastpath.strategies import EXAMPLES, FULL

_ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("module", ["test_requests.py", "test_replies.py", "test_bodies.py"])
def test_signing_without_the_crt(module: str, tmp_path: Path) -> None:
    """Requests and results equal those of a plain client under `BOTO_DISABLE_CRT=true` as well."""
    assert botocore.compat.HAS_CRT, "install awscrt: the other tests are to run with it"
    environment = {
        **os.environ,
        "BOTO_DISABLE_CRT": "true",
        "GREENLANG_STORAGE_DIFF_EXAMPLES": str(EXAMPLES if EXAMPLES >= FULL else EXAMPLES // 2),
    }
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    command = [sys.executable, "-m", "pytest", *options, f"tests/fastpath/{module}"]
    run = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
