"""A cancel at every await of every public coroutine: in the caller, in the tasks it starts, once, twice."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from greenlang_async_storage import S3Error, UploadItem
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.cancel import CancelAt, cancel_everywhere
from tests.support.faults import BUCKET, FULL, PART, Lab, laboratory
from tests.test_api import CONTEXTS, COROUTINES, ITERATORS

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900 if FULL else 120)]

SMALL = b"0123456789" * 10
LARGE = bytes(range(256)) * (PART // 256) + SMALL
OLD = b"old"
KNOWN: set[str] = set()
"""Uploads a caller was given, and has to abort."""
Work = Callable[[Lab, Path], Awaitable[object]]


async def _pieces() -> AsyncIterator[bytes]:
    yield LARGE[:PART]
    yield LARGE[PART:]


async def _upload_file(lab: Lab, folder: Path) -> None:
    await lab.lake.upload_file("key", folder / "source", part_size=PART)


async def _resumed(lab: Lab, folder: Path) -> None:
    await lab.lake.download_file("large", folder / "target", part_size=PART)


async def _open_download(lab: Lab, _: Path) -> None:
    async with lab.lake.open_download("large") as body:
        async for _piece in body:
            pass


async def _listing(lab: Lab, _: Path) -> None:
    _found = [found async for found in lab.lake.list_objects(page_size=1)]


async def _versions(lab: Lab, _: Path) -> None:
    _found = [found async for found in lab.lake.list_versions()]


async def _prefixes(lab: Lab, _: Path) -> None:
    _found = [found async for found in lab.lake.list_prefixes()]


async def _stream_uploads(lab: Lab, _: Path) -> None:
    items = [UploadItem("key", SMALL), UploadItem("many/1", SMALL)]
    async with lab.lake.stream_uploads(items, concurrency=2) as outcomes:
        async for _outcome in outcomes:
            pass


async def _stream_downloads(lab: Lab, folder: Path) -> None:
    async with lab.lake.stream_downloads(["small"], folder / "down", concurrency=2) as outcomes:
        async for _outcome in outcomes:
            pass


async def _multipart(lab: Lab, _: Path) -> None:
    upload = await lab.lake.create_multipart("key")
    KNOWN.add(upload.upload_id)
    await lab.lake.presign_part(upload, 1)
    await lab.lake.list_parts(upload)
    await lab.lake.abort_multipart(upload)


async def _probe(lab: Lab, _: Path) -> None:
    await lab.session.probe(BUCKET)


READS: dict[str, Work] = {
    "download_bytes": lambda lab, _: lab.lake.download_bytes("large"),
    "download_json": lambda lab, _: lab.lake.download_json("json"),
    "download_file": _resumed,
    "open_download": _open_download,
    "head": lambda lab, _: lab.lake.head("small"),
    "exists": lambda lab, _: lab.lake.exists("small"),
    "get_tags": lambda lab, _: lab.lake.get_tags("small"),
    "list_objects": _listing,
    "list_prefixes": _prefixes,
    "list_versions": _versions,
    "presign_download": lambda lab, _: lab.lake.presign_download("small"),
    "presign_upload": lambda lab, _: lab.lake.presign_upload("small", content_type="a/b"),
    "presign_post": lambda lab, _: lab.lake.presign_post("small", content_type="a/b", max_size=1),
    "download_many": lambda lab, folder: lab.lake.download_many(["small", "json"], folder / "many"),
    "stream_downloads": _stream_downloads,
    "check": lambda lab, _: lab.session.check(),
}
WRITES: dict[str, Work] = {
    "upload_bytes": lambda lab, _: lab.lake.upload_bytes("key", SMALL),
    "upload_bytes in parts": lambda lab, _: lab.lake.upload_bytes("key", LARGE),
    "upload_json": lambda lab, _: lab.lake.upload_json("key", {"a": 1}),
    "upload_file": _upload_file,
    "upload_stream": lambda lab, _: lab.lake.upload_stream("key", _pieces(), part_size=PART),
    "upload_many": lambda lab, _: lab.lake.upload_many([UploadItem("key", SMALL), UploadItem("key2", SMALL)]),
    "stream_uploads": _stream_uploads,
    "copy": lambda lab, _: lab.lake.copy("small", "key"),
    "set_tags": lambda lab, _: lab.lake.set_tags("small", {"a": "1"}),
    "delete_many": lambda lab, _: lab.lake.delete_many(["gone", "none"]),
    "delete": lambda lab, _: lab.lake.delete("gone"),
    "multipart": _multipart,
    "abort_stale_uploads": lambda lab, _: lab.lake.abort_stale_uploads(older_than=timedelta(days=1)),
    "ensure_buckets": lambda lab, _: lab.session.ensure_buckets(),
}
if FULL:
    WRITES["probe"] = _probe
EVERY = READS | WRITES


def seeded() -> MemoryS3:
    """A store with something to read, to overwrite and to delete."""
    store = MemoryS3()
    store.create_bucket(BUCKET)
    contents = {"small": SMALL, "large": LARGE, "json": b"{}", "key": OLD, "gone": SMALL, "a/b": b""}
    for key, data in contents.items():
        store.put(BUCKET, key, data)
    return store


async def checked(lab: Lab, folder: Path, *, counted: bool = False) -> None:
    """At rest; the old object or the whole new one; the old file or none; and the client still in step."""
    orphans = lab.session.statistics().possible_orphans
    uploads = lab.check.open_uploads()
    assert counted or orphans == 0
    for key, upload_id in uploads:
        if upload_id in KNOWN or (counted and len(uploads) <= orphans):
            lab.store.handle("DELETE", f"/{BUCKET}/{key}?uploadId={upload_id}", {}, b"")
    lab.assert_at_rest()
    assert lab.check.content("key") in {OLD, SMALL, LARGE, b'{"a":1}', b'{"a": 1}'}
    for path in [folder / "target", *(folder / "many").glob("*"), *(folder / "down").glob("*")]:
        if path.exists():
            assert path.read_bytes() in {LARGE, SMALL, b"{}"}
            assert not path.name.startswith(".")
    assert [path for path in folder.rglob("*") if path.name.endswith(".part")] == []
    assert await lab.lake.download_bytes("small") == SMALL
    for key, data in (("key", OLD), ("gone", SMALL)):
        lab.store.put(BUCKET, key, data)


@pytest.mark.parametrize("again_after", [0, 1, 2] if FULL else [0, 1])
@pytest.mark.parametrize("name", EVERY)
async def test_cancelled_at_every_await(tmp_path: Path, name: str, again_after: int) -> None:
    """CancelledError each time, nothing left, nothing half; a second cancel changes nothing."""
    (tmp_path / "source").write_bytes(LARGE)
    async with laboratory(store=seeded()) as lab:
        points = await cancel_everywhere(
            lambda: EVERY[name](lab, tmp_path), lambda: checked(lab, tmp_path), again_after=again_after
        )
        assert points >= (0 if name.startswith("presign") else 1)


async def test_every_public_coroutine_is_there() -> None:
    """A coroutine added to `Bucket` is cancelled here too."""
    inside_multipart = {"create_multipart", "presign_part", "list_parts", "abort_multipart"}
    # Complete and move are made of calls cancelled here, and tested on servers where they are implemented.
    elsewhere = {"complete_multipart", "move"}
    assert {*COROUTINES, *ITERATORS, *CONTEXTS} - inside_multipart - elsewhere <= set(EVERY)


class ChildCancels:
    """A task factory that cancels the n-th await among all tasks a call starts, not those of the caller."""

    def __init__(self) -> None:
        self.point = 0
        self.seen = 0
        self._inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)

    def inside(self, point: int) -> None:
        """From here on tasks belong to the call, and the *point*-th of their awaits is cancelled."""
        self.point, self.seen = point, 0
        self._inside.set(True)

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # A clean-up has a task of its own so that no cancel reaches it.
        if self._inside.get() and coro.__qualname__ != "_perform":
            coro = self._counted(coro)
        return asyncio.Task(coro, loop=loop, **options)

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await _Shared(work, self)


class _Shared(CancelAt[Any]):
    """Counts together with its siblings."""

    def __init__(self, work: Awaitable[Any], counter: ChildCancels) -> None:
        super().__init__(work)
        self._counter = counter

    def __await__(self) -> Any:
        steps, value, failure = self._work.__await__(), None, None
        while True:
            try:
                waits_for = steps.throw(cast("BaseException", failure)) if failure else steps.send(value)
            except StopIteration as end:
                return end.value
            value = failure = None
            self._counter.seen += 1
            if self._counter.seen == self._counter.point:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waits_for
            except BaseException as exc:  # noqa: BLE001  # it belongs to the work
                failure = exc


CHILDREN = ["upload_bytes in parts", "upload_file", "upload_stream", "upload_many", "download_file"]


@pytest.mark.parametrize("name", ["upload_bytes in parts", "upload_file", "upload_stream"])
async def test_a_part_that_ends_in_a_cancel_is_no_success(tmp_path: Path, name: str) -> None:
    """
    CancelledError out of one part, as a thread pool raises it when it is shut down, never makes an object
    without that part.
    """
    (tmp_path / "source").write_bytes(LARGE)

    def cancelled() -> None:
        raise asyncio.CancelledError

    async with laboratory(store=seeded()) as lab:
        lab.faults.hooks["cancelled"] = cancelled
        lab.plan(Fault("UploadPart", 2, "unforwarded", "hook", hook="cancelled"))
        with contextlib.suppress(asyncio.CancelledError, S3Error):
            await EVERY[name](lab, tmp_path)
        assert lab.check.content("key") in {OLD, LARGE}


@pytest.mark.parametrize("name", CHILDREN)
async def test_a_child_cancelled_at_every_await(tmp_path: Path, name: str) -> None:
    """A stray cancel inside a call ends it or is survived; it never hangs, leaks or stores half an object."""
    (tmp_path / "source").write_bytes(LARGE)
    loop = asyncio.get_running_loop()
    async with laboratory(store=seeded()) as lab:
        cancels = ChildCancels()
        untyped: list[str] = []

        async def attempt(point: int) -> None:
            cancels.inside(point)
            async with asyncio.timeout(20):
                await EVERY[name](lab, tmp_path)

        before = loop.get_task_factory()
        loop.set_task_factory(cast("Any", cancels))
        try:
            for point in range(1, 500):
                # The attempt's own task is the caller's; what it starts are the children.
                ended = asyncio.Task(attempt(point), loop=loop)
                await asyncio.wait([ended])
                # A stray cancel of Create itself may leave an upload nobody has the id of: counted.
                await checked(lab, tmp_path, counted=True)
                if not ended.cancelled() and (error := ended.exception()) is not None:
                    untyped += [] if isinstance(error, S3Error) else [repr(error)]
                if cancels.seen < point:
                    break
            else:
                raise AssertionError("still not done after 500 awaits")
        finally:
            loop.set_task_factory(before)
        assert point > 1
        assert untyped == []
