"""Python's garbage collector, kept out of the way while much is loaded that stays."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_resume = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """
    No collection inside the block, in the whole process, and none right after it for what the block loaded.

    Opening a client makes some 100,000 objects that live as long as the process. The collector would look at
    all of them again and again, each time for up to 100 ms in which no thread can run. Here they go straight
    to its oldest generation. Blocks may overlap, in threads too; a collector the application switched off, or
    objects it froze, stay as they are.
    """
    _pause()
    try:
        yield
    finally:
        _end_pause()


def _pause() -> None:
    global _pauses, _resume  # noqa: PLW0603  # the collector is one for the process, and so is this
    with _lock:
        if _pauses == 0:
            _resume = gc.isenabled()
            gc.disable()
        _pauses += 1


def _end_pause() -> None:
    global _pauses  # noqa: PLW0603  # see _pause
    with _lock:
        _pauses -= 1
        if _pauses or not _resume:
            return
        if gc.get_freeze_count() == 0:
            # Two moves of whole lists: young objects end in the oldest generation without a look at each.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
