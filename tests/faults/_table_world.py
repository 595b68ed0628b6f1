"""Where the cases of the table run: a store, a session on it, and a way to see what the store holds."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from unittest import mock
from urllib.parse import quote

from greenlang_async_storage import (
    MultipartUpload,
    StorageSession,
    StorageSettings,
    UploadedPart,
    _copy,
    _retry,
)
from greenlang_async_storage._chunks import _plan
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage._options import UPLOAD_TOKEN
from greenlang_async_storage.testing import FaultPlan, FaultProxy, MemoryS3
from tests.faults._table_scene import State, Thing
from tests.support.faults import BUCKET, Door

SMALL_PART: Final = 4096
"""Parts of the in-memory store, so that a case costs milliseconds."""
ATTEMPT: Final = 0.3
"""Seconds for one attempt, and before a silent body is given up."""
CALL: Final = 2.0
"""Seconds a request and its retries have where the call itself has no `timeout=`."""


def users_metadata(stored: Mapping[str, str], data: bytes) -> dict[str, str]:
    """What the user gave; a hash that is not that of *data* stays, to be noticed."""
    told = {name: value for name, value in stored.items() if name != UPLOAD_TOKEN}
    if told.get("content-hash") == hashlib.sha256(data).hexdigest():
        del told["content-hash"]
    return told


class World(Protocol):
    """One store behind one open session."""

    session: StorageSession
    part: int
    bucket: str
    pace: float
    """How much longer everything may take than in memory."""

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong on the way."""
        ...

    def reset(self, state: State, *, versioning: bool) -> Mapping[str, str]:
        """Make the store hold *state* and nothing else; the ETags by key."""
        ...

    def state(self) -> dict[str, Thing]:
        """Every object there is."""
        ...

    def overwrite(self, key: str, data: bytes) -> None:
        """Another writer's object."""
        ...

    def open_upload(self, key: str, *parts: bytes) -> tuple[MultipartUpload, list[UploadedPart]]:
        """An upload of another process."""
        ...

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of every open upload."""
        ...

    def drop_upload(self, key: str, upload_id: str) -> None:
        """Abort it."""
        ...

    def open_bodies(self) -> int:
        """Replies that were neither read nor closed, where the store can tell."""
        ...


@dataclass
class MemoryWorld:
    """An in-memory store, behind botocore's pipeline or behind a proxy and the fast path."""

    store: MemoryS3
    session: StorageSession
    faults: FaultPlan
    part: int = SMALL_PART
    bucket: str = BUCKET
    pace: float = 1.0

    def reset(self, state: State, *, versioning: bool) -> Mapping[str, str]:
        self.store._store.buckets.clear()
        self.store.create_bucket(BUCKET, versioning=versioning)
        for key, thing in state.items():
            if thing is not None:
                headers = {f"x-amz-meta-{name}": value for name, value in thing.metadata.items()}
                if thing.tags:
                    headers["x-amz-tagging"] = "&".join(f"{k}={v}" for k, v in thing.tags.items())
                self.store.put(BUCKET, key, thing.data, **headers)
        return {found.key: found.etag.strip('"') for found in self.store._store.bucket(BUCKET).objects()}

    def state(self) -> dict[str, Thing]:
        found = {}
        for version in self.store._store.bucket(BUCKET).objects():
            found[version.key] = Thing(
                version.data, dict(version.tags), users_metadata(version.metadata, version.data)
            )
        return found

    def overwrite(self, key: str, data: bytes) -> None:
        self.store.put(BUCKET, key, data)

    def open_upload(self, key: str, *parts: bytes) -> tuple[MultipartUpload, list[UploadedPart]]:
        self.store.handle("POST", f"/{BUCKET}/{key}?uploads", {}, b"")
        upload_id = self.store.open_uploads(BUCKET)[-1][1]
        made = []
        for number, data in enumerate(parts, 1):
            target = f"/{BUCKET}/{key}?partNumber={number}&uploadId={quote(upload_id)}"
            etag = self.store.handle("PUT", target, {}, data).headers["etag"]
            made.append(UploadedPart(number, etag.strip('"')))
        return MultipartUpload(BUCKET, key, upload_id), made

    def uploads(self) -> list[tuple[str, str]]:
        return self.store.open_uploads(BUCKET)

    def drop_upload(self, key: str, upload_id: str) -> None:
        self.store.handle("DELETE", f"/{BUCKET}/{key}?uploadId={quote(upload_id)}", {}, b"")

    def open_bodies(self) -> int:
        return self.store.open_bodies


def settings_of(
    endpoint: Mapping[str, Any], part: int, *, bucket: str = BUCKET, pace: float = 1.0
) -> StorageSettings:
    """Short deadlines; *part* may be below S3's minimum, which the store was told to forget."""
    attempt, call = pace * ATTEMPT, pace * CALL
    made = StorageSettings(
        **endpoint,
        data_lake_bucket=bucket,
        max_pool_connections=8,
        transfer_concurrency=3,
        connect_timeout=attempt,
        read_timeout=attempt,
        attempt_timeout=attempt,
        stall_timeout=attempt,
        call_timeout=call,
        pool_timeout=call,
        cleanup_timeout=attempt,
        retry_mode="standard",
    )
    return made.model_copy(update={"part_size": part, "multipart_threshold": part})


@asynccontextmanager
async def memory_world(door: Door, part: int = SMALL_PART) -> AsyncIterator[MemoryWorld]:
    """A store in memory: `direct` through botocore's pipeline, `served` through sockets and the fast path."""
    store = MemoryS3(min_part_size=1)
    store.create_bucket(BUCKET)
    endpoint: dict[str, Any] = dict(store.settings_kwargs())
    async with AsyncExitStack() as stack:
        if door == "direct":
            session = await stack.enter_async_context(store.open_session(settings_of(endpoint, part)))
            yield MemoryWorld(store, session, store.faults, part)
            return
        proxy = await stack.enter_async_context(FaultProxy(store))
        endpoint["endpoint_url"] = proxy.url
        session = await stack.enter_async_context(StorageSession(settings_of(endpoint, part)))
        yield MemoryWorld(store, session, proxy.faults, part)


@contextmanager
def small_parts(part: int = SMALL_PART) -> Iterator[None]:
    """Parts and copies as small as *part*, and retries that do not wait."""
    with ExitStack() as stack:
        for target, name, value in (
            (_plan, "MIN_PART_BYTES", min(part, _plan.MIN_PART_BYTES)),
            (_copy, "SINGLE_COPY_BYTES", 2 * part),
            (_copy, "COPY_PART_BYTES", part),
            (_retry.RetryPolicy, "pause", lambda *_: 0.0),
            (_abort, "LANDING_SECONDS", 0.0 if part == SMALL_PART else _abort.LANDING_SECONDS),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def refill_budget(session: StorageSession) -> None:
    """The retries of one case are not paid by the next."""
    engine: Any = session._require_connection()._engine
    engine._policy.budget.tokens = _retry.BUDGET
