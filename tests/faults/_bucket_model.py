"""A state machine: any sequence of calls, with a fault now and then, leaves what a plain dict says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3Error,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    UploadedPart,
    UploadItem,
)
from greenlang_async_storage.testing import Fault
from tests.faults._model_worlds import PART, Bench, Ground

T = TypeVar("T")
NOISE: Final = bytes(range(251)) * 60
PREFIXES: Final = ("", "t1/", "t10/")
VIEWS = st.sampled_from(PREFIXES)
"""The whole bucket, and two tenants whose names begin alike."""
KEYS = st.sampled_from(["a/b", "a-b", "b/ü", "c d+e"])
SEEDS = st.integers(0, 250)
SIZES = st.sampled_from([0, 1, 7, 1000, PART - 1, PART, PART + 1, 2 * PART + 3, 4 * PART])
BREAKS = st.sampled_from(
    [
        Fault("*", 1, "connect", "reset"),
        Fault("*", 1, "unforwarded", "replace", status=503, code="SlowDown"),
        Fault("*", 1, "unforwarded", "replace", status=500, code="InternalError"),
        Fault("*", 2, "unforwarded", "reset"),
        Fault("*", 1, "withheld", "reset"),
        Fault("*", 2, "withheld", "reset"),
        Fault("*", 1, "reply_head", "close"),
        Fault("*", 1, "reply_body", "reset", at=3),
        Fault("UploadPart", 1, "request_body", "flip", at=5),
        Fault("PutObject", 1, "request_body", "flip", at=5),
        Fault("GetObject", 1, "reply_body", "flip", at=5),
        Fault("CompleteMultipartUpload", 1, "withheld", "reset"),
    ]
)


def content(seed: int, size: int) -> bytes:
    """*size* bytes, others for another *seed*."""
    rotated = NOISE[seed % 251 :] + NOISE
    return (rotated * (size // len(rotated) + 1))[:size]


class BucketModel(RuleBasedStateMachine):
    """An empty bucket on some ground, and the dict it must agree with."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.ground: Ground = bench.ground()
        self.model: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.unsummed: set[str] = set()
        """Keys of what others sent without a checksum: not every store adds one to compare a read with."""
        self.folder = TemporaryDirectory(dir=bench.folder)
        self.steps = 0

    def run(self, work: Awaitable[T]) -> T:
        """The result of *work* in the bench's own loop."""
        return self.bench.run(work)

    def lake(self, view: str) -> Bucket:
        """The bucket, or a tenant's part of it."""
        return self.ground.lake.scoped(view) if view else self.ground.lake

    def path(self, name: str) -> Path:
        """A file of this run."""
        return Path(self.folder.name) / name

    def teardown(self) -> None:
        """Compare every byte, and forget the bucket."""
        try:
            self.ground.plan()
            assert self.run(self.ground.contents()) == self.model
            self.bench.told(self.steps)
        finally:
            self.run(self.ground.aclose())
            self.folder.cleanup()

    @rule(fault=BREAKS)
    def something_breaks(self, fault: Fault) -> None:
        """One fault of the kind a caller never hears of waits for the requests that come."""
        self.ground.plan(fault)

    @rule(view=VIEWS, key=KEYS, size=SIZES, seed=SEEDS, how=st.sampled_from(["bytes", "stream", "file"]))
    def upload(self, view: str, key: str, size: int, seed: int, how: str) -> None:
        data, lake = content(seed, self.ground.scaled(size)), self.lake(view)
        if how == "bytes":
            work = lake.upload_bytes(key, data)
        elif how == "stream":
            chunks = [data[at : at + 700_000] for at in range(0, len(data), 700_000)]
            work = lake.upload_stream(key, chunks, part_size=self.ground.part)
        else:
            self.path("source").write_bytes(data)
            work = lake.upload_file(key, self.path("source"), part_size=self.ground.part)
        self.stored(view + key, data, work)

    def stored(self, full: str, data: bytes, work: Awaitable[object]) -> None:
        """A write that has to succeed."""
        self.keep(full, data, str(getattr(self.run(work), "etag", "")))

    def keep(self, full: str, data: bytes, etag: str, *, summed: bool = True) -> None:
        """What is there from now on."""
        self.model[full], self.etags[full] = data, etag
        self.unsummed.discard(full)
        if not summed:
            self.unsummed.add(full)

    @rule(view=VIEWS, key=KEYS, size=SIZES, seed=SEEDS)
    def create_only(self, view: str, key: str, size: int, seed: int) -> None:
        data = content(seed, self.ground.scaled(size))
        work = self.lake(view).upload_bytes(key, data, if_none_match=True)
        if view + key in self.model:
            with pytest.raises(S3PreconditionFailedError):
                self.run(work)
        else:
            self.stored(view + key, data, work)

    @rule(view=VIEWS, key=KEYS, seed=SEEDS, right=st.booleans())
    def compare_and_swap(self, view: str, key: str, seed: int, right: bool) -> None:
        data, full = content(seed, 1000), view + key
        etag = self.etags.get(full, "none") if right else "0" * 32
        work = self.lake(view).upload_bytes(key, data, if_match=etag)
        if right and full in self.model:
            self.stored(full, data, work)
        else:
            with pytest.raises((S3PreconditionFailedError, S3NotFoundError)):
                self.run(work)

    @rule(view=VIEWS, key=KEYS, as_file=st.booleans())
    def download(self, view: str, key: str, as_file: bool) -> None:
        lake, path = self.lake(view), self.path("target")
        path.unlink(missing_ok=True)
        part = self.ground.part
        work: Awaitable[object] = (
            lake.download_file(key, path, part_size=part) if as_file else lake.download_bytes(key)
        )
        if view + key in self.model:
            if view + key in self.unsummed:
                self.ground.plan_without("flip")
            found = self.run(work)
            assert (path.read_bytes() if as_file else found) == self.model[view + key]
        else:
            with pytest.raises(S3NotFoundError):
                self.run(work)
            assert not path.exists()

    @rule(view=VIEWS, key=KEYS, start=st.integers(0, 2 * PART), length=st.integers(1, PART))
    def download_range(self, view: str, key: str, start: int, length: int) -> None:
        data = self.model.get(view + key)
        if data is None:
            return
        # A range has no checksum it could be compared with.
        self.ground.plan_without("flip")
        work = self.lake(view).download_bytes(key, range=(start, start + length))
        if start < len(data):
            assert self.run(work) == data[start : start + length]
        else:
            with pytest.raises(S3InvalidRequestError):
                self.run(work)

    @rule(view=VIEWS, key=KEYS)
    def head(self, view: str, key: str) -> None:
        full = view + key
        if full not in self.model:
            assert self.run(self.lake(view).exists(key)) is False
            return
        info = self.run(self.lake(view).head(key))
        assert (info.key, info.size, info.etag) == (key, len(self.model[full]), self.etags[full])

    @rule(view=VIEWS, source=KEYS, destination=KEYS, move=st.booleans())
    def copy(self, view: str, source: str, destination: str, move: bool) -> None:
        if source == destination:
            return
        lake = self.lake(view)
        work = lake.move(source, destination) if move else lake.copy(source, destination)
        if view + source not in self.model:
            with pytest.raises(S3NotFoundError):
                self.run(work)
            return
        etag = str(getattr(self.run(work), "etag", ""))
        summed = view + source not in self.unsummed
        self.keep(view + destination, self.model[view + source], etag, summed=summed)
        if move:
            del self.model[view + source], self.etags[view + source]

    @rule(view=VIEWS, keys=st.lists(KEYS, unique=True, min_size=1), many=st.booleans())
    def delete(self, view: str, keys: list[str], many: bool) -> None:
        if many:
            assert self.run(self.lake(view).delete_many(keys)).failed == []
        else:
            self.run(self.lake(view).delete(keys[0]))
        for key in keys if many else keys[:1]:
            self.model.pop(view + key, None)

    @rule(view=VIEWS, keys=st.lists(KEYS, unique=True, min_size=1), seed=SEEDS)
    def upload_many(self, view: str, keys: list[str], seed: int) -> None:
        items = [UploadItem(key, content(seed, 1000)) for key in keys]
        report = self.run(self.lake(view).upload_many(items))
        report.raise_for_errors()
        for outcome in report.succeeded:
            assert outcome.result is not None
            full = view + outcome.key
            self.keep(full, content(seed, 1000), outcome.result.etag)

    @rule(view=VIEWS, prefix=st.sampled_from(["", "a", "a/", "t1", "t1/"]), page_size=st.integers(1, 4))
    def listing(self, view: str, prefix: str, page_size: int) -> None:
        async def collect() -> list[ObjectInfo]:
            return [found async for found in self.lake(view).list_objects(prefix, page_size=page_size)]

        expected = sorted((key for key in self.model if key.startswith(view + prefix)), key=str.encode)
        found = self.run(collect())
        assert [view + info.key for info in found] == expected
        assert [info.size for info in found] == [len(self.model[key]) for key in expected]

    @rule(view=VIEWS, key=KEYS, seed=SEEDS, complete=st.booleans(), once=st.booleans())
    def multipart(self, view: str, key: str, seed: int, complete: bool, once: bool) -> None:
        """Parts a browser sends with signed requests; then completed, or given up."""
        lake, data = self.lake(view), content(seed, self.ground.part + 9)
        upload = self.run(lake.create_multipart(key))
        parts = []
        for number, piece in enumerate((data[: self.ground.part], data[self.ground.part :]), 1):
            signed = self.run(lake.presign_part(upload, number))
            status, headers, _ = self.run(self.ground.send("PUT", signed, {}, piece))
            assert status == 200
            parts.append(UploadedPart(number, headers["etag"].strip('"'), len(piece)))
        assert [part.etag for part in self.run(lake.list_parts(upload))] == [part.etag for part in parts]
        work = lake.complete_multipart(upload, parts, if_none_match=once)
        if complete and not (once and view + key in self.model):
            self.keep(view + key, data, self.run(work).etag, summed=False)
            return
        if complete:
            with pytest.raises(S3PreconditionFailedError):
                self.run(work)
        else:
            work.close()
        self.run(lake.abort_multipart(upload))

    @rule(view=VIEWS, key=KEYS, seed=SEEDS)
    def presigned(self, view: str, key: str, seed: int) -> None:
        """What others send and get with signed requests is what calls of ours see, and the reverse."""
        lake, data = self.lake(view), content(seed, 500)
        link = self.run(lake.presign_download(key))
        status, _, body = self.run(self.ground.send("GET", link, {}, b""))
        if view + key in self.model:
            assert (status, body) == (200, self.model[view + key])
        else:
            assert status == 404
        form = self.run(lake.presign_upload(key, content_type="text/csv", content_length=len(data)))
        status, headers, _ = self.run(self.ground.send("PUT", form.url, dict(form.headers), data))
        assert status == 200
        self.keep(view + key, data, headers["etag"].strip('"'), summed=False)

    @rule(
        view=st.sampled_from(PREFIXES[1:]), key=st.sampled_from(["../t10/a-b", "../a-b", "x/../../a-b", ""])
    )
    def no_way_out(self, view: str, key: str) -> None:
        """A tenant's keys never leave its prefix; nothing is sent."""
        with pytest.raises(S3InvalidRequestError):
            self.run(self.lake(view).download_bytes(key))
        with pytest.raises(S3InvalidRequestError):
            self.run(self.lake(view).upload_bytes(key, b"escaped"))

    @rule(view=VIEWS, key=KEYS)
    def a_failure_changes_nothing(self, view: str, key: str) -> None:
        """A write that is refused for good leaves the object, and says `not_applied`."""
        self.ground.plan(Fault("*", 0, "unforwarded", "replace", status=403, code="AccessDenied"))
        with pytest.raises(S3Error) as caught:
            self.run(self.lake(view).upload_bytes(key, b"refused"))
        assert caught.value.outcome == "not_applied"
        self.ground.plan()

    @invariant()
    def the_store_agrees(self) -> None:
        """The store holds what the dict holds, and nothing is in flight or open."""
        self.steps += 1
        self.run(self.ground.agrees(self.model))


def divergence(bench: Bench, *, runs: int, steps: int, seed: int | None = None, shrink: bool = False) -> str:
    """
    How the bucket and the dict came apart in one of *runs* histories; empty when they never did.

    With *shrink* in the shortest history that shows it, which takes minutes.
    """

    def machine() -> BucketModel:
        return BucketModel(bench)

    if seed is not None:
        machine._hypothesis_internal_use_seed = seed  # type: ignore[attr-defined]  # what @seed sets
    chosen: dict[str, Any] = {"derandomize": True} if seed is None else {"derandomize": False}
    phases = [phase for phase in Phase if shrink or phase is not Phase.shrink]
    checks = settings(
        phases=phases,
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **chosen,
    )
    run: Callable[..., None] = run_state_machine_as_test
    try:
        run(machine, settings=checks)
    except Exception as error:  # noqa: BLE001  # whatever it is, they came apart
        return f"{type(error).__name__}: {error} {' '.join(getattr(error, '__notes__', []))}"
    return ""
