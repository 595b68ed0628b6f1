"""
The end of a server whose owner died: a script run beside the server, that knows only the standard library.

It waits for standard input. A byte means that the owner has stopped the server itself; an end of file without
one means that the owner is gone: the server is ended by process id, and the folders given are removed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time


class _Target:
    """A process by id; by descriptor where the system has them, so that a reused id is never hit."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = os.pidfd_open(pid) if sys.platform == "linux" else None

    def send(self, number: signal.Signals) -> None:
        if sys.platform == "linux" and self._fd is not None:
            signal.pidfd_send_signal(self._fd, number)
        else:
            os.kill(self._pid, number)

    def gone_within(self, seconds: float) -> bool:
        if self._fd is not None:
            return bool(select.select([self._fd], [], [], seconds)[0])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                os.kill(self._pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False


def watch(pid: int, grace: float, folders: list[str]) -> None:
    """Wait until the owner speaks or is gone; then, if gone, end *pid* (SIGKILL after *grace* seconds)."""
    try:
        target = _Target(pid)
    except ProcessLookupError:
        target = None
    if sys.stdin.buffer.read(1):
        return
    if target is not None:
        try:
            target.send(signal.SIGCONT)
            target.send(signal.SIGTERM)
            if not target.gone_within(grace):
                target.send(signal.SIGKILL)
                target.gone_within(grace)
        except ProcessLookupError:
            pass
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
