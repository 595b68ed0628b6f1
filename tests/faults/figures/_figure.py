"""What one goal was asked to hold, what was measured, and how far a run goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """
    One line of the table: a goal, what was wanted, what was measured.

    `seeds` says how to run it again; `notes` are printed under the table.
    """

    goal: str
    what: str
    wanted: str
    measured: str
    holds: bool
    seeds: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """
    How far to go: the short figures or, with *full*, the nightly ones; through which path, and where to work.

    `progress` takes a line for whoever watches; `folder` is empty, private and removed afterwards. What is
    drawn at random starts at `seed`.
    """

    full: bool
    fast_path: bool
    folder: Path
    progress: Callable[[str], None]
    seed: int = 0
