"""`make minio-up` and `make minio-down`: a MinIO that outlives the shell, stopped by process id."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".tools"
PID_FILE = FOLDER / "minio.pid"
LOG = FOLDER / "minio.log"
DEADLINE = 60.0
MODULE = "greenlang_async_storage.testing"


def running() -> int | None:
    """The process id of our MinIO; `None` when it does not run, or its id is another program's by now."""
    try:
        pid = int(PID_FILE.read_text())
    except (FileNotFoundError, ValueError):
        return None
    shown = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return pid if MODULE in shown.stdout else None


def up() -> int:
    """Start MinIO and wait until it answers; prints the variables to set."""
    if running() is None:
        port = os.environ.get("MINIO_PORT", "9000")
        keys = ["--access-key", "greenlang", "--secret-key", "greenlang-on-loopback"]
        where = ["--port", port, "--directory", str(FOLDER / "minio")]
        with LOG.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, "minio", *where, *keys],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        PID_FILE.write_text(str(process.pid))
        deadline = time.monotonic() + DEADLINE
        while " is ready" not in LOG.read_text() and time.monotonic() < deadline:
            if process.poll() is not None:
                PID_FILE.unlink()
                print(LOG.read_text(), file=sys.stderr)
                return 1
            time.sleep(0.05)
    print("\n".join(line for line in LOG.read_text().splitlines() if line.startswith("export ")))
    print(
        f"# MinIO runs as process {running()}, its log is {shlex.quote(str(LOG))}; make minio-down stops it"
    )
    return 0


def down() -> int:
    """Stop MinIO and wait for its end."""
    pid = running()
    if pid is None:
        print("MinIO does not run.")
    else:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DEADLINE
        while running() is not None:
            if time.monotonic() > deadline:
                print(f"MinIO (process {pid}) did not stop within {DEADLINE:g} s.", file=sys.stderr)
                return 1
            time.sleep(0.05)
        print("MinIO is stopped.")
    PID_FILE.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit({"up": up, "down": down}[sys.argv[1]]())
