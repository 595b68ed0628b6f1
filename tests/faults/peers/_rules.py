"""The rules, the same for all: what counts as passed, and what an observation is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from greenlang_async_storage.testing import Fault

WRONG: Final = "wrong data acknowledged"
MIXED: Final = "neither old nor new stored"
PIECE: Final = "half a file at the final path"
LEAK: Final = "upload left open"
HANG: Final = "hang"
UNTYPED: Final = "error of no stated type"
KINDS: Final = (WRONG, MIXED, PIECE, LEAK, HANG, UNTYPED)
"""In the order of the table's columns."""
LIMIT: Final = 16.0
"""Seconds after which a call hangs: every library was given time-outs that end it sooner."""
_STATUSES: Final = frozenset({None, 200, 403, 500, 503})
"""Refusals that mean the same to every operation."""
_NOT_IN_MEMORY: Final = frozenset({"delay"})


def counts(fault: Fault) -> bool:
    """Whether *fault* is part of the comparison."""
    return fault.status in _STATUSES and fault.action not in _NOT_IN_MEMORY


def unknown_uploads(fault: Fault, creates: int) -> int:
    """Uploads nobody can know of: those whose reply to CreateMultipartUpload was lost, or came twice."""
    lost = fault.phase in ("withheld", "reply_head", "reply_body")
    return max(int(fault.operation == "CreateMultipartUpload" and lost), creates - 1)


@dataclass(frozen=True)
class Observed:
    """What one call came to."""

    ended: bool
    error: BaseException | None
    result_right: bool
    """Whether what a success returned is right; true where it returns nothing."""
    stored: object
    old: object
    new: object
    file: bytes | None
    old_file: bytes | None
    new_file: bytes | None
    uploads: int
    """Open ones."""
    creates: int
    """Requests to open one."""


def broken(seen: Observed, fault: Fault, errors: tuple[type[BaseException], ...]) -> Iterator[str]:
    """The promises this call broke."""
    if not seen.ended:
        yield HANG
    elif seen.error is not None and not isinstance(seen.error, errors):
        yield UNTYPED
    succeeded = seen.ended and seen.error is None
    if succeeded and not (seen.result_right and seen.stored == seen.new and seen.file == seen.new_file):
        yield WRONG
    elif seen.stored not in (seen.old, seen.new):
        yield MIXED
    elif seen.file not in (seen.old_file, seen.new_file):
        yield PIECE
    if seen.uploads > unknown_uploads(fault, seen.creates):
        yield LEAK


@dataclass
class Score:
    """What one library's cases come to."""

    library: str
    version: str = ""
    cases: int = 0
    passed: int = 0
    succeeded: int = 0
    """Calls that did their work in spite of the fault."""
    broken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    examples: dict[str, str] = field(default_factory=dict)
    """One case of each kind."""

    def add(self, case: str, seen: Observed, kinds: list[str]) -> None:
        """Count one case."""
        self.cases += 1
        self.passed += not kinds
        self.succeeded += seen.ended and seen.error is None and WRONG not in kinds
        for kind in kinds:
            self.broken[kind] += 1
            told = "" if seen.error is None else f" ({type(seen.error).__name__})"
            self.examples.setdefault(kind, case + told)
