"""What plans, runs and their progress look like to users: frozen values and the choices they may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from greenlang_async_storage import S3Error

ActionKind: TypeAlias = Literal["upload", "download", "copy", "delete"]
Compare: TypeAlias = Literal["checksum", "size"]
"""How files of equal size are told apart: by what they hold, or (`size`) not at all."""
Phase: TypeAlias = Literal["plan", "apply"]

LISTED_FAILURES: Final = 1000
"""Failures a summary lists; `failed` counts all, and `Plan.failures()` gives all."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing `apply()` will do."""

    kind: ActionKind
    key: str
    """Relative to the prefix, with `/` between segments: the same on both sides."""
    path: Path | None
    """The local file; `None` between buckets."""
    size: int
    """Bytes to send, or of what is deleted."""
    reason: str
    """Why, for people: `new`, `size 3 -> 5`, `CRC64NVME differs`, `not in the source`, …"""


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """What a plan found and would do."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deletes: int = 0
    bytes: int = 0
    """To be sent by the new and the changed."""
    skipped: int = 0
    """Left out by a pattern, and symlinks, devices and directory markers."""
    failed: int = 0
    """Could not be read or named; `Plan.failures()` lists them."""

    @property
    def transfers(self) -> int:
        """Objects or files to be sent."""
        return self.new + self.changed

    def __str__(self) -> str:
        if not (self.transfers or self.deletes or self.failed):
            return f"nothing to do: {self.unchanged:,} unchanged, {self.skipped:,} skipped"
        return (
            f"{self.new:,} new, {self.changed:,} changed ({self.bytes:,} bytes), {self.deletes:,} to delete, "
            f"{self.unchanged:,} unchanged, {self.skipped:,} skipped, {self.failed:,} failed"
        )


@dataclass(frozen=True, slots=True)
class IngestFailure:
    """One file or object that could not be handled; the others were."""

    key: str
    """Relative to the prefix; names that are no UTF-8 are shown with escapes."""
    kind: ActionKind | None
    """What was to be done; `None` for what never got into the plan."""
    error: S3Error


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What a run of `Plan.apply()` did."""

    done: int
    """Sent and confirmed by the store, or in place on disk."""
    skipped: int
    """Needed nothing: unchanged, or done by an earlier run of the same plan."""
    deleted: int
    failed: int
    bytes: int
    """Of what was sent."""
    seconds: float
    failures: tuple[IngestFailure, ...] = ()
    """The first `LISTED_FAILURES`, those of planning included."""
    held_back: int = 0
    """Deletes left for another run, because transfers failed in this one."""

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def nothing_changed(self) -> bool:
        """Whether both sides were equal already: nothing was sent or deleted, and nothing failed."""
        return not (self.done or self.deleted or self.failed or self.held_back)

    def raise_for_errors(self) -> None:
        """Raise the first failure, with a note that counts the others; return when there is none."""
        if not self.failures:
            return
        error = self.failures[0].error
        if self.failed > 1:
            error.add_note(f"{self.failed - 1} more failed; see IngestSummary.failures and Plan.failures()")
        raise error

    def __str__(self) -> str:
        if self.nothing_changed:
            return f"nothing changed: 0 sent, {self.skipped:,} unchanged"
        held = f", {self.held_back:,} deletes held back" if self.held_back else ""
        return (
            f"{self.done:,} sent ({self.bytes:,} bytes in {self.seconds:.1f} s), {self.deleted:,} deleted, "
            f"{self.skipped:,} unchanged, {self.failed:,} failed{held}"
        )


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far planning or applying has come; cumulative."""

    phase: Phase
    items_done: int
    """Planning: entries compared. Applying: actions finished, failed ones included."""
    items_total: int | None
    """`None` while planning: nobody has counted yet."""
    bytes_done: int
    """Planning: bytes of the files seen. Applying: bytes sent."""
    bytes_total: int | None
    rate: float
    """Bytes per second since this phase began."""
    failed: int = 0
    concurrency: int | None = None
    """Applying: transfers allowed at a time now; less than asked for while the store throttles."""


IngestHook: TypeAlias = Callable[[IngestProgress], Awaitable[None] | None]
"""Sync or async, called at most ten times a second and once at the end; what it raises is logged once."""
