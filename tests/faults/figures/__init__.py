"""The figures of docs/reliability.md: one module for each goal, and what they have in common."""

from tests.faults.figures._figure import Figure, Scale

__all__ = ["Figure", "Scale"]
