"""Every single fault, enumerated: from the requests a clean run sends, each phase and action of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from greenlang_async_storage.testing import Fault
from greenlang_async_storage.testing._faults._schedule import ALLOWED, Action, Phase

STATUSES: Final[Mapping[int, str]] = {
    500: "InternalError",
    502: "BadGateway",
    503: "SlowDown",
    504: "GatewayTimeout",
    429: "TooManyRequests",
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
}
PERMANENT: Final = frozenset({400, 403, 404, 412})
"""What no second attempt can change."""
UPLOADS: Final = frozenset({"UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "ListParts"})
DELAY: Final = 0.002
DRIP: Final = 0.02
"""Seconds between bytes: far below 1 KiB/s."""
_BREAKS: Final[tuple[Action, ...]] = ("reset", "close", "stall")
AMBIGUOUS: Final = (500, 502, 504)
"""What may come from a proxy when the store is done; a 503 says by S3's own words that nothing was done."""
LONG: Final = frozenset({"CopyObject", "UploadPartCopy", "CompleteMultipartUpload"})
"""S3 answers these slowly, byte by byte, for minutes."""
_ANSWERS_WITH_DATA: Final = frozenset({"GetObject", "HeadObject", "HeadBucket"})
"""A 200 with an error document is an object to these, or has no body."""
_SILENT: Final[tuple[Phase, ...]] = ("connect", "request_head", "unforwarded", "withheld", "reply_head")
_OVERTAKEN: Final[tuple[Phase, ...]] = ("unforwarded", "withheld")
OVERWRITE: Final = "overwrite"
"""The hook that stores the rival's object."""


@dataclass(frozen=True)
class Request:
    """One request of a clean run."""

    operation: str
    nth: int
    sent: int
    """Bytes of its body."""
    received: int
    """Bytes of the reply's body."""


@dataclass(frozen=True)
class Case:
    """One run: a scenario by name, and what goes wrong in it."""

    scenario: str
    faults: tuple[Fault, ...]

    @property
    def permanent(self) -> bool:
        """Whether the fault is a refusal that a second attempt cannot change."""
        return any(fault.action == "replace" and fault.status in PERMANENT for fault in self.faults)

    @property
    def lasting(self) -> bool:
        """Whether the fault hits every request, so that the call may only fail, in time."""
        return any(fault.nth == 0 for fault in self.faults)

    def __str__(self) -> str:
        return f"{self.scenario}: " + ", ".join(told(fault) for fault in self.faults)


def told(fault: Fault) -> str:
    """A fault in one line."""
    return " ".join(f"{name}={value}" for name, value in fault.to_dict().items())


def _positions(size: int) -> list[int]:
    return sorted({0, 1, size // 2, size - 1} & set(range(size)))


def _breaks(request: Request, phase: Phase, at: int = 0, *more: Action) -> Iterator[Fault]:
    for action in (*(one for one in _BREAKS if one in ALLOWED[phase]), *more):
        seconds = {"delay": DELAY, "drip": DRIP}.get(action, 0.0)
        yield Fault(request.operation, request.nth, phase, action, at=at, seconds=seconds)


def _refusals(request: Request, phase: Phase) -> Iterator[Fault]:
    for status, code in STATUSES.items():
        gone = status == 404 and request.operation in UPLOADS
        told_code = "NoSuchUpload" if gone else code
        yield Fault(request.operation, request.nth, phase, "replace", status=status, code=told_code)


def _flips(request: Request, phase: Phase, size: int) -> Iterator[Fault]:
    for at in sorted({0, size // 2, size - 1}):
        yield Fault(request.operation, request.nth, phase, "flip", at=at)


def faults_of(request: Request, *, wire: bool, rival: bool = False, checked: bool = True) -> Iterator[Fault]:
    """
    All of the faults of *request*: each phase, each action, each kind of refusal, bodies at several bytes.

    *wire*: there is a connection that can break while idle. *rival*: another writer's overwrite too.
    *checked*: the reply's body has a checksum, or a form that a flipped byte breaks. A refusal that is final
    comes before the store has seen the request, never after: a store that does something and says it never
    will is a liar no client can see through.
    """
    yield from _on_the_way(request)
    yield from _on_the_way_back(request, checked=checked)
    if wire:
        yield from _breaks(request, "idle")
    if rival:
        for phase in _OVERTAKEN:
            yield Fault(request.operation, request.nth, phase, "hook", hook=OVERWRITE)


def _on_the_way(request: Request) -> Iterator[Fault]:
    yield from _breaks(request, "connect", 0, "delay")
    yield from _breaks(request, "request_head", 0, "delay")
    yield from _refusals(request, "request_head")
    if request.sent:
        for at in _positions(request.sent):
            yield from _breaks(request, "request_body", at)
        yield from _flips(request, "request_body", request.sent)
    yield from _breaks(request, "unforwarded", 0, "delay")
    yield from _refusals(request, "unforwarded")
    if request.operation not in _ANSWERS_WITH_DATA:
        for code in ("InternalError", "SlowDown"):
            yield Fault(request.operation, request.nth, "unforwarded", "replace", status=200, code=code)


def _on_the_way_back(request: Request, *, checked: bool) -> Iterator[Fault]:
    operation, nth = request.operation, request.nth
    yield from _breaks(request, "withheld", 0, "delay")
    yield Fault(operation, nth, "withheld", "twice")
    yield from _breaks(request, "reply_head", 0, "delay")
    for status in AMBIGUOUS:
        yield Fault(operation, nth, "reply_head", "replace", status=status, code=STATUSES[status])
    if operation not in _ANSWERS_WITH_DATA:
        yield Fault(operation, nth, "reply_head", "replace", status=200, code="InternalError")
    if request.received:
        for at in _positions(request.received):
            yield from _breaks(request, "reply_body", at)
        for at in (0, request.received // 2):
            yield Fault(operation, nth, "reply_body", "drip", at=at, seconds=DRIP)
        if checked:
            yield from _flips(request, "reply_body", request.received)


def lasting_faults(operation: str, *, bodies: bool) -> Iterator[Fault]:
    """What hits every request of *operation*: silence in each phase, and failures that do not end."""
    every = Request(operation, 0, 0, 0)
    for phase in _SILENT:
        yield Fault(operation, 0, phase, "stall")
    if bodies:
        yield Fault(operation, 0, "reply_body", "stall", at=1)
        yield Fault(operation, 0, "reply_body", "drip", at=1, seconds=DRIP)
    yield Fault(operation, 0, "connect", "reset")
    yield Fault(operation, 0, "withheld", "reset")
    yield from _refusals(every, "unforwarded")


def cases_of(
    scenario: str,
    requests: Iterable[Request],
    *,
    wire: bool,
    rival: bool = False,
    checked: bool = True,
) -> Iterator[Case]:
    """Every single fault of one scenario, then the lasting ones of each of its operations."""
    found = list(requests)
    for request in found:
        for fault in faults_of(request, wire=wire, rival=rival, checked=checked):
            yield Case(scenario, (fault,))
    for operation in dict.fromkeys(request.operation for request in found):
        bodies = any(one.received > 1 for one in found if one.operation == operation)
        for fault in lasting_faults(operation, bodies=bodies):
            yield Case(scenario, (fault,))


def pairs_of(scenario: str, requests: Iterable[Request], *, wire: bool) -> Iterator[Case]:
    """Every two faults of different requests of one scenario."""
    found = [list(faults_of(request, wire=wire)) for request in requests]
    for at, first in enumerate(found):
        for second in found[at + 1 :]:
            for one in first:
                for other in second:
                    yield Case(scenario, (one, other))
