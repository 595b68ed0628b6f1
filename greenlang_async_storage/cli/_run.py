"""One coroutine as a program: a signal cancels it once, its clean-up is undisturbed, its end an exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from ._errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(work: Callable[[], Coroutine[Any, Any, int]], say: Callable[[str], None]) -> int:
    """
    The exit code of *work*; 128 + n when signal n ended it.

    The first signal cancels *work*, which cleans up within `GREENLANG_STORAGE_CLEANUP_TIMEOUT`; further ones
    are noted and change nothing, so an impatient Ctrl-C leaves no upload open. A signal that was ignored when
    the program started (nohup) stays ignored.
    """
    with asyncio.Runner() as runner:
        try:
            return runner.run(_guarded(work, say))
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED


async def _guarded(work: Callable[[], Coroutine[Any, Any, int]], say: Callable[[str], None]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work())
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        say("still cleaning up, this takes a few seconds at most" if received else "stopping, cleaning up")
        if not received:
            task.cancel()
        received.append(number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)
    await asyncio.wait([task])
    if received and (task.cancelled() or task.exception() is not None):
        return 128 + received[0]
    return task.result()
