"""One sync in a process of its own, to be killed: `python child.py SETTINGS DIRECTORY JOURNAL`."""

from __future__ import annotations

import asyncio
import json
import sys

from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.ingest import IngestProgress, plan_upload


def tell(progress: IngestProgress) -> None:
    """A line per event, for the parent to decide when to kill."""
    sys.stdout.write(f"{progress.items_done}\n")
    sys.stdout.flush()


async def main(settings: str, directory: str, journal: str) -> None:
    """Plan and apply, saying how far it has come."""
    async with (
        StorageSession(StorageSettings(**json.loads(settings))) as session,
        await plan_upload(directory, session.data_lake, "tree", journal=journal) as plan,
    ):
        sys.stdout.write(f"planned {plan.counts.transfers}\n")
        summary = await plan.apply(on_progress=tell)
        summary.raise_for_errors()
        sys.stdout.write(f"{summary}\n")


asyncio.run(main(*sys.argv[1:]))
