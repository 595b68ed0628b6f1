"""Bounded workers, clean-up that survives cancels, and the small helpers of everything that runs at once."""

from __future__ import annotations

from ._cleanup import CleanupTasks
from ._groups import TaskGroup, task_group, wait_through_cancels
from ._progress import ProgressReporter
from ._single_flight import SingleFlight
from ._windows import WINDOW, Windows
from ._workers import Items, Settled, run_bounded, stream_bounded

__all__ = [
    "WINDOW",
    "CleanupTasks",
    "Items",
    "ProgressReporter",
    "Settled",
    "SingleFlight",
    "TaskGroup",
    "Windows",
    "run_bounded",
    "stream_bounded",
    "task_group",
    "wait_through_cancels",
]
