"""T0: lives before a fake client in virtual time, hundreds of them a second; each must leave nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from greenlang_async_storage import Bucket, StorageSettings
from greenlang_async_storage._chunks import _plan as _part_sizes
from greenlang_async_storage._connection import ClientHooks, Connection
from greenlang_async_storage._log import log
from tests.faults._life import HOOK, SCENES, Plan, Scene, live, plan
from tests.faults._played import MOST_SHRUNK, Played, smallest, told
from tests.faults._promises import require
from tests.faults._scenes import files
from tests.support.simulated import ENDPOINT, SimulatedClient
from tests.support.virtual_time import VirtualTimeLoop

PART: Final = 1024
"""Bytes of a part where the store is ours: S3's least of 5 MiB is lowered for both sides."""
BEHAVIOURS: Final = ("aws", "minio", "moto")
MOST_SECONDS: Final = 3 * 3600.0
"""Virtual; Complete may take the store 15 minutes, three times over."""
MOST_TURNS: Final = 200_000
WITHOUT_FILES: Final[tuple[Scene, ...]] = tuple(scene for scene in SCENES if scene is not files)


@cache
def _warned_once() -> None:
    """What the first warning of a process imports draws random numbers: not in the middle of a life."""
    log.warning("storage.lives_began")


def small_parts(size: int = PART) -> None:
    """Let the SDK send parts of *size* bytes, in this process, for good."""
    _warned_once()
    _part_sizes.MIN_PART_BYTES = size  # type: ignore[misc]  # a seam for tests


def small_settings(**more: Any) -> StorageSettings:
    """Settings whose parts are `PART` bytes, which no environment could ask for."""
    sizes = {"part_size": PART, "multipart_threshold": PART, "transfer_concurrency": 3}
    return StorageSettings(**{"checksum": "CRC32", **more}).model_copy(update=sizes)


@dataclass
class SimulatedWorld:
    """T0: a fake client under a connection of its own, in virtual time."""

    client: SimulatedClient
    connection: Connection
    lake: Bucket
    part: int = PART
    folder: Path | None = None
    virtual: bool = True

    @classmethod
    def build(cls, life: Plan, settings: StorageSettings) -> SimulatedWorld:
        """An empty store; call it inside the loop."""
        behaviour = BEHAVIOURS[life.seed % len(BEHAVIOURS)]
        client = SimulatedClient(behaviour, life.schedule.entries, min_part=PART)
        hooks = ClientHooks(_not_renewable, _payload)
        connection = Connection(client, settings, hooks)  # type: ignore[arg-type]  # it does for a client
        return cls(client, connection, Bucket(connection, "lake"))

    async def put(self, key: str, data: bytes) -> str:
        """Store *data* past the SDK."""
        return self.client.plant(key, data)

    async def content(self, key: str) -> bytes | None:
        """What the store holds."""
        found = self.client.objects.get(key)
        return None if found is None else found.data

    def damaged(self) -> bool:
        """Whether bytes were flipped on their way to a reader."""
        return self.client.damaged

    def on_hook(self, call: Callable[[], object]) -> None:
        """What the next `hook` fault calls."""
        self.client.hooks[HOOK] = call

    def require_rest(self) -> None:
        """No slot, call, body, clean-up, task or upload is left."""
        statistics = self.connection.statistics()
        left = statistics.in_flight, statistics.pool_waiting, statistics.cleanups_pending
        require(left == (0, 0, 0), f"in flight, waiting, cleaning up: {left}")
        require(self.client.open_bodies == 0, "a body was neither read to its end nor closed")
        doubled = sum(
            sent.operation == "CreateMultipartUpload"
            and any(fault.action == "twice" for fault in sent.faults)
            for sent in self.client.requests
        )
        left_open = len(self.client.uploads)
        require(left_open <= statistics.possible_orphans + doubled, f"{left_open} uploads left, uncounted")


def _payload(data: Any, _sha256: str | None) -> Any:
    """What is sent, in one piece: a part may be a tuple of buffers."""
    return b"".join(data) if isinstance(data, tuple) else data


async def _not_renewable() -> bool:
    return False


def plan_for(seed: int) -> Plan:
    """The life of *seed*: two scenes, every kind of fault."""
    return plan(seed, scenes=WITHOUT_FILES, count=2, waits=True, most_bytes=3 * PART)


async def play_one(life: Plan, settings: StorageSettings) -> tuple[SimulatedWorld, list[str]]:
    """One life, checked; its world, and its trace. Raises what was broken."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    trouble: list[str] = []
    loop.set_exception_handler(lambda _loop, context: trouble.append(str(context)))
    # Jitter is drawn from the module's own generator.
    random.seed(life.seed)
    before = asyncio.all_tasks()
    loop.most_turns = loop.turns + MOST_TURNS
    world = SimulatedWorld.build(life, settings)
    try:
        async with asyncio.timeout(MOST_SECONDS):
            ended = await live(world, life)
        for _ in range(3):
            await asyncio.sleep(0)
        world.require_rest()
        left = asyncio.all_tasks() - before
        require(not left, f"tasks left: {left}")
        await world.connection.aclose(0)
        require(not trouble, f"nobody could catch: {trouble}")
    finally:
        loop.set_exception_handler(None)
    return world, [*ended, *(str(sent) for sent in world.client.requests)]


def run_one(life: Plan) -> list[str]:
    """The trace of one life on a loop of its own. Raises what was broken."""
    with _Lives() as lives:
        return lives.play(life)[1]


def breaks(life: Plan) -> bool:
    """Whether one life breaks a promise, in whatever way."""
    try:
        run_one(life)
    except Exception:  # noqa: BLE001  # whatever it is, it is what we look for
        return True
    return False


def play(start: int, stop: int) -> Played:
    """The lives of the seeds from *start* to *stop*, on one loop until one of them fails."""
    found = Played()
    lives = _Lives()
    try:
        for seed in range(start, stop):
            life = plan_for(seed)
            found.schedules += 1
            try:
                world, _ = lives.play(life)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
                lives.close()
                lives = _Lives()
                least = smallest(life, breaks) if len(found.failures) < MOST_SHRUNK else None
                found.failures.append(told(life, error, least))
                continue
            found.requests += len(world.client.requests)
            found.faults += sum(len(sent.faults) for sent in world.client.requests)
    finally:
        lives.close()
    return found


class _Lives:
    """A loop for lives, which ends whatever a broken one has left."""

    def __init__(self) -> None:
        small_parts()
        self._settings = small_settings(
            endpoint_url=ENDPOINT, access_key_id="simulated", secret_access_key="simulated"
        )
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)

    def play(self, life: Plan) -> tuple[SimulatedWorld, list[str]]:
        """One life."""
        return self._runner.get_loop().run_until_complete(play_one(life, self._settings))

    def close(self) -> None:
        """Cancel what is left, and close the loop."""
        loop = self._runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.most_turns = loop.turns + MOST_TURNS
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()
