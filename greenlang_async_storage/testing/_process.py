"""A server process: its output in a file, its end by process id, a watchdog for the day its owner dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenlang_async_storage.testing import _watchdog

LOOPBACK = "127.0.0.1"
STOP_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


def free_port() -> int:
    """A loopback port nobody listens on; somebody may take it before you do, so be ready to ask again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """
    A running child in a session of its own, so that Ctrl-C reaches its owner only.

    It works in *directory*, where its output goes to `server.log`. When the owner dies without stopping it,
    even by SIGKILL, the watchdog ends the child and removes *folders*.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        directory: Path,
        folders: Sequence[Path] = (),
    ) -> None:
        self._log = directory / "server.log"
        with self._log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._watchdog = self._watch(folders)
        except BaseException:
            self._child.kill()
            self._child.wait()
            raise

    def _watch(self, folders: Sequence[Path]) -> subprocess.Popen[bytes]:
        script = [sys.executable, "-I", "-S", str(_watchdog.__file__), str(self.pid), str(STOP_GRACE)]
        return subprocess.Popen(
            [*script, *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """`None` while it runs; negative: the signal that ended it."""
        return self._child.poll()

    def output(self) -> str:
        """What the child has printed so far."""
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the child has ended."""
        self._child.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has taken effect: the threads of a busy child go on for some moments."""
        self._child.send_signal(signal.SIGSTOP)
        if self._child.returncode is None and hasattr(os, "waitid"):  # not on macOS before Python 3.13
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wait(self) -> int:
        """Block until the child ends; its exit code."""
        return self._child.wait()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._child.kill()
        self._child.wait()
        self._release_watchdog()

    def stop(self) -> None:
        """SIGTERM, SIGKILL after `STOP_GRACE` seconds, and wait for the end; safe to call twice."""
        self._child.send_signal(signal.SIGCONT)
        self._child.terminate()
        try:
            self._child.wait(STOP_GRACE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._release_watchdog()

    def _release_watchdog(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._watchdog.communicate(b".")
        self._watchdog.wait()
