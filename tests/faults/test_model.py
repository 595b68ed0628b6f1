"""A state machine: any sequence of calls, with a fault now and then, leaves what a plain dict says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from greenlang_async_storage import (
    ObjectInfo,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    UploadItem,
    _retry,
)
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.faults import BUCKET, FULL, MIB, PART, Lab, laboratory

T = TypeVar("T")
NOISE = bytes(range(251)) * (2 * MIB // 251 + 1)
KEYS = st.sampled_from(["a", "a/b", "a/b/c", "a-b", "b", "b/ü", "c d+e", "t1/x", "t10/x"])
SIZES = st.sampled_from([0, 1, 7, 1000, MIB, PART - 1, PART, PART + 1, 2 * PART + 3])
BREAKS = st.sampled_from(
    [
        Fault("*", 1, "connect", "reset"),
        Fault("*", 1, "unforwarded", "replace", status=503, code="SlowDown"),
        Fault("*", 1, "unforwarded", "replace", status=500, code="InternalError"),
        Fault("*", 1, "withheld", "reset"),
        Fault("*", 1, "reply_head", "close"),
        Fault("*", 1, "reply_body", "reset", at=3),
        Fault("UploadPart", 1, "request_body", "flip", at=5),
        Fault("GetObject", 1, "reply_body", "flip", at=5),
    ]
)


def content(seed: int, size: int) -> bytes:
    """*size* bytes, others for another *seed*."""
    rotated = NOISE[seed % 251 :] + NOISE
    return (rotated * (size // len(rotated) + 1))[:size]


class BucketModel(RuleBasedStateMachine):
    """One `Bucket` on the in-memory store, and the dict it must agree with."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.folder = Path(self.exits.enter_context(TemporaryDirectory()))
        self.lab: Lab

    def run(self, work: Awaitable[T]) -> T:
        """The result of *work* in the machine's own loop."""

        async def main() -> T:
            return await work

        return self.runner.run(main())

    @initialize(behaviour=st.sampled_from(["aws", "minio", "moto"]))
    def open(self, behaviour: str) -> None:
        """A fresh store and session."""
        store = MemoryS3(behaviour=behaviour)  # type: ignore[arg-type]
        self.lab = self.run(self.exits.enter_async_context(laboratory(store=store, retry_mode="standard")))

    def teardown(self) -> None:
        """Close, which looks for whatever was left."""
        try:
            self.run(self.exits.aclose())
        finally:
            self.runner.close()

    @rule(fault=BREAKS)
    def something_breaks(self, fault: Fault) -> None:
        """One fault of the kind a caller never hears of waits for the next request."""
        self.lab.plan(fault)

    @rule(key=KEYS, size=SIZES, seed=st.integers(0, 250))
    def upload_bytes(self, key: str, size: int, seed: int) -> None:
        self.stored(key, content(seed, size), self.lab.lake.upload_bytes(key, content(seed, size)))

    @rule(key=KEYS, size=SIZES, seed=st.integers(0, 250))
    def upload_stream(self, key: str, size: int, seed: int) -> None:
        data = content(seed, size)
        chunks = [data[at : at + MIB] for at in range(0, size, MIB)]
        self.stored(key, data, self.lab.lake.upload_stream(key, chunks, part_size=PART))

    @rule(key=KEYS, size=SIZES, seed=st.integers(0, 250))
    def upload_file(self, key: str, size: int, seed: int) -> None:
        data = content(seed, size)
        (self.folder / "source").write_bytes(data)
        self.stored(key, data, self.lab.lake.upload_file(key, self.folder / "source", part_size=PART))

    def stored(self, key: str, data: bytes, work: Awaitable[object]) -> None:
        """A write that has to succeed."""
        result = self.run(work)
        self.model[key], self.etags[key] = data, str(getattr(result, "etag", ""))

    @rule(key=KEYS, size=SIZES, seed=st.integers(0, 250))
    def create_only(self, key: str, size: int, seed: int) -> None:
        data = content(seed, size)
        work = self.lab.lake.upload_bytes(key, data, if_none_match=True)
        if key in self.model:
            with pytest.raises(S3PreconditionFailedError):
                self.run(work)
        else:
            self.stored(key, data, work)

    @rule(key=KEYS, seed=st.integers(0, 250), right=st.booleans())
    def compare_and_swap(self, key: str, seed: int, right: bool) -> None:
        data = content(seed, 1000)
        etag = self.etags.get(key, "none") if right else "0" * 32
        work = self.lab.lake.upload_bytes(key, data, if_match=etag)
        if right and key in self.model:
            self.stored(key, data, work)
        else:
            with pytest.raises((S3PreconditionFailedError, S3NotFoundError)):
                self.run(work)

    @rule(key=KEYS)
    def download(self, key: str) -> None:
        if key in self.model:
            assert self.run(self.lab.lake.download_bytes(key)) == self.model[key]
            path = self.folder / "target"
            self.run(self.lab.lake.download_file(key, path, part_size=PART))
            assert path.read_bytes() == self.model[key]
        else:
            with pytest.raises(S3NotFoundError):
                self.run(self.lab.lake.download_bytes(key))

    @rule(key=KEYS, start=st.integers(0, 2 * PART), length=st.integers(1, PART))
    def download_range(self, key: str, start: int, length: int) -> None:
        if key not in self.model:
            return
        work = self.lab.lake.download_bytes(key, range=(start, start + length))
        if start < len(self.model[key]):
            assert self.run(work) == self.model[key][start : start + length]
        else:
            with pytest.raises(S3InvalidRequestError):
                self.run(work)

    @rule(key=KEYS)
    def head(self, key: str) -> None:
        assert self.run(self.lab.lake.exists(key)) is (key in self.model)
        if key in self.model:
            info = self.run(self.lab.lake.head(key))
            assert (info.size, info.etag) == (len(self.model[key]), self.etags[key])

    @rule(source=KEYS, destination=KEYS, move=st.booleans())
    def copy(self, source: str, destination: str, move: bool) -> None:
        if source == destination:
            return
        lake = self.lab.lake
        work = lake.move(source, destination) if move else lake.copy(source, destination)
        if source not in self.model:
            with pytest.raises(S3NotFoundError):
                self.run(work)
            return
        self.stored(destination, self.model[source], work)
        if move:
            del self.model[source], self.etags[source]

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.run(self.lab.lake.delete(key))
        self.model.pop(key, None)

    @rule(keys=st.lists(KEYS, unique=True, min_size=1))
    def delete_many(self, keys: list[str]) -> None:
        report = self.run(self.lab.lake.delete_many(keys))
        assert report.failed == []
        for key in keys:
            self.model.pop(key, None)

    @rule(keys=st.lists(KEYS, unique=True, min_size=1), seed=st.integers(0, 250))
    def upload_many(self, keys: list[str], seed: int) -> None:
        items = [UploadItem(key, content(seed, 1000)) for key in keys]
        report = self.run(self.lab.lake.upload_many(items))
        report.raise_for_errors()
        for outcome in report.succeeded:
            assert outcome.result is not None
            self.model[outcome.key], self.etags[outcome.key] = content(seed, 1000), outcome.result.etag

    @rule(prefix=st.sampled_from(["", "a", "a/", "t1", "t1/", "none"]), page_size=st.integers(1, 4))
    def listing(self, prefix: str, page_size: int) -> None:
        async def collect() -> list[ObjectInfo]:
            return [found async for found in self.lab.lake.list_objects(prefix, page_size=page_size)]

        expected = sorted((key for key in self.model if key.startswith(prefix)), key=str.encode)
        found = self.run(collect())
        assert [info.key for info in found] == expected
        assert [info.size for info in found] == [len(self.model[key]) for key in expected]

    @rule(tenant=st.sampled_from(["t1", "t10"]))
    def tenants(self, tenant: str) -> None:
        async def collect() -> list[str]:
            return [found.key async for found in self.lab.lake.scoped(tenant).list_objects()]

        expected = [key.removeprefix(f"{tenant}/") for key in self.model if key.startswith(f"{tenant}/")]
        assert self.run(collect()) == expected

    @rule(key=KEYS)
    def a_failure_changes_nothing(self, key: str) -> None:
        """A write that is refused for good leaves the object, and says `not_applied`."""
        self.lab.plan(Fault("*", 0, "unforwarded", "replace", status=403, code="AccessDenied"))
        with pytest.raises(S3Error) as caught:
            self.run(self.lab.lake.upload_bytes(key, b"refused"))
        assert caught.value.outcome == "not_applied"
        self.lab.plan()

    @invariant()
    def the_store_agrees(self) -> None:
        """The store holds what the dict holds, and nothing is in flight or open."""
        if not hasattr(self, "lab"):
            return
        store = self.lab.store
        assert {key: store.get(BUCKET, key) for key in store.keys(BUCKET)} == self.model
        allowed = self.lab.session.statistics().possible_orphans
        uploads = store.open_uploads(BUCKET)
        assert len(uploads) <= allowed, "an upload was left open, uncounted"
        for key, upload_id in uploads:
            store.handle("DELETE", f"/{BUCKET}/{key}?uploadId={upload_id}", {}, b"")
        self.lab.assert_at_rest()


@pytest.mark.timeout(3600 if FULL else 300)
def test_a_bucket_is_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 histories of 50 steps in the long form, some in the short one: no divergence."""
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(_retry.RetryPolicy, "pause", lambda *_: 0.0)
    run_state_machine_as_test(
        BucketModel,
        settings=settings(
            max_examples=2_000 if FULL else 12,
            stateful_step_count=50 if FULL else 30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
