"""A schedule at work: counts requests, finds the faults of each, and keeps the log of all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from greenlang_async_storage.testing._faults._schedule import Fault, Phase, Schedule
from greenlang_async_storage.testing._operations import target_of

Hook: TypeAlias = Callable[[], object]
"""May be a coroutine function."""
_BODYLESS = frozenset({204, 304})


class BrokenConnectionError(ConnectionError):
    """The connection ends here: `reset` or `close`, in which phase."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.action} in phase {fault.phase}")
        self.fault = fault


@dataclass(slots=True)
class WireRequest:
    """One request as it came over the wire."""

    operation: str
    nth: int
    """Among those of its operation, from 1."""
    method: str
    target: str
    bucket: str | None
    key: str | None
    headers: Mapping[str, str]
    size: int = 0
    """Bytes of its body, once it arrived whole."""
    status: int | None = None
    """Of the reply that went out; `None` when none did."""
    faults: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        broken = "".join(f" !{fault.phase}:{fault.action}" for fault in self.faults)
        return f"{self.operation}#{self.nth} {self.bucket}/{self.key} -> {self.status}{broken}"


class FaultPlan:
    """
    The faults to come, and the log of what came.

    `schedule` may be replaced at any time, which starts the counting anew; `hooks` are what `hook` actions
    call, by name. An entry is used once, unless its `nth` is 0.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self._schedule = schedule or Schedule()
        self.hooks: dict[str, Hook] = {}
        self.requests: list[WireRequest] = []
        """Every request, in order of arrival."""
        self._counts: Counter[str] = Counter()

    @property
    def schedule(self) -> Schedule:
        """What is carried out now."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._counts.clear()

    def plan(self, *faults: Fault) -> None:
        """Replace the schedule by these faults."""
        self.schedule = Schedule.of(*faults)

    def count(self, operation: str) -> int:
        """Requests of *operation* so far."""
        return sum(request.operation == operation for request in self.requests)

    def begin(self, method: str, target: str, headers: Mapping[str, str]) -> Exchange:
        """A request whose head arrived."""
        found = target_of(method, target, headers)
        self._counts[found.operation] += 1
        nth = self._counts[found.operation]
        faults = [fault for fault in self._schedule.entries if fault.matches(found.operation, nth)]
        request = WireRequest(
            found.operation, nth, method, target, found.bucket, found.key, headers, faults=faults
        )
        self.requests.append(request)
        return Exchange(request, self.hooks)

    def trace(self) -> list[str]:
        """The log as text, one line per request: equal for equal runs."""
        return [str(request) for request in self.requests]


@dataclass(slots=True)
class Exchange:
    """One request and what is to happen to it."""

    request: WireRequest
    hooks: Mapping[str, Hook]

    def faults(self, phase: Phase, *actions: str) -> list[Fault]:
        """Those of *phase*; of these *actions* only, when any are named."""
        found = [fault for fault in self.request.faults if fault.phase == phase]
        return [fault for fault in found if not actions or fault.action in actions]

    def has(self, phase: Phase, action: str) -> bool:
        """Whether such a fault is planned."""
        return bool(self.faults(phase, action))

    async def reach(self, phase: Phase) -> None:
        """Wait, call and break as planned for *phase*. Raises `BrokenConnectionError`."""
        for fault in self.faults(phase):
            await self.do(fault)

    async def do(self, fault: Fault) -> None:
        """Carry out what every phase can have; the rest is the carrier's own."""
        match fault.action:
            case "reset" | "close":
                raise BrokenConnectionError(fault)
            case "stall":
                await asyncio.Event().wait()
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "hook":
                done = self.hooks[fault.hook or ""]()
                if isinstance(done, Awaitable):
                    await done

    def damaged_request(self, body: bytes) -> bytes:
        """The request's body with the planned bytes flipped."""
        return flipped(body, self.faults("request_body", "flip"))

    def damaged_reply(self, body: bytes) -> bytes:
        """The reply's body with the planned bytes flipped."""
        return flipped(body, self.faults("reply_body", "flip"))


def flipped(body: bytes, faults: list[Fault]) -> bytes:
    """*body* with the bits of one byte turned around per fault; positions beyond the end come round."""
    if not faults or not body:
        return body
    damaged = bytearray(body)
    for fault in faults:
        damaged[fault.at % len(damaged)] ^= 0xFF
    return bytes(damaged)


def replaced(
    fault: Fault, status: int, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """A reply as a `replace` fault changes it."""
    changed = dict(headers)
    if fault.body is not None:
        body = fault.body.encode()
    elif fault.code is not None:
        body = f"<Error><Code>{fault.code}</Code><Message>planned</Message></Error>".encode()
    if fault.body is not None or fault.code is not None:
        changed = {"content-type": "application/xml", "content-length": str(len(body))}
    elif status in _BODYLESS:
        # With another status the client would wait for a body that ends with the connection.
        changed["content-length"] = "0"
    changed |= {name.lower(): value for name, value in fault.headers.items()}
    return fault.status or status, changed, body
