"""T1 to T3: lives of a real session, before an S3 in memory or behind a proxy; each must leave nothing."""

from __future__ import annotations

import asyncio
import base64
import random
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from greenlang_async_storage import Bucket, StorageSession, _retry
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage.testing import FaultPlan, FaultProxy, MemoryS3, Schedule
from tests.faults._life import HOOK, SCENES, Plan, Scene, live, plan
from tests.faults._promises import require
from tests.faults._simulated import BEHAVIOURS, MOST_SECONDS, PART, small_parts, small_settings
from tests.support.faults import BUCKET
from tests.support.virtual_time import VirtualTimeLoop

REAL_SECONDS: Final = 60.0
"""A life may take so long where time is real."""
ALL_SCENES: Final[tuple[Scene, ...]] = tuple(SCENES)


class Store(Protocol):
    """A store, asked past the SDK and the proxy."""

    async def put(self, key: str, data: bytes) -> str:
        """Store *data*, with a checksum where the store keeps one; gives the ETag."""
        ...

    async def content(self, key: str) -> bytes | None:
        """What is there."""
        ...

    async def open_uploads(self, prefix: str, keys: Sequence[str]) -> int:
        """How many multipart uploads of *keys* under *prefix* are open; they are aborted."""
        ...

    async def clear(self, prefix: str) -> None:
        """Forget everything under *prefix*."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """A `MemoryS3`."""

    store: MemoryS3

    async def put(self, key: str, data: bytes) -> str:
        """Store *data* with its CRC32."""
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        return self.store.put(BUCKET, key, data, x_amz_checksum_crc32=crc)

    async def content(self, key: str) -> bytes | None:
        """What is there."""
        return self.store.get(BUCKET, key)

    async def open_uploads(self, prefix: str, keys: Sequence[str]) -> int:  # it lists all
        """Those under *prefix*, aborted."""
        found = [(key, one) for key, one in self.store.open_uploads(BUCKET) if key.startswith(prefix)]
        for key, upload_id in found:
            self.store.handle("DELETE", f"/{BUCKET}/{key}?uploadId={upload_id}", {}, b"")
        return len(found)

    async def clear(self, prefix: str) -> None:
        """Forget everything under *prefix*."""
        for key in self.store.keys(BUCKET):
            if key.startswith(prefix):
                self.store.delete(BUCKET, key)


@dataclass
class SessionWorld:
    """One life of a real session, under a prefix of its own."""

    lake: Bucket
    store: Store
    faults: FaultPlan
    prefix: str
    part: int
    folder: Path | None
    virtual: bool

    async def put(self, key: str, data: bytes) -> str:
        """Store *data* past the SDK."""
        return await self.store.put(self.prefix + key, data)

    async def content(self, key: str) -> bytes | None:
        """What the store holds."""
        return await self.store.content(self.prefix + key)

    def damaged(self) -> bool:
        """Whether bytes of a reply's body were flipped."""
        return any(
            fault.action == "flip" and fault.phase == "reply_body"
            for request in self.faults.requests
            for fault in request.faults
        )

    def on_hook(self, call: Callable[[], object]) -> None:
        """What the next `hook` fault calls."""
        self.faults.hooks[HOOK] = cast("Any", call)


@dataclass
class Door:
    """An open session, the store behind it, and the faults between them."""

    session: StorageSession
    store: Store
    faults: FaultPlan
    part: int
    folder: Path
    virtual: bool
    memory: MemoryS3 | None = None

    async def play(self, life: Plan) -> list[str]:
        """One life, checked; its trace. Raises what was broken."""
        random.seed(life.seed)
        self._fresh_budget()
        before = asyncio.all_tasks()
        orphans = self.session.statistics().possible_orphans
        self.faults.requests.clear()
        prefix = f"s{life.seed}/"
        lake = self.session.data_lake.scoped(prefix)
        world = SessionWorld(lake, self.store, self.faults, prefix, self.part, self.folder, self.virtual)
        self.faults.schedule = life.schedule
        try:
            async with asyncio.timeout(MOST_SECONDS if self.virtual else REAL_SECONDS):
                told = await live(world, life)
        finally:
            self.faults.schedule = Schedule()
            # What was still on its way belongs to this life, not to the next.
            trace = self.faults.trace()
            for path in self.folder.iterdir():
                path.unlink()
        await self._require_rest(prefix, before, orphans)
        await self.store.clear(prefix)
        return [*told, *trace]

    async def _require_rest(self, prefix: str, before: set[asyncio.Task[Any]], orphans: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        statistics = self.session.statistics()
        left = statistics.in_flight, statistics.pool_waiting, statistics.cleanups_pending
        require(left == (0, 0, 0), f"in flight, waiting, cleaning up: {left}")
        require(self.memory is None or self.memory.open_bodies == 0, "a body was neither read nor closed")
        tasks = {task for task in asyncio.all_tasks() - before if not _of_a_proxy(task)}
        require(not tasks, f"tasks left: {tasks}")
        created = [sent for sent in self.faults.requests if sent.operation == "CreateMultipartUpload"]
        if not created:
            return
        doubled = sum(any(fault.action == "twice" for fault in sent.faults) for sent in created)
        keys = sorted({sent.key for sent in created if sent.key})
        left_open = await self.store.open_uploads(prefix, keys)
        allowed = statistics.possible_orphans - orphans + doubled
        require(left_open <= allowed, f"{left_open} uploads left, uncounted")

    def _fresh_budget(self) -> None:
        """Each life has the retries of a new session, so that it is the same whatever went before it."""
        connection = self.session._connection  # there is no public door to it
        assert connection is not None
        connection._engine._policy.budget = _retry.RetryBudget()


def _of_a_proxy(task: asyncio.Task[Any]) -> bool:
    """Whether it serves a connection the session may well keep."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("FaultProxy.")


def memory_plan(seed: int, *, waits: bool, scenes: Sequence[Scene] = ALL_SCENES) -> Plan:
    """The life of *seed* at T1: two of *scenes*; silence and delays where they cost nothing."""
    return plan(seed, scenes=scenes, count=2, waits=waits, most_bytes=3 * PART)


def at_once() -> None:
    """Retries do not wait, in this process, for good: where time is real, waiting proves nothing."""
    _retry.RetryPolicy.pause = lambda *_: 0.0  # type: ignore[method-assign]


@asynccontextmanager
async def memory_door(
    behaviour: str, folder: Path, *, served: bool, one_by_one: bool = False
) -> AsyncIterator[Door]:
    """
    T1: behind the HTTP session, or, *served*, through a proxy and sockets with the fast path.

    *one_by_one* sends parts and ranges one after the other: which of two sockets is read first, and which of
    two threads is done first, is the system's choice.
    """
    small_parts()
    store = MemoryS3(behaviour=cast("Any", behaviour), min_part_size=PART)
    store.create_bucket(BUCKET)
    options = {**store.settings_kwargs(), "data_lake_bucket": BUCKET, "retry_mode": "standard"}
    width = {"transfer_concurrency": 1} if one_by_one else {}
    async with AsyncExitStack() as stack:
        if served:
            at_once()
            _abort.LANDING_SECONDS = 0.0  # type: ignore[misc]  # in memory nothing lands late
            proxy = await stack.enter_async_context(FaultProxy(store))
            settings = small_settings(**{**options, "endpoint_url": proxy.url}).model_copy(update=width)
            session = await stack.enter_async_context(StorageSession(settings))
            yield Door(session, MemoryStore(store), proxy.faults, PART, folder, virtual=False)
        else:
            virtual = isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
            settings = small_settings(**options).model_copy(update=width)
            session = await stack.enter_async_context(store.open_session(settings))
            yield Door(session, MemoryStore(store), store.faults, PART, folder, virtual, memory=store)


def behaviour_of(seed: int) -> str:
    """What the store of *seed* does where stores differ."""
    return BEHAVIOURS[seed % len(BEHAVIOURS)]
