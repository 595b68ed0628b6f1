"""Whether two entries of equal size hold the same: by the journal, else by checksums."""

from __future__ import annotations

from typing import Final, NamedTuple

from ._digests import ALGORITHMS
from ._entries import Entry
from ._sides import FolderSide, Side
from ._store import Known

COMPARISONS: Final = 16
"""Pairs looked at at a time; each takes a HEAD and a file, or two HEADs."""


class Pair(NamedTuple):
    """The two sides of one key, of equal size."""

    seq: int
    lane: int
    source: Entry
    target: Entry
    known: Known | None


class Verdict(NamedTuple):
    """What came of it."""

    same: bool
    reason: str
    learned: Known | None = None
    """What the journal did not know yet."""


SAME: Final = Verdict(same=True, reason="")


class Comparer:
    """
    Compares pairs, one side of which may be files.

    States both sides had when they were last found equal settle it without a request. Else the store is asked
    for a checksum over the whole object, and of a file that very checksum is computed.
    """

    def __init__(self, source: Side, target: Side) -> None:
        self._source, self._target = source, target
        self._with_files = isinstance(source, FolderSide) or isinstance(target, FolderSide)

    def at_once(self, pair: Pair) -> Verdict | None:
        """The verdict, where neither side need be asked."""
        source, target, known = pair.source, pair.target, pair.known
        if not source.size:
            return SAME
        if known is not None and known.source == source.state and known.target == target.state:
            return SAME
        if not self._with_files and source.state == target.state:
            return SAME
        return None

    async def compare(self, pair: Pair) -> Verdict:
        """The verdict; an `S3Error` of a file that cannot be read, or of the store."""
        source_first = not isinstance(self._source, FolderSide)
        first = await self._evidence(pair, of_source=source_first, wanted=None)
        if first is None:
            return _changing()
        tried = ""
        for algorithm in ALGORITHMS:
            if algorithm not in first:
                continue
            second = await self._evidence(pair, of_source=not source_first, wanted=algorithm)
            if second is None:
                return _changing()
            if algorithm not in second:
                continue
            if first[algorithm] == second[algorithm]:
                return Verdict(same=True, reason="", learned=_known(pair, algorithm, first[algorithm]))
            tried = algorithm
            if algorithm != "MD5":  # an ETag may look like one and be something else
                break
        if not tried:
            return Verdict(same=False, reason="no checksum to compare")
        return Verdict(same=False, reason=f"{tried} differs")

    async def _evidence(self, pair: Pair, *, of_source: bool, wanted: str | None) -> dict[str, str] | None:
        side, entry = (self._source, pair.source) if of_source else (self._target, pair.target)
        known = pair.known
        if known is not None and known.value and wanted in (None, known.algorithm):
            state = known.source if of_source else known.target
            if state and state == entry.state:
                return {known.algorithm: known.value}
        return await side.evidence(entry, wanted)


def _changing() -> Verdict:
    return Verdict(same=False, reason="changing while it is compared")


def _known(pair: Pair, algorithm: str, value: str) -> Known:
    """What to remember; a state that may not show the next change is left out."""
    source, target = pair.source, pair.target
    return Known(
        source.key,
        source.state if source.settled else "",
        target.state if target.settled else "",
        algorithm,
        value,
    )
