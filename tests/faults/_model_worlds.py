"""Where the state machine plays: an S3 in memory, or MinIO behind a proxy; one session for many runs."""

from __future__ import annotations

import asyncio
import http.client
import itertools
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeVar
from unittest import mock
from urllib.parse import urlsplit

from greenlang_async_storage import Bucket, StorageSession, StorageSettings, _retry
from greenlang_async_storage._chunks import _plan
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage.testing import Fault, FaultPlan, FaultProxy, MemoryS3, MinioServer, Schedule
from tests.support import servers

T = TypeVar("T")
PART: Final = 1024
"""Of the machine: a ground whose parts are larger scales what is larger than a part."""
SERVER_PART: Final = 5 * 1024 * 1024
BEHAVIOURS: Final = ("aws", "minio", "moto")
Place = Literal["memory", "served", "minio"]
Answer = tuple[int, Mapping[str, str], bytes]


class Ground(Protocol):
    """One empty bucket for one run."""

    lake: Bucket
    part: int

    def scaled(self, size: int) -> int:
        """*size*, given in the machine's parts, in the ground's own."""
        ...

    def plan(self, *faults: Fault) -> None:
        """What goes wrong from now on."""
        ...

    def plan_without(self, action: str) -> None:
        """Forget the faults of this action."""
        ...

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """A signed request, as others send it: no fault meets it."""
        ...

    async def contents(self) -> dict[str, bytes]:
        """Every object, asked past the SDK."""
        ...

    async def agrees(self, model: Mapping[str, bytes]) -> None:
        """Fail unless the store holds *model*, and nothing is in flight or open."""
        ...

    async def aclose(self) -> None:
        """Forget the bucket."""
        ...


@dataclass
class _Common:
    session: StorageSession
    faults: FaultPlan
    lake: Bucket
    orphans: int
    part: int

    def plan(self, *faults: Fault) -> None:
        self.faults.plan(*faults)

    def plan_without(self, action: str) -> None:
        entries = self.faults.schedule.entries
        self.plan(*(fault for fault in entries if fault.action != action))

    def _at_rest(self, uploads: int) -> None:
        statistics = self.session.statistics()
        left = statistics.in_flight, statistics.pool_waiting, statistics.cleanups_pending
        assert left == (0, 0, 0), f"in flight, waiting, cleaning up: {left}"
        counted = statistics.possible_orphans - self.orphans
        assert uploads <= counted, f"{uploads} uploads left open, {counted} counted"


@dataclass
class MemoryGround(_Common):
    """A bucket of a `MemoryS3`, past botocore's pipeline or behind a proxy."""

    store: MemoryS3
    proxied: bool

    def scaled(self, size: int) -> int:
        return size

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        schedule, self.faults.schedule = self.faults.schedule, Schedule()
        try:
            if self.proxied:
                return await asyncio.to_thread(_sent, method, url, headers, body)
            parts = urlsplit(url)
            named = {name.lower(): value for name, value in headers.items()}
            reply = self.store.handle(method, f"{parts.path}?{parts.query}", named, body)
            return reply.status, reply.headers, reply.body
        finally:
            self.faults.schedule = schedule

    async def contents(self) -> dict[str, bytes]:
        name = self.lake.name
        return {key: self.store.get(name, key) or b"" for key in self.store.keys(name)}

    async def agrees(self, model: Mapping[str, bytes]) -> None:
        assert await self.contents() == model
        self._at_rest(len(self.store.open_uploads(self.lake.name)))
        assert self.store.open_bodies == 0, "a body was neither read nor closed"

    async def aclose(self) -> None:
        self.plan()
        self.faults.requests.clear()
        # There is no request that removes a bucket with all that is in it.
        self.store._store.buckets.pop(self.lake.name)


@dataclass
class MinioGround(_Common):
    """A bucket of a MinIO behind a proxy; asked by a plain client."""

    client: Any

    def scaled(self, size: int) -> int:
        # One size in parts is enough: S3's least part is large.
        return size if size <= PART else SERVER_PART + size % 100 if size == PART + 1 else 60 * size

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        schedule, self.faults.schedule = self.faults.schedule, Schedule()
        try:
            return await asyncio.to_thread(_sent, method, url, headers, body)
        finally:
            self.faults.schedule = schedule

    def _listed(self) -> dict[str, int]:
        found = self.client.list_objects_v2(Bucket=self.lake.name).get("Contents", [])
        return {entry["Key"]: entry["Size"] for entry in found}

    async def contents(self) -> dict[str, bytes]:
        def read(key: str) -> bytes:
            return bytes(self.client.get_object(Bucket=self.lake.name, Key=key)["Body"].read())

        return {key: read(key) for key in self._listed()}

    async def agrees(self, model: Mapping[str, bytes]) -> None:
        assert self._listed() == {key: len(data) for key, data in model.items()}
        self._at_rest(0)

    async def aclose(self) -> None:
        self.plan()
        self.faults.requests.clear()
        servers.empty_and_remove(self.client, self.lake.name)


@dataclass
class Bench:
    """
    A place with open sessions, and what was played on it: `runs` and `steps`.

    In memory there are three stores, one of each behaviour, which take turns. A context manager of its own
    loop; parts are small meanwhile, and retries do not wait.
    """

    place: Place
    folder: Path
    fast_path: bool = True
    runs: int = 0
    steps: int = 0
    _sessions: list[tuple[StorageSession, FaultPlan, Any]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __enter__(self) -> Self:
        landing = _abort.LANDING_SECONDS if self.place == "minio" else 0.0
        self._patches: list[Any] = [
            mock.patch.object(_plan, "MIN_PART_BYTES", 1),
            mock.patch.object(_retry.RetryPolicy, "pause", return_value=0.0),
            mock.patch.object(_abort, "LANDING_SECONDS", landing),
        ]
        for patch in self._patches:
            patch.start()
        self._runner = asyncio.Runner()
        self._exits = AsyncExitStack()
        try:
            self.run(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._exits.aclose())
        finally:
            self._runner.close()
            for patch in self._patches:
                patch.stop()

    def run(self, work: Awaitable[T]) -> T:
        """The result of *work*, in the bench's loop."""

        async def main() -> T:
            return await work

        return self._runner.run(main())

    def told(self, steps: int) -> None:
        """One more run was played to its end."""
        self.runs += 1
        self.steps += steps

    def ground(self) -> Ground:
        """An empty bucket, on a session with all its retries."""
        number = next(self._numbers)
        session, faults, store = self._sessions[number % len(self._sessions)]
        connection: Any = session._require_connection()
        connection._engine._policy.budget = _retry.RetryBudget()
        name = f"run-{number}"
        orphans = connection.statistics().possible_orphans
        lake = self.run(_bucket(session, name))
        if isinstance(store, MemoryS3):
            store.create_bucket(name)
            return MemoryGround(session, faults, lake, orphans, PART, store, self.place == "served")
        store.create_bucket(Bucket=name)
        return MinioGround(session, faults, lake, orphans, SERVER_PART, store)

    async def _open(self) -> None:
        if self.place == "minio":
            server = await asyncio.to_thread(
                self._exits.enter_context, MinioServer.start(directory=self.folder / "minio")
            )
            client = servers.observer_client(server)
            self._exits.callback(client.close)
            proxy = await self._exits.enter_async_context(FaultProxy(server))
            options = {**server.settings_kwargs(), "endpoint_url": proxy.url}
            self._sessions.append((await self._session(options, SERVER_PART), proxy.faults, client))
            return
        for behaviour in BEHAVIOURS:
            store = MemoryS3(behaviour=behaviour, min_part_size=1)
            options = dict(store.settings_kwargs())
            if self.place == "served":
                proxy = await self._exits.enter_async_context(FaultProxy(store))
                session = await self._session({**options, "endpoint_url": proxy.url}, PART)
                self._sessions.append((session, proxy.faults, store))
            else:
                session = await self._session(options, PART)
                await store.attach(session)
                self._sessions.append((session, store.faults, store))

    async def _session(self, options: Mapping[str, Any], part: int) -> StorageSession:
        made = StorageSettings(**options, fast_path=self.fast_path, retry_mode="standard")
        sized = made.model_copy(update={"part_size": part, "multipart_threshold": part})
        return await self._exits.enter_async_context(StorageSession(sized))


async def _bucket(session: StorageSession, name: str) -> Bucket:
    return session.bucket(name)


def _sent(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body or None, dict(headers))
        reply = connection.getresponse()
        data = reply.read()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data
    finally:
        connection.close()
