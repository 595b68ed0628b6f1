"""What a case has shown: every promise, held against what the store, the disk and the wire say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from greenlang_async_storage import BatchReport, S3Error
from greenlang_async_storage.testing import Fault, WireRequest
from tests.faults._scenarios import SCENARIOS
from tests.faults._table import LONG, PERMANENT, Case
from tests.faults._table_scene import Thing

GRACE: Final = 0.25
"""Seconds after its deadline by which a call has ended."""


@dataclass
class Verdict:
    """What one case has shown."""

    case: Case
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    deadline: float | None = None
    """Seconds it had."""
    ended: str = "success"
    """Or the name of the error."""
    refused: int = 0
    """Requests that were refused for good."""
    repeated: int = 0
    """Those of them that were sent again."""
    held_up: bool = False
    """Whether the machine itself had other things to do: no verdict then, unless it is a good one."""

    @property
    def late(self) -> bool:
        """Whether the call ended after its deadline and the grace."""
        return self.deadline is not None and self.seconds > self.deadline + GRACE


Identity = tuple[str | None, ...]


def _query(request: WireRequest) -> dict[str, str]:
    return dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))


def upload_of(request: WireRequest) -> str | None:
    """The upload it belongs to; another one in every run."""
    return _query(request).get("uploadId")


def identity_of(request: WireRequest) -> Identity:
    """What makes two requests the same one, sent again, as far as two runs can agree on it."""
    query = _query(request)
    return (
        request.operation,
        request.key,
        query.get("partNumber"),
        request.headers.get("range"),
        query.get("continuation-token") or query.get("key-marker"),
    )


@dataclass(frozen=True)
class Seen:
    """What there is after a call."""

    part: int
    state: Mapping[str, Thing]
    files: Mapping[str, bytes]


def told_truly(case: Case, seen: Seen, result: object, error: S3Error | None) -> Iterator[str]:
    """Every key and file old or new, as success or the error's outcome says; all others untouched."""
    scenario, part, found = SCENARIOS[case.scenario], seen.part, seen.state
    rival = Thing(scenario.rival(part)) if scenario.rival and _overwritten(case) else None
    before, after, files = scenario.before(part), scenario.after(part), scenario.files(part)
    said = dict(scenario.truth(scenario, result, error))
    if error is None and any(f.status == 404 and f.operation in scenario.believes for f in case.faults):
        said = {}
    for key in sorted({*found, *before, *after}):
        old = before.get(key)
        new = after.get(key, old)
        if rival is not None and found.get(key) == rival:
            continue
        yield from _placed(key, found.get(key), old, new, said.get(key, _UNSAID))
    there = seen.files
    for name in sorted({*there, *files}):
        if name not in files:
            yield f"file {name} was left behind"
            continue
        old_file, new_file = files[name]
        if rival is not None and there.get(name) == rival.data:
            continue
        yield from _placed(f"file {name}", there.get(name), old_file, new_file, said.get(name, _UNSAID))


class _UnsaidError(S3Error):
    """Stands for a key or file no result and no error speaks of."""


_UNSAID: Final = _UnsaidError("unsaid", outcome="unknown")


def _placed(name: str, found: object, old: object, new: object, error: S3Error | None) -> Iterator[str]:
    if found not in (old, new):
        yield f"{name} is neither the old nor the new: {str(found)[:80]}"
    elif error is None:
        if found != new:
            yield f"{name}: acknowledged, and not there"
    elif error.outcome == "not_applied" and found != old:
        yield f"{name}: said not to be applied, and it was ({type(error).__name__})"
    elif error.outcome == "applied" and found != new:
        yield f"{name}: said to be applied, and it was not ({type(error).__name__})"


def _overwritten(case: Case) -> bool:
    return any(fault.action == "hook" for fault in case.faults)


def told_equal(case: Case, part: int, result: object) -> Iterator[str]:
    """What a success returned is what had to come of it."""
    scenario = SCENARIOS[case.scenario]
    if isinstance(result, BatchReport):
        wanted = {*scenario.after(part), *scenario.files(part)}
        if sorted(one.key for one in (*result.succeeded, *result.failed)) != sorted(wanted):
            yield "not one outcome per item"
        return
    allowed = [scenario.gives(part)]
    if scenario.rival is not None and _overwritten(case):
        allowed.append(scenario.rival_gives(part))
    if any(fault.status == 404 for fault in case.faults):
        allowed.append(scenario.missing)
    if result not in allowed:
        yield f"wrong result: {str(result)[:80]}"


def _errors(result: object, error: S3Error | None) -> Iterator[tuple[S3Error, str | None]]:
    if error is not None:
        yield error, None
    if isinstance(result, BatchReport):
        for outcome in result.failed:
            assert outcome.error is not None
            yield outcome.error, outcome.key


def fields(case: Case, bucket: str, result: object, error: S3Error | None) -> Iterator[str]:
    """Every error says what, where, how often and why."""
    scenario = SCENARIOS[case.scenario]
    for found, key in _errors(result, error):
        wanted = key or scenario.key
        facts = {
            "operation": bool(found.operation),
            "bucket": found.bucket == bucket,
            "key": wanted is None or found.key == wanted,
            "attempts": (found.status is not None) <= found.attempts <= 3,
            "message": bool(found.message and found.remedy),
            "cause": found.status is not None or found.code is not None or found.__cause__ is not None,
        }
        wrong = [name for name, right in facts.items() if not right]
        if wrong:
            yield f"{type(found).__name__} lacks {', '.join(wrong)}: {found}"


def noticed(case: Case, result: object, error: S3Error | None) -> Iterator[str]:
    """A single fault that a second attempt cures is nobody's business."""
    if case.permanent or case.lasting or _overwritten(case) or len(case.faults) != 1:
        return
    fault, restarts = case.faults[0], SCENARIOS[case.scenario].restarts
    if (fault.action == "drip" and fault.operation in LONG) or (fault.action == "flip" and not restarts):
        return
    for found, _ in _errors(result, error):
        yield f"noticed: {type(found).__name__}: {found}"


def count_repeated(verdict: Verdict, requests: list[WireRequest], expected: Counter[Identity]) -> None:
    """A refusal for good is taken at its word: the same request is not sent again."""
    refused: dict[tuple[str | None, Identity], tuple[int, WireRequest]] = {}
    for at, one in enumerate(requests):
        if any(_final(fault) for fault in one.faults):
            refused.setdefault((upload_of(one), identity_of(one)), (at, one))
    for (upload, identity), (at, one) in refused.items():
        again = sum(
            (upload_of(later), identity_of(later)) == (upload, identity) for later in requests[at + 1 :]
        )
        # A range that is held to one version is refused once when that is gone; then the new one is read.
        allowed = int("if-match" in one.headers and one.method == "GET" and one.status in (404, 412))
        # A 400 to HEAD has no code: botocore asks for the bucket's region and tries there.
        allowed += one.method == "HEAD" and one.status == 400
        verdict.refused += 1
        if again > allowed + max(0, expected[identity] - 1):
            verdict.repeated += 1
            verdict.problems.append(f"refused for good ({one.status}), and sent {again} times more: {one}")


def _final(fault: Fault) -> bool:
    return fault.action == "replace" and fault.status in PERMANENT
