"""The one format of faults: a seed and entries (operation, n-th, phase, action), as JSON."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias, get_args

Phase: TypeAlias = Literal[
    "connect",
    "request_head",
    "request_body",
    "unforwarded",
    "withheld",
    "reply_head",
    "reply_body",
    "idle",
]
Action: TypeAlias = Literal["reset", "close", "stall", "drip", "flip", "replace", "twice", "delay", "hook"]

EVERY: Final = 0
_BREAKS: Final = frozenset({"reset", "close", "stall", "delay", "hook"})
ALLOWED: Final[Mapping[Phase, frozenset[str]]] = {
    "connect": _BREAKS,
    "request_head": _BREAKS | {"replace"},
    "request_body": _BREAKS | {"flip"},
    "unforwarded": _BREAKS | {"replace"},
    "withheld": _BREAKS | {"twice"},
    "reply_head": _BREAKS | {"replace"},
    "reply_body": _BREAKS | {"drip", "flip"},
    "idle": frozenset({"reset", "close", "hook"}),
}
"""The actions each phase can have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    What goes wrong with one request.

    *operation* is S3's name (`UploadPart`), or `*` for any; *nth* counts its requests from 1, and 0 means
    every one. *phase* says when:

    - `connect`: before a connection is there; `request_head`: when the head arrived, before any
      `100 Continue`; `request_body`: after byte *at* of the body; `unforwarded`: the request arrived, the
      store never sees it;
    - `withheld`: the store did it, nothing of the reply goes out; `reply_head`: the same, with the head
      about to go out; `reply_body`: after byte *at* of the reply's body; `idle`: the reply went out whole
      (in memory there is no idle connection to break).

    *action* says what: `reset` (RST) or `close` (FIN) the connection, `stall` for ever, `delay` by *seconds*,
    `drip` one byte per *seconds*, `flip` the bits of byte *at* (negative: from the end), `replace` the
    reply by *status*, *code*, *headers* and *body* (what is not given stays, or is an S3 error document of
    *code*), send upstream `twice`, or call the `hook` named *hook*.
    """

    operation: str
    nth: int
    phase: Phase
    action: Action
    at: int = 0
    seconds: float = 0.0
    status: int | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    hook: str | None = None

    def __post_init__(self) -> None:
        if self.phase not in ALLOWED:
            raise ValueError(f"phase={self.phase!r} is none of {', '.join(get_args(Phase))}")
        if self.action not in ALLOWED[self.phase]:
            known = ", ".join(sorted(ALLOWED[self.phase]))
            raise ValueError(f"action={self.action!r} does not exist in phase {self.phase}: use {known}")
        if self.nth < 0:
            raise ValueError(f"nth={self.nth} is negative: count from 1, or give 0 for every request")
        if (self.action == "hook") != (self.hook is not None):
            raise ValueError("hook= names the hook of action='hook', and of no other")

    def matches(self, operation: str, nth: int) -> bool:
        """Whether it is meant for the *nth* request of *operation*."""
        return self.operation in (operation, "*") and self.nth in (EVERY, nth)

    def to_dict(self) -> dict[str, Any]:
        """Its fields, those at their default left out."""
        told = {name: getattr(self, name) for name in ("operation", "nth", "phase", "action")}
        for spec in dataclasses.fields(self)[4:]:
            value = getattr(self, spec.name)
            if value not in (spec.default, {}):
                told[spec.name] = dict(value) if isinstance(value, Mapping) else value
        return told


@dataclass(frozen=True, slots=True)
class Schedule:
    """Faults to come, and the seed they were drawn from; equal schedules do the same to the same requests."""

    entries: tuple[Fault, ...] = ()
    seed: int = 0

    @classmethod
    def of(cls, *entries: Fault) -> Self:
        """A schedule written by hand."""
        return cls(entries)

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        operations: Sequence[str],
        most_entries: int = 4,
        most_nth: int = 4,
        most_bytes: int = 1 << 20,
        actions: Sequence[Action] = ("reset", "close", "flip", "replace", "twice"),
    ) -> Self:
        """One to *most_entries* faults, always the same for one *seed*; replaced replies are 503 or 500."""
        draw = random.Random(seed)  # noqa: S311 - not a secret
        choices = [(phase, act) for phase in ALLOWED for act in actions if act in ALLOWED[phase]]
        entries = []
        for _ in range(draw.randint(1, most_entries)):
            phase, action = draw.choice(choices)
            status, code = draw.choice(((503, "SlowDown"), (500, "InternalError")))
            replaced = action == "replace"
            entries.append(
                Fault(
                    draw.choice(operations),
                    draw.randint(1, most_nth),
                    phase,
                    action,
                    at=draw.randrange(most_bytes) if phase.endswith("_body") else 0,
                    status=status if replaced else None,
                    code=code if replaced else None,
                )
            )
        return cls(tuple(entries), seed)

    def to_json(self) -> str:
        """One line, for a failure's message and a list of regressions."""
        return json.dumps({"seed": self.seed, "entries": [entry.to_dict() for entry in self.entries]})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The schedule `to_json` wrote. ValueError for anything else."""
        found = json.loads(text)
        try:
            return cls(tuple(Fault(**entry) for entry in found["entries"]), int(found["seed"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no schedule: {error}; expected seed and entries") from error
