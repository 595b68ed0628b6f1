"""Small scenes with a few keys; each checks the promises against what the store holds, asked past the SDK."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Final, TypeVar

from greenlang_async_storage import S3TimeoutError
from tests.faults._promises import (
    ProducerError,
    World,
    large,
    medium,
    outcome,
    producer,
    require,
    small,
    told_truly,
)
from tests.support.cancel import CancelAt

T = TypeVar("T")
CLEANUP_SECONDS: Final = 6.5
"""What a call may take beyond its deadline to take back what it began: the clean-up's own limit and grace."""


async def put(world: World, draw: random.Random) -> str:
    """One request, plain or under a condition that holds or does not."""
    old = small(world, draw) if draw.random() < 0.6 else None
    etag = await world.put("put", old) if old is not None else ""
    new = small(world, draw)
    condition = draw.choice(("none", "create", "match", "mismatch"))
    if condition == "create":
        error = await outcome(world.lake.upload_bytes("put", new, if_none_match=True))
    elif condition in ("match", "mismatch"):
        wanted = etag if condition == "match" and old is not None else "0" * 32
        error = await outcome(world.lake.upload_bytes("put", new, if_match=wanted))
    else:
        error = await outcome(world.lake.upload_bytes("put", new))
    found = await world.content("put")
    refused = {"none": False, "create": old is not None, "match": old is None, "mismatch": True}[condition]
    if refused:
        require(error is not None, f"the condition {condition} did not hold, and yet it was written")
        require(found == old, f"the condition {condition} did not hold, and yet it changed")
    return told_truly(error, old=old, new=new, found=found)


async def parts(world: World, draw: random.Random) -> str:
    """Bytes that go in parts."""
    old = small(world, draw) if draw.random() < 0.3 else None
    if old is not None:
        await world.put("parts", old)
    new = large(world, draw)
    create = draw.random() < 0.3
    error = await outcome(world.lake.upload_bytes("parts", new, if_none_match=create))
    found = await world.content("parts")
    if create and old is not None:
        require(error is not None, "created, although it was there")
    return told_truly(error, old=old, new=new, found=found)


async def stream(world: World, draw: random.Random) -> str:
    """A stream; its producer may fail."""
    new = large(world, draw)
    piece = draw.choice((world.part // 3, world.part, 2 * world.part + 1))
    fails_after = draw.choice((None, None, None, 0, 1, 3))
    source = producer(new, piece, fails_after)
    try:
        error = await outcome(world.lake.upload_stream("stream", source, part_size=world.part))
    except ProducerError:
        require(fails_after is not None, "the producer failed by itself")
        require(await world.content("stream") is None, "stored, although its producer failed")
        return "producer"
    require(
        error is not None or fails_after is None or fails_after * piece >= len(new),
        "stored, although its producer failed",
    )
    return told_truly(error, old=None, new=new, found=await world.content("stream"))


async def read(world: World, draw: random.Random) -> str:
    """Whole, as a stream or a range, while somebody may overwrite it."""
    old, new = medium(world, draw), medium(world, draw)
    if draw.random() < 0.5:
        new = new[: len(old)].ljust(len(old), b"-")
    await world.put("read", old)
    world.on_hook(lambda: world.put("read", new))
    way = draw.choice(("bytes", "stream", "range"))
    start = draw.randrange(len(old)) if way == "range" else 0
    stop = draw.randint(start + 1, len(old)) if way == "range" else None

    async def reads() -> bytes:
        if way == "stream":
            async with world.lake.open_download("read") as found:
                return b"".join([piece async for piece in found])
        return await world.lake.download_bytes("read", range=None if stop is None else (start, stop))

    got: list[bytes] = []

    async def keep() -> None:
        got.append(await reads())

    error = await outcome(keep())
    if error is not None:
        return type(error).__name__
    # A range has no checksum to be compared with; the limits of docs/reliability.md say so.
    if way != "range" or not world.damaged():
        require(got[0] in (old[start:stop], new[start:stop]), "read what was never written, or mixed")
    return f"{len(got[0])} bytes"


async def listing(world: World, draw: random.Random) -> str:
    """Pages, each a request of its own: every key once and in order, or an error."""
    keys = sorted(f"list/{draw.randrange(1000):03}" for _ in range(draw.randint(0, 5)))
    for key in dict.fromkeys(keys):
        await world.put(key, b"x")
    seen: list[str] = []

    async def lists() -> None:
        async for found in world.lake.list_objects("list/", page_size=2):
            seen.append(found.key)  # noqa: PERF401  # what was seen before a failure counts

    error = await outcome(lists())
    wanted = sorted(set(keys))
    require(seen == wanted[: len(seen)], f"listed {seen} of {wanted}")
    require(error is not None or seen == wanted, f"ended early: {seen} of {wanted}")
    return f"{len(seen)} keys, {type(error).__name__}"


async def copy(world: World, draw: random.Random) -> str:
    """A copy, a move."""
    data = small(world, draw)
    await world.put("from", data)
    if draw.random() < 0.5:
        error = await outcome(world.lake.copy("from", "to"))
        require(await world.content("from") == data, "the source of a copy changed")
        return told_truly(error, old=None, new=data, found=await world.content("to"))
    error = await outcome(world.lake.move("from", "to"))
    left, made = await world.content("from"), await world.content("to")
    require(data in (left, made), "moved to nowhere")
    require(left in (None, data), "the source of a move became something else")
    require(made in (None, data), "the target of a move became something else")
    require(error is not None or (left, made) == (None, data), "not moved, and yet acknowledged")
    return f"move {left is not None} {made is not None} {type(error).__name__}"


async def delete(world: World, draw: random.Random) -> str:
    """One key, or several in one request."""
    data = small(world, draw)
    names = [f"gone{index}" for index in range(draw.choice((1, 3)))]
    for name in names:
        await world.put(name, data)
    if len(names) == 1:
        error = await outcome(world.lake.delete(names[0]))
        return told_truly(error, old=data, new=None, found=await world.content(names[0]))
    report = await world.lake.delete_many(names)
    results = sorted((*report.succeeded, *report.failed), key=lambda one: one.index)
    require([one.key for one in results] == names, "not one outcome per key, in order")
    return " ".join(
        [told_truly(one.error, old=data, new=None, found=await world.content(one.key)) for one in results]
    )


async def race(world: World, draw: random.Random) -> str:
    """Two writers of one key at once: one of them wins, whole; with a condition only one may."""
    one, two = large(world, draw), small(world, draw)
    create = draw.random() < 0.5
    errors = await asyncio.gather(
        outcome(world.lake.upload_bytes("race", one, if_none_match=create)),
        outcome(world.lake.upload_bytes("race", two, if_none_match=create)),
    )
    found = await world.content("race")
    require(found in (None, one, two), "half of something, or something else")
    stored = [data for data, error in zip((one, two), errors, strict=True) if error is None]
    never = [
        data
        for data, error in zip((one, two), errors, strict=True)
        if error is not None and error.outcome == "not_applied"
    ]
    require(not stored or found is not None, "acknowledged, and yet not there")
    require(one == two or found not in never, "said not to be applied, and yet it was")
    require(not create or len(stored) <= 1, "both were told to have created it")
    require(not create or not stored or found == stored[0], "created, and yet overwritten by a creator")
    return " ".join(type(error).__name__ for error in errors)


async def cancelled(world: World, draw: random.Random) -> str:
    """A call cancelled at one of its awaits: the cancel comes out, the object is the old or the new one."""
    old, new = small(world, draw), large(world, draw)
    await world.put("cancel", old)
    lake, point = world.lake, draw.randint(1, 40)
    kind = draw.choice(("bytes", "stream", "put", "read"))
    if kind == "put":
        new = small(world, draw)
    work: Awaitable[object]
    match kind:
        case "stream":
            source = producer(new, world.part // 2 + 1)
            work = lake.upload_stream("cancel", source, part_size=world.part)
        case "read":
            work = lake.download_bytes("cancel")
        case _:
            work = lake.upload_bytes("cancel", new)
    attempt = CancelAt(outcome(work), point)
    task = asyncio.ensure_future(_awaited(attempt))
    await asyncio.wait([task])
    require(task.cancelled() or attempt.seen < point, f"the cancel at await {point} of {kind} was swallowed")
    found = await world.content("cancel")
    if task.cancelled():
        require(found in (old, new), "half of something, or something else")
        return "cancelled"
    return told_truly(task.result(), old=old, new=old if kind == "read" else new, found=found)


async def _awaited(attempt: CancelAt[T]) -> T:
    return await attempt


async def deadline(world: World, draw: random.Random) -> str:
    """A call with a total deadline ends by it, whatever happens meanwhile."""
    old, new = small(world, draw), draw.choice((small, large))(world, draw)
    await world.put("late", old)
    seconds = draw.choice((0.05, 0.5, 5.0))
    loop = asyncio.get_running_loop()
    started = loop.time()
    if draw.random() < 0.3:
        error = await outcome(world.lake.download_bytes("late", timeout=seconds))
        new, grace = old, 0.25
    else:
        error = await outcome(world.lake.upload_bytes("late", new, timeout=seconds))
        grace = 0.25 + (CLEANUP_SECONDS if len(new) > world.part else 0.0)
    took = loop.time() - started
    if world.virtual:
        require(took <= seconds + grace, f"took {took:.3f} s with timeout={seconds}")
    if isinstance(error, S3TimeoutError):
        require(error.outcome != "applied", "a deadline that knows of success")
    return told_truly(error, old=old, new=new, found=await world.content("late"))


async def files(world: World, draw: random.Random) -> str:
    """A file up and down again: old or whole new, and nothing beside it."""
    assert world.folder is not None
    data = large(world, draw)
    source, target = world.folder / "source", world.folder / "target"
    source.write_bytes(data)
    error = await outcome(world.lake.upload_file("file", source, part_size=world.part))
    told = told_truly(error, old=None, new=data, found=await world.content("file"))
    there = await world.content("file")
    target.write_bytes(b"old")
    error = await outcome(world.lake.download_file("file", target, part_size=world.part))
    told_truly(error, old=b"old", new=there, found=target.read_bytes())
    names = sorted(path.name for path in world.folder.iterdir())
    require(names == ["source", "target"], f"left beside the files: {names}")
    source.unlink()
    target.unlink()
    return f"{told} {type(error).__name__}"
