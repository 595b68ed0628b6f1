"""Python's garbage collector, kept out of the way while much is loaded that stays."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_resume = False
_pauses_left = 4
"""An opening takes three or four pauses."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """
    No collection inside the block, in the whole process, and none right after it for what the block loaded.

    Opening a client makes some 100,000 objects that stay. The collector would look at all of them again and
    again, each time for up to 100 ms in which no thread can run. Here they go straight to its oldest
    generation. It does not count them there, and collects by what it has counted: so this holds for the first
    opening of a process only, else what closed sessions leave behind would pile up. Blocks may overlap, in
    threads too; a collector the application switched off, or objects it froze, stay as they are.
    """
    if not _pause():
        yield
        return
    try:
        yield
    finally:
        _end_pause()


def _pause() -> bool:
    global _pauses, _pauses_left, _resume  # noqa: PLW0603  # the collector is one for the process, and so is this
    with _lock:
        if not _pauses_left:
            return False
        _pauses_left -= 1
        if _pauses == 0:
            _resume = gc.isenabled()
            gc.disable()
        _pauses += 1
        return True


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
