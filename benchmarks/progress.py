"""What a run is doing, and how long it will go on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Lines with the time, the share that is done and what is left, from how long the steps took so far."""

    total: float
    """What is expected of all steps together, in any unit."""
    done: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line without a step."""
        print(f"{time.strftime('%H:%M:%S')}  {self._left():>22}  {text}", flush=True)

    def step(self, expected: float, text: str) -> None:
        """A step of *expected* is over."""
        self.done += expected
        self.say(text)

    def _left(self) -> str:
        if not self.done:
            return ""
        share = min(1.0, self.done / self.total)
        left = round((time.monotonic() - self.started) * (1 - share) / share)
        return f"{share:4.0%}, {left // 60} min {left % 60:02d} s left"
