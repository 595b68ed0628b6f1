"""What `enable()` was told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Each client keeps those of the moment it was made."""

    expect_continue_from: int | None = None
