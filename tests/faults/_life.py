"""
A short life of some keys, drawn from a seed: scenes, and faults aimed at what they send.

The same scenes are played behind every door (see `_worlds`). A life is a few of them; its faults are a
`Schedule`, drawn from the same seed or given.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from greenlang_async_storage.testing import Fault, Schedule
from tests.faults._promises import World
from tests.faults._scenes import (
    cancelled,
    copy,
    deadline,
    delete,
    files,
    listing,
    parts,
    put,
    race,
    read,
    stream,
)

Scene = Callable[[World, random.Random], Awaitable[str]]
WRITES: Final = ("PutObject", "HeadObject")
MULTIPART: Final = (
    *("CreateMultipartUpload", "UploadPart", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"),
    *("HeadObject", "ListParts"),
)
SCENES: Final[dict[Scene, tuple[str, ...]]] = {
    put: WRITES,
    parts: MULTIPART,
    stream: MULTIPART,
    read: ("GetObject",),
    listing: ("ListObjectsV2",),
    copy: ("CopyObject", "HeadObject", "DeleteObject"),
    delete: ("DeleteObject", "DeleteObjects"),
    race: (*WRITES, *MULTIPART),
    cancelled: ("PutObject", "GetObject", *MULTIPART),
    deadline: ("PutObject", "GetObject", *MULTIPART),
    files: ("GetObject", *MULTIPART),
}
"""What can be played, and which requests it sends."""
BREAKS: Final = (
    *(("connect", "reset"), ("request_head", "reset"), ("request_body", "reset"), ("request_body", "flip")),
    *(("unforwarded", "close"), ("unforwarded", "replace"), ("withheld", "reset"), ("withheld", "twice")),
    *(("reply_head", "close"), ("reply_head", "replace"), ("reply_body", "reset"), ("reply_body", "close")),
    *(("reply_body", "flip"), ("idle", "reset"), ("unforwarded", "hook"), ("withheld", "hook")),
)
WAITS: Final = (
    *(("connect", "stall"), ("request_body", "stall"), ("unforwarded", "stall"), ("withheld", "stall")),
    *(("reply_head", "delay"), ("unforwarded", "delay"), ("reply_body", "stall"), ("reply_body", "drip")),
)
REFUSALS: Final = (
    *((503, "SlowDown"), (500, "InternalError"), (504, "GatewayTimeout"), (400, "RequestTimeout")),
    *((429, "TooManyRequests"), (403, "AccessDenied")),
)
"""Replies of a store that did nothing."""
AFTERWARDS: Final = ((500, "InternalError"), (504, "GatewayTimeout"), (502, "BadGateway"), (503, None))
"""Replies that may come although the store did it. The others are the store's word that it did not."""
HOOK: Final = "overwrite"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which scenes a life has, and what goes wrong in it."""

    seed: int
    scenes: tuple[Scene, ...]
    schedule: Schedule


def plan(
    seed: int,
    *,
    scenes: Sequence[Scene],
    count: int,
    waits: bool,
    most_bytes: int,
    left_out: AbstractSet[tuple[str, str]] = frozenset(),
) -> Plan:
    """
    *count* of *scenes* and one to four faults aimed at what they send; the same for the same arguments.

    *waits* adds silence, delays and single bytes, for doors in virtual time. *most_bytes* is how far into a
    body faults reach; *left_out* are phases and actions that prove nothing at this door.
    """
    draw = random.Random(seed)  # not a secret
    chosen = tuple(draw.sample(scenes, count))
    operations = [operation for scene in chosen for operation in SCENES[scene]]
    choices = (*BREAKS, *WAITS) if waits else BREAKS
    faults: list[Fault] = []
    most = draw.randint(1, 4)
    while len(faults) < most:
        operation = draw.choice(operations)
        phase, action = draw.choice(choices)
        if (phase, action) in left_out:
            continue
        status, code = draw.choice(AFTERWARDS if phase == "reply_head" else REFUSALS)
        replaced = action == "replace"
        asks = {"retry-after": str(draw.randint(0, 40))} if waits and replaced and draw.random() < 0.2 else {}
        faults.append(
            Fault(
                operation,
                draw.choice((1, 1, 1, 2, 2, 3)),
                phase,  # type: ignore[arg-type]  # checked by Fault itself
                action,  # type: ignore[arg-type]
                at=draw.randrange(most_bytes) if phase.endswith("_body") else 0,
                seconds=draw.choice((0.1, 1.0, 25.0)) if action in ("delay", "drip") else 0.0,
                status=status if replaced else None,
                code=code if replaced else None,
                headers=asks,
                hook=HOOK if action == "hook" else None,
            )
        )
    return Plan(seed, chosen, Schedule(tuple(faults), seed))


async def live(world: World, life: Plan) -> list[str]:
    """Play the scenes of *life*, one after the other; how each ended."""
    told = []
    for scene in life.scenes:
        name = getattr(scene, "__name__", "scene")
        draw = random.Random(f"{life.seed} {name}")  # not a secret
        world.on_hook(lambda: None)
        try:
            told.append(f"{name}: {await scene(world, draw)}")
        except BaseException as error:
            error.add_note(f"in the scene {name}")
            raise
    return told
