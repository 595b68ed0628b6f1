"""Python's garbage collector, kept out of the way while much is loaded that stays."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_resume = False
_moves_left = 4
"""An opening takes three or four pauses."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """
    No collection inside the block, in the whole process, and at first none for what the block loaded.

    Opening a client makes some 100,000 objects that stay. The collector would look at all of them again and
    again, each time for up to 100 ms in which no thread can run. Those of the first opening in a process go
    straight to its oldest generation. It does not count them there, and what it does not count makes it
    collect no sooner: so the objects of later openings take the usual way, and closed sessions are found.
    Blocks may overlap, in threads too; a collector the application switched off, or objects it froze, stay as
    they are.
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
    global _pauses, _moves_left  # noqa: PLW0603  # see _pause
    with _lock:
        _pauses -= 1
        if _pauses or not _resume:
            return
        if _moves_left and gc.get_freeze_count() == 0:
            # Two moves of whole lists: young objects end in the oldest generation without a look at each.
            _moves_left -= 1
            gc.freeze()
            gc.unfreeze()
        gc.enable()
