"""From two ordered streams to a spooled plan: a merge, then verdicts, a batch of keys at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from greenlang_async_storage import S3Error, S3InvalidRequestError, S3LocalFileError

from ._compare import COMPARISONS, Comparer, Pair, Verdict
from ._entries import Entry, Found, Obstacle, Shadows
from ._progress import Reporter
from ._sides import Side
from ._store import DELETES, Failed, Known, Planned, Store
from ._threads import SerialThread, run_crew
from ._types import ActionKind, Compare, PlanCounts

BATCH: Final = 512
"""Keys decided together: one look into the journal, one transaction."""


_Sides: TypeAlias = tuple[Found | None, Found | None]
"""What the source and the target have under one key."""
_NOTHING: Final = Entry("", 0, "")
"""The target of what is new."""


@dataclass(slots=True)
class Rules:
    """What the caller asked for."""

    kind: ActionKind
    delete: bool
    compare: Compare
    fold_names: bool = False
    """The disk of a download takes `A` and `a` for one name."""


@dataclass(slots=True)
class Tally:
    """What was counted so far."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deletes: int = 0
    bytes: int = 0
    skipped: int = 0
    failed: int = 0
    sources: int = 0
    """Entries of the source."""
    targets: int = 0
    """Entries of the target."""

    def counts(self, skipped: int) -> PlanCounts:
        """As users see it; *skipped* were left out before they came here."""
        return PlanCounts(
            new=self.new,
            changed=self.changed,
            unchanged=self.unchanged,
            deletes=self.deletes,
            bytes=self.bytes,
            skipped=self.skipped + skipped,
            failed=self.failed,
        )


@dataclass(slots=True)
class _Batch:
    """Decided so far, to be spooled together."""

    actions: list[Planned] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)


async def merged(source: AsyncIterator[Found], target: AsyncIterator[Found]) -> AsyncGenerator[_Sides, None]:
    """Both streams side by side, equal keys together."""
    left, right = await anext(source, None), await anext(target, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            yield left, None
            left = await anext(source, None)
        elif left is None or right.key < left.key:
            yield None, right
            right = await anext(target, None)
        else:
            yield left, right
            left, right = await anext(source, None), await anext(target, None)


class Planner:
    """Decides key by key, and spools what has to be done."""

    def __init__(
        self,
        rules: Rules,
        sides: tuple[Side, Side],
        spool: tuple[SerialThread, Store],
        report: Reporter,
    ) -> None:
        self.tally = Tally()
        self._rules = rules
        self._source, self._target = sides
        self._thread, self._store = spool
        self._report = report
        self._comparer = Comparer(*sides)
        self._hidden_source, self._hidden_target = Shadows(), Shadows()
        self._seq = self._lane = 0
        self._segment: str | None = None

    async def run(self) -> None:
        """Read both sides to their ends."""
        async with (
            aclosing(self._source.entries()) as source,
            aclosing(self._target.entries()) as target,
            aclosing(merged(source, target)) as pairs,
        ):
            batch: list[_Sides] = []
            async for pair in pairs:
                batch.append(pair)
                if len(batch) == BATCH:
                    await self._decide(batch)
                    batch = []
            await self._decide(batch)
        await self._thread.call(self._store.planned)

    async def _decide(self, found: list[_Sides]) -> None:
        out, equal = _Batch(), []
        await self._refuse_clashes(found)
        for left, right in found:
            if (pair := self._sort_out(left, right, out)) is not None:
                equal.append(pair)
        await self._compare(equal, out)
        # Verdicts come as they are found; the spool is in the order of keys.
        await self._thread.call(self._store.add, out.actions, out.failed, out.known)

    def _sort_out(self, left: Found | None, right: Found | None, out: _Batch) -> Pair | None:
        """Spool what is clear from names and sizes; a pair whose contents have to be compared."""
        self._seq += 1
        if isinstance(left, Obstacle):
            self._hidden_source.add(left)
            if left.failure:
                self._fail(out, left.error.key or left.key, left.error)
            else:
                self.tally.skipped += 1
            left = None
        if isinstance(right, Obstacle):
            self._hidden_target.add(right)
            right = None
        if right is not None:
            self.tally.targets += 1
        if left is None:
            if right is not None:
                self._extra(right, out)
            return None
        self.tally.sources += 1
        self._report.add(left.size, items=1)
        pair = Pair(self._seq, self._lane_of(left.key), left, right or _NOTHING, None)
        if (obstacle := self._hidden_target.over(left.key)) is not None:
            self._fail(out, left.key, obstacle.error)
        elif right is None:
            self._send(out, pair, "new")
        elif left.size != right.size:
            self._send(out, pair, f"size {right.size} -> {left.size}")
        elif self._rules.compare == "size":
            self.tally.unchanged += 1
        else:
            return pair
        return None

    def _extra(self, right: Entry, out: _Batch) -> None:
        """Only the target has it."""
        if not self._rules.delete or self._hidden_source.over(right.key) is not None:
            return
        self.tally.deletes += 1
        out.actions.append(
            Planned(self._seq, DELETES, "delete", right.key, right.size, "not in the source", "", right.state)
        )

    async def _compare(self, pairs: list[Pair], out: _Batch) -> None:
        if not pairs:
            return
        known = await self._thread.call(self._store.known, [pair.source.key for pair in pairs])
        waiting = iter([pair._replace(known=known.get(pair.source.key)) for pair in pairs])

        async def worker() -> None:
            for pair in waiting:
                await self._judge(pair, out)

        await run_crew(min(COMPARISONS, len(pairs)), worker)

    async def _judge(self, pair: Pair, out: _Batch) -> None:
        verdict: Verdict | None = self._comparer.at_once(pair)
        if verdict is None:
            try:
                verdict = await self._comparer.compare(pair)
            except S3LocalFileError as error:
                self._fail(out, pair.source.key, error, pair.seq)
                return
        if verdict.learned is not None:
            out.known.append(verdict.learned)
        if verdict.same:
            self.tally.unchanged += 1
        else:
            self._send(out, pair, verdict.reason)

    def _send(self, out: _Batch, pair: Pair, reason: str) -> None:
        source, target = pair.source, pair.target
        self.tally.new += target is _NOTHING
        self.tally.changed += target is not _NOTHING
        self.tally.bytes += source.size
        state = source.state if source.settled else ""
        kind, lane = self._rules.kind, pair.lane
        out.actions.append(
            Planned(pair.seq, lane, kind, source.key, source.size, reason, state, target.state)
        )

    def _lane_of(self, key: str) -> int:
        """A number for the first segment of *key*; 0 for keys without a `/`."""
        segment, slash, _ = key.partition("/")
        if not slash:
            return 0
        if segment != self._segment:
            self._segment = segment
            self._lane += 1
        return self._lane

    def _fail(self, out: _Batch, key: str, error: S3Error, seq: int | None = None) -> None:
        self.tally.failed += 1
        self._report.fail()
        out.failed.append(Failed(seq or self._seq, key, error))

    async def _refuse_clashes(self, found: list[_Sides]) -> None:
        """Of keys that would meet in one file, the first stays."""
        if not self._rules.fold_names:
            return
        names = [(_folded(left.key), left.key) for left, _ in found if isinstance(left, Entry)]
        clashes = await self._thread.call(self._store.take, names)
        for index, (left, right) in enumerate(found):
            if left is not None and (other := clashes.get(left.key)) is not None:
                found[index] = Obstacle(left.key, _clash(left.key, other), failure=True), right


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key).casefold()


def _clash(key: str, other: str) -> S3Error:
    return S3InvalidRequestError(
        f"{key!r} is left out: {other!r} has the same file name on this disk",
        key=key,
        remedy="Download it with download_file() to a path of your choice.",
    )
