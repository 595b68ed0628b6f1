"""A session on the in-memory store, its faults, a checker that asks the store itself, leak checks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from greenlang_async_storage import Bucket, StorageSession, StorageSettings
from greenlang_async_storage.testing import Fault, FaultPlan, FaultProxy, MemoryS3
from tests.support import leaks

MIB = 1024 * 1024
PART = 5 * MIB
BUCKET = "lake"
FULL = os.environ.get("GREENLANG_FAULTS") == "full"
"""`GREENLANG_FAULTS=full`: the long forms, for a nightly run."""
Door = Literal["direct", "served"]


class Checker(Protocol):
    """What the store holds, asked without the SDK and without a proxy."""

    def content(self, key: str) -> bytes | None:
        """The bytes under *key*; `None` when there is no object."""
        ...

    def metadata(self, key: str) -> dict[str, str] | None:
        """Its user metadata."""
        ...

    def open_uploads(self) -> list[tuple[str, str]]:
        """Key and id of every open multipart upload."""
        ...

    def versions(self, key: str) -> int:
        """How many versions and delete markers *key* has."""
        ...


@dataclass
class MemoryChecker:
    """Looks into a `MemoryS3`."""

    store: MemoryS3
    bucket: str = BUCKET

    def content(self, key: str) -> bytes | None:
        return self.store.get(self.bucket, key)

    def metadata(self, key: str) -> dict[str, str] | None:
        return self.store.metadata(self.bucket, key)

    def open_uploads(self) -> list[tuple[str, str]]:
        return self.store.open_uploads(self.bucket)

    def versions(self, key: str) -> int:
        return len(self.store.versions(self.bucket, key))


@dataclass
class ServerChecker:
    """
    Asks a server with a plain blocking client.

    MinIO lists uploads by exact key only: *keys* are those a test writes to.
    """

    client: Any
    bucket: str
    keys: tuple[str, ...]

    def content(self, key: str) -> bytes | None:
        try:
            reply = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        return bytes(reply["Body"].read())

    def metadata(self, key: str) -> dict[str, str] | None:
        return dict(self.client.head_object(Bucket=self.bucket, Key=key)["Metadata"])

    def open_uploads(self) -> list[tuple[str, str]]:
        found = []
        for key in self.keys:
            listed = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key).get("Uploads", [])
            found += [(upload["Key"], upload["UploadId"]) for upload in listed]
        return found

    def versions(self, key: str) -> int:
        listed = self.client.list_object_versions(Bucket=self.bucket, Prefix=key)
        entries = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
        return sum(entry["Key"] == key for entry in entries)


@dataclass
class Lab:
    """One session on one in-memory store, through its HTTP session or through a proxy with the fast path."""

    store: MemoryS3
    session: StorageSession
    lake: Bucket
    faults: FaultPlan
    check: MemoryChecker
    proxy: FaultProxy | None = None

    def plan(self, *faults: Fault) -> None:
        """What goes wrong from now on."""
        self.faults.plan(*faults)

    def count(self, operation: str) -> int:
        """Requests of *operation* that went over the wire so far."""
        return self.faults.count(operation)

    def assert_at_rest(self) -> None:
        """No slot, body, clean-up, waiting call or multipart upload is left."""
        statistics = self.session.statistics()
        left = statistics.in_flight, statistics.pool_waiting, statistics.cleanups_pending
        assert left == (0, 0, 0), f"in flight, waiting, cleaning up: {left}"
        assert self.store.open_bodies == 0, "a body was neither read nor closed"
        assert self.check.open_uploads() == [], "an upload was left open"


@asynccontextmanager
async def laboratory(
    door: Door = "direct", *, store: MemoryS3 | None = None, **settings: Any
) -> AsyncIterator[Lab]:
    """A `Lab` whose bucket is `BUCKET`; at its end nothing may be left."""
    store = store or MemoryS3()
    store.create_bucket(BUCKET)
    before = asyncio.all_tasks()
    options: dict[str, Any] = {
        **store.settings_kwargs(),
        "data_lake_bucket": BUCKET,
        "part_size": PART,
        "multipart_threshold": PART,
        "attempt_timeout": 20,
        **settings,
    }
    async with AsyncExitStack() as stack:
        proxy = None
        if door == "served":
            proxy = await stack.enter_async_context(FaultProxy(store))
            session = StorageSession(StorageSettings(**{**options, "endpoint_url": proxy.url}))
            await stack.enter_async_context(session)
        else:
            session = await stack.enter_async_context(store.open_session(StorageSettings(**options)))
        faults = store.faults if proxy is None else proxy.faults
        lab = Lab(store, session, session.data_lake, faults, MemoryChecker(store), proxy)
        with no_unraisable():
            yield lab
            lab.assert_at_rest()
    left = await leaks.tasks_left(before)
    assert left == [], f"tasks left running: {left}"


@contextmanager
def no_unraisable() -> Iterator[None]:
    """Fail on exceptions nobody could catch: in `__del__`, in callbacks, in tasks nobody awaited."""
    found: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda args: found.append(f"{args.exc_value!r} in {args.object!r}")
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: found.append(str(context)))
    try:
        yield
    finally:
        sys.unraisablehook = before
        loop.set_exception_handler(handler)
    assert not found, f"exceptions nobody could catch: {found}"
