"""What every schedule must keep, and what a scene needs of the door it is played behind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from greenlang_async_storage import Bucket, S3Error

MOST_ATTEMPTS: Final = 3
_NOISE: Final = random.Random(0).randbytes(1 << 16)  # not a secret


class World(Protocol):
    """What a scene needs of the door it is played behind."""

    lake: Bucket
    part: int
    """Bytes of a part; objects above it go in parts."""
    folder: Path | None
    """For files; `None` where there are none."""
    virtual: bool
    """Whether time is the loop's own, so that it may be measured exactly."""

    async def put(self, key: str, data: bytes) -> str:
        """Store *data* past the SDK; gives the ETag."""
        ...

    async def content(self, key: str) -> bytes | None:
        """What the store holds, asked past the SDK."""
        ...

    def damaged(self) -> bool:
        """Whether bytes of a reply's body were flipped so far."""
        ...

    def on_hook(self, call: Callable[[], object]) -> None:
        """What the next `hook` fault calls."""
        ...


class BrokenPromiseError(AssertionError):
    """What should not be."""


class ProducerError(Exception):
    """What a source of ours raises."""


def require(holds: object, text: str) -> None:
    """`BrokenPromiseError` unless *holds*."""
    if not holds:
        raise BrokenPromiseError(text)


async def outcome(work: Awaitable[object]) -> S3Error | None:
    """`None`, or the typed error; anything else is a fault of ours and comes out."""
    try:
        await work
    except S3Error as error:
        require(error.operation, f"an error without operation: {error!r}")
        require(error.bucket, f"an error without bucket: {error!r}")
        require(error.attempts <= MOST_ATTEMPTS, f"{error.attempts} attempts")
        return error
    return None


def told_truly(error: S3Error | None, *, old: object, new: object, found: object) -> str:
    """Success means the new state, `not_applied` the old one, `unknown` one of them; never another."""
    require(found in (old, new), "half of something, or something else")
    if error is None:
        require(found == new, "acknowledged, and yet not there")
        return "done"
    if error.outcome == "not_applied":
        require(found == old, f"said not to be applied, and yet it was: {error!r}")
    elif error.outcome == "applied":
        require(found == new, f"said to be applied, and yet it was not: {error!r}")
    return f"{type(error).__name__}/{error.outcome}"


def noise(draw: random.Random, size: int) -> bytes:
    """*size* bytes that differ from those of another draw."""
    start = draw.randrange(len(_NOISE) - 1024)
    repeated = _NOISE[start:] + _NOISE[:start]
    return (repeated * (size // len(repeated) + 1))[:size]


def small(world: World, draw: random.Random) -> bytes:
    """What goes in one request."""
    return noise(draw, draw.choice((0, 1, 100, min(world.part, 20_000) - 1)))


def large(world: World, draw: random.Random) -> bytes:
    """What goes in parts."""
    most = 3 if world.part < 1 << 20 else 1
    return noise(draw, world.part * draw.randint(1, most) + draw.choice((1, world.part // 2, world.part)))


def medium(world: World, draw: random.Random) -> bytes:
    """Up to three parts, where parts are small."""
    return noise(draw, draw.randint(1, min(3 * world.part, 200_000)))


async def producer(data: bytes, piece: int, fails_after: int | None = None) -> AsyncIterator[bytes]:
    """*data* a *piece* at a time, up to where it fails."""
    for index, start in enumerate(range(0, len(data), piece)):
        if index == fails_after:
            raise ProducerError
        yield data[start : start + piece]
