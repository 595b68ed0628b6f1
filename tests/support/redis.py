"""A redis-server of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlang_async_storage.testing._process import LOOPBACK, ServerProcess, free_port

REDIS = shutil.which("redis-server")
MISSING = "redis-server was not found: run `make services` (Debian and Ubuntu), or install it."
START_TIMEOUT = 30.0
_ATTEMPTS = 5


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a redis-server that keeps nothing on disk."""
    assert REDIS is not None, MISSING
    for _ in range(_ATTEMPTS):
        port = free_port()
        command = [REDIS, "--port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(folder)]
        process = ServerProcess(command, os.environ, directory=folder)
        try:
            if _answers(process, port):
                yield f"redis://{LOOPBACK}:{port}"
                return
        finally:
            process.stop()
    raise AssertionError("redis-server does not start: no free port was left to it")


def _answers(process: ServerProcess, port: int) -> bool:
    """Whether it is up; `False` when it ended, because somebody took the port."""
    until = time.monotonic() + START_TIMEOUT
    while process.exit_code is None:
        assert time.monotonic() < until, f"redis-server does not answer: {process.output()}"
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            time.sleep(0.02)
    return False
