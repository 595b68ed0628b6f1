"""The detectors of conftest.py fail the tests they are for, and only those."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GUILTY_AND_INNOCENT = """
import asyncio, os, socket, sys, tempfile, types
import pytest
import greenlang_async_storage as package
from tests.support import servers

kept = []
code = "def swallowed():\\n    try: open(__file__).close()\\n    except Exception: pass\\n"
probe = types.ModuleType("greenlang_async_storage._probe")
probe.__file__ = package.__path__[0] + "/_probe.py"
exec(compile(code, probe.__file__, "exec"), probe.__dict__)

@pytest.mark.asyncio
async def test_leaves_a_task():
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))

def test_leaves_a_socket():
    kept.append(socket.socket())

def test_leaves_a_file():
    tempfile.mkdtemp()

@pytest.mark.asyncio
async def test_blocks():
    probe.swallowed()

def test_forgets_to_close():
    socket.socket()

@pytest.mark.asyncio
async def test_innocent_task():
    await asyncio.get_running_loop().create_task(asyncio.sleep(0))

@pytest.mark.allow_open_sockets("the next test closes it")
def test_innocent_socket():
    kept.append(socket.socket())

def test_innocent_closes():
    kept.pop().close()

@pytest.mark.asyncio
async def test_innocent_thread():
    await asyncio.to_thread(probe.swallowed)

@pytest.mark.asyncio
@pytest.mark.allow_blocking("says so")
async def test_innocent_marker():
    probe.swallowed()

def test_innocent_environment():
    names = ("AWS_PROFILE", "aws_region", "GREENLANG_X", "S3_USE_ACCELERATE", "https_proxy", "KMS_KEY_ID")
    assert not [name for name in names if name in os.environ]
    assert os.listdir(os.path.expanduser("~")) == []

def test_needs_minio(minio_server):
    pass

servers.MINIO_BINARY, servers.MINIO_MISSING = None, "run `make minio`"
"""
DIRTY = {
    "AWS_PROFILE": "x",
    "aws_region": "x",
    "GREENLANG_X": "x",
    "S3_USE_ACCELERATE": "true",
    "https_proxy": "http://127.0.0.1:1",
    "KMS_KEY_ID": "x",
}


def run(folder: Path, body: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a pytest run of its own on *body*, under this project's rules and conftest."""
    (folder / "test_case.py").write_text(body)
    rules = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "tests.conftest"]
    rules += ["-p", "no:cacheprovider", f"--basetemp={folder / 'base'}"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *rules,
            "-q",
            "-rA",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            str(folder),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of one run over all cases."""
    return run(tmp_path_factory.mktemp("cases"), GUILTY_AND_INNOCENT, CI="", **DIRTY)[1]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("test_leaves_a_task", "tasks left running"),
        ("test_leaves_a_socket", "sockets left open"),
        ("test_leaves_a_file", "left in the temporary folder"),
        ("test_blocks", "blocked the event loop"),
        ("test_forgets_to_close", "ResourceWarning"),
    ],
)
def test_guilty(name: str, complaint: str, report: str) -> None:
    """What a test leaves behind, or blocks, is reported on that test, even when the error was swallowed."""
    line = next(line for line in report.splitlines() if line.startswith(("ERROR", "FAILED")) and name in line)
    section = report.split(f" {name} ", 1)[1]
    assert complaint in line + section


def test_innocent(report: str) -> None:
    """Nobody else fails: not the test after a leak, not one whose marker says why."""
    guilty = [line for line in report.splitlines() if line.startswith(("ERROR", "FAILED"))]
    assert len(guilty) == 5, report
    passed = [line for line in report.splitlines() if line.startswith("PASSED") and "innocent" in line]
    assert len(passed) == 6, report


def test_missing_minio_is_skipped_here(report: str) -> None:
    """Without MinIO a test is skipped on a developer's machine, with what to do."""
    assert any(line.startswith("SKIPPED") and "run `make minio`" in line for line in report.splitlines())


def test_missing_minio_fails_on_ci(tmp_path: Path) -> None:
    """With CI=true a test whose server is missing fails."""
    body = "from tests.support import servers\n"
    body += "servers.MINIO_BINARY, servers.MINIO_MISSING = None, 'run `make minio`'\n"
    body += "def test_it(minio_server):\n    pass\n"
    code, output = run(tmp_path, body, CI="true")
    assert code == 1, output
    assert "CI=true, and yet: Skipped: " in output
    assert "run `make minio`" in output


def test_an_opt_out_needs_a_reason(tmp_path: Path) -> None:
    """A marker that switches a detector off without a reason stops the run."""
    code, output = run(tmp_path, "import pytest\n@pytest.mark.allow_blocking\ndef test_it():\n    pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR, output
    assert "needs a reason" in output
