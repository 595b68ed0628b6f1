"""Where calls are cancelled: a seeded store, a session with small parts, and what has to hold afterwards."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

from awscrt.checksums import crc64nvme

from greenlang_async_storage import _retry
from greenlang_async_storage._chunks import _plan
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support import leaks
from tests.support.faults import BUCKET, Door, Lab, laboratory

Behaviour = Literal["aws", "minio", "moto"]
PART: Final = 16 * 1024
SMALL: Final = b"0123456789" * 10
LARGE: Final = bytes(range(256)) * (2 * PART // 256) + SMALL
"""Three parts."""
OLD: Final = b"old"
MADE: Final = "made/"
"""What is below it was made by the call itself, and is forgotten after each."""
SEEDED: Final = {
    "small": SMALL,
    "large": LARGE,
    "json": b"{}",
    "key": OLD,
    "gone": SMALL,
    "moving": SMALL,
    "a/b": b"",
    "tree/one": SMALL,
    "tree/two": LARGE,
}
ALLOWED: Final = frozenset({OLD, SMALL, LARGE, b'{"a":1}', b'{"a": 1}'})

WEATHER: Final[dict[str, tuple[Fault, ...]]] = {
    "fair": (),
    "busy": (Fault("*", 1, "unforwarded", "replace", status=503, code="SlowDown"),),
    "refused": (Fault("*", 1, "connect", "reset"),),
    "reply lost": (Fault("*", 1, "withheld", "reset"),),
    "reply cut": (Fault("*", 1, "reply_body", "reset", at=3),),
    "bytes flipped": (
        Fault("GetObject", 1, "reply_body", "flip", at=5),
        Fault("UploadPart", 2, "request_body", "flip", at=5),
    ),
    "parts lost": (
        Fault("UploadPart", 1, "withheld", "reset"),
        Fault("UploadPart", 3, "unforwarded", "replace", status=500, code="InternalError"),
    ),
    "ends lost": (
        Fault("CompleteMultipartUpload", 1, "withheld", "reset"),
        Fault("AbortMultipartUpload", 1, "unforwarded", "replace", status=503, code="SlowDown"),
        Fault("DeleteObject", 1, "withheld", "reset"),
    ),
    "slow": (Fault("*", 0, "withheld", "delay"),),
}
"""What happens to requests meanwhile: nothing that an uncancelled call does not survive."""


def seeded(behaviour: Behaviour = "aws") -> MemoryS3:
    """
    A store with something to read, to overwrite, to move and to delete; all of it with a checksum.

    Not every store computes one of its own, and without it nobody can tell a flipped byte.
    """
    store = MemoryS3(behaviour=behaviour, min_part_size=1)
    store.create_bucket(BUCKET)
    for key, data in SEEDED.items():
        value = base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()
        store.put(BUCKET, key, data, x_amz_checksum_crc64nvme=value)
    return store


@dataclass
class Scene:
    """A laboratory, a folder, and the uploads the callers were given, which they have to abort."""

    lab: Lab
    folder: Path
    temporary: Path
    before: set[asyncio.Task[Any]]
    weather: str = "fair"
    given: set[str] = field(default_factory=set)
    door: Door = "direct"

    def begin(self, work: Callable[[Scene], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """*work* as `cancel_everywhere` takes it, each time in the same weather and with all its retries."""

        def start() -> Awaitable[object]:
            connection = self.lab.session._connection
            assert connection is not None
            connection._engine._policy.budget = _retry.RetryBudget()
            self.lab.faults.requests.clear()
            self.lab.plan(*WEATHER[self.weather])
            return work(self)

        return start

    async def check(self) -> None:
        """
        At rest; the old object or the whole new one; the old file or none; and the client still in step.

        An upload may be open where the reply to its Create was lost, as `statistics()` has counted, or where
        it belongs to the caller.
        """
        lab = self.lab
        lab.plan()
        # First of all the connection: what it answers now has to be what is asked now.
        for key in ("small", "large") if self.door == "served" else ("small",):
            assert await lab.lake.download_bytes(key) == SEEDED[key], f"out of step: {key} is another's reply"
        self._uploads()
        lab.assert_at_rest()
        await self._nothing_runs()
        self._files()
        self._objects()

    def _uploads(self) -> None:
        uploads = self.lab.check.open_uploads()
        strange = [upload for upload in uploads if upload[1] not in self.given]
        orphans = self.lab.session.statistics().possible_orphans
        assert len(strange) <= orphans, f"{len(strange)} uploads left open, {orphans} counted"
        for key, upload_id in uploads:
            self.lab.store.handle("DELETE", f"/{BUCKET}/{key}?uploadId={upload_id}", {}, b"")

    async def _nothing_runs(self) -> None:
        known = self.before | (self.lab.proxy._tasks if self.lab.proxy else set())
        left = await leaks.tasks_left(known)
        own = {repr(task) for task in self.lab.proxy._tasks} if self.lab.proxy else set()
        assert not set(left) - own, f"tasks left running: {left}"
        for thread in threading.enumerate():
            if thread.name.startswith("ingest"):
                # It has nothing left to do, and needs a moment to see that.
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive(), f"a thread is left: {thread.name}"

    def _files(self) -> None:
        for path in (self.folder / "target", *(self.folder / "down").rglob("*")):
            if path.is_file():
                assert path.read_bytes() in (LARGE, SMALL, b"{}"), f"half a file: {path.name}"
                assert not path.name.startswith("."), f"a temporary file is left: {path.name}"
                path.unlink()
        assert list(self.folder.rglob("*.part")) == []
        assert list(self.temporary.iterdir()) == [], "left in the temporary folder"

    def _objects(self) -> None:
        store = self.lab.store
        found = store.get(BUCKET, "key")
        assert found in ALLOWED, "half an object"
        moved = store.get(BUCKET, "moving") is None
        assert not moved or found == SMALL, "moved away, and nowhere to be found"
        for key in ("key", "gone", "moving"):
            if store.get(BUCKET, key) != SEEDED[key]:
                store.put(BUCKET, key, SEEDED[key])
        for key in store.keys(BUCKET):
            if key.startswith(MADE):
                store.delete(BUCKET, key)


Work = Callable[[Scene], Awaitable[object]]


@contextmanager
def small_parts() -> Iterator[None]:
    """Parts as small as `PART`, and retries and aborts that do not wait."""
    with (
        mock.patch.object(_abort, "LANDING_SECONDS", 0.0),
        mock.patch.object(_plan, "MIN_PART_BYTES", 1),
        mock.patch.object(_retry.RetryPolicy, "pause", return_value=0.0),
    ):
        yield


@asynccontextmanager
async def scene(
    door: Door,
    folder: Path,
    *,
    behaviour: Behaviour = "aws",
    prepare: Callable[[Scene], Awaitable[None]] | None = None,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """
    A fresh store, session and folder for any number of works; no descriptor is left at its end.

    Call it inside `small_parts()`.
    """
    temporary = folder / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    (folder / "source").write_bytes(LARGE)
    sockets = leaks.open_sockets()
    with mock.patch.object(tempfile, "tempdir", str(temporary)):
        async with laboratory(door, store=seeded(behaviour), retry_mode="standard", **settings) as lab:
            lab.session.settings.__dict__.update(part_size=PART, multipart_threshold=PART)
            made = Scene(lab, folder, temporary, asyncio.all_tasks(), door=door)
            if prepare is not None:
                await prepare(made)
                made.before = asyncio.all_tasks()
            await made.lab.lake.download_bytes("small")
            yield made
            lab.plan()
        # The proxy's ends of the connections close in the loop's next turns.
        await leaks.tasks_left(set())
    left = leaks.new_sockets(sockets)
    assert not left, f"sockets left open: {sorted(left)}"
