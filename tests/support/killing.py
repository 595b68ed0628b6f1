"""A store, a way to it that can be made to kill, and what a killed process left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from greenlang_async_storage import StorageSettings, _local_files
from greenlang_async_storage.testing import Fault, FaultPlan, FaultProxy, MemoryS3
from tests.support import child_jobs
from tests.support.children import Child, Job, Nursery
from tests.support.faults import BUCKET, PART

HOOK = "kill"


@dataclass
class Ending:
    """How a child ended, what it told, and what went over the wire."""

    code: int
    heard: list[Any]
    wire: FaultPlan


@dataclass
class Scene:
    """One store that children work on, and a folder of their own."""

    nursery: Nursery
    folder: Path
    fast_path: bool
    store: MemoryS3 = field(default_factory=MemoryS3)

    def __post_init__(self) -> None:
        self.store.create_bucket(BUCKET)
        self.folder.mkdir(parents=True, exist_ok=True)

    def settings(self, url: str) -> dict[str, Any]:
        """Arguments of `StorageSettings`, as JSON can carry them."""
        return {
            **self.store.settings_kwargs(),
            "endpoint_url": url,
            "data_lake_bucket": BUCKET,
            "part_size": PART,
            "multipart_threshold": PART,
            "fast_path": self.fast_path,
            "cleanup_timeout": 30,  # as in all tests: a busy machine is no lost upload
        }

    async def run(
        self,
        *faults: Fault,
        job: Job = child_jobs.transfer,
        hook: Callable[[Child], Awaitable[object]] = Child.kill,
        **arguments: Any,
    ) -> Ending:
        """*job* in a child behind *faults*, whose hook kills it; returns when nothing of it is left."""
        async with FaultProxy(self.store) as proxy, self.nursery.child() as child:
            proxy.faults.hooks[HOOK] = lambda: hook(child)
            proxy.faults.plan(*faults)
            await child.begin(job, settings=self.settings(proxy.url), **arguments)
            code = await child.ended()
            while proxy._tasks:  # what the dead child had sent may still be on its way to the store
                await asyncio.wait(proxy._tasks)
            return Ending(code, child.heard, proxy.faults)

    async def swept(self, older_than: timedelta = timedelta(0)) -> int:
        """How many uploads the SDK's own sweep aborted."""
        settings = StorageSettings(**self.store.settings_kwargs(), data_lake_bucket=BUCKET)
        async with self.store.open_session(settings) as session:
            found = await session.data_lake.abort_stale_uploads(older_than=older_than)
            assert all(stale.aborted for stale in found)
            return len(found)

    def leftovers(self) -> list[Path]:
        """Unfinished files below the folder."""
        return sorted(self.folder.rglob("*.part"))

    async def sweep_files(self, older_than: float = 0.0) -> list[Path]:
        """What the SDK's sweep of partial files removes."""
        removed: list[Path] = []
        for folder in sorted({path.parent for path in self.leftovers()}):
            removed += await asyncio.to_thread(_local_files.sweep_partial_files, folder, older_than)
        return removed


def kill(operation: str, nth: int, phase: Any, at: int = 0) -> Fault:
    """Kill the child when that request reaches *phase*; the request itself goes on as far as it was sent."""
    return Fault(operation, nth, phase, "hook", at=at, hook=HOOK)
