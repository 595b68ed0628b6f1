"""
Make a prefix equal to a directory, and the directory's copy equal to it: `python -m examples.sync_directory`.

Needs GREENLANG_DATA_LAKE_BUCKET and a store. Syncs a directory of its own, or the one given as an argument;
the journal in it lets a killed run go on where it stopped, and the second run ask for nothing.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from greenlang_async_storage import S3Error, StorageSession
from greenlang_async_storage.ingest import IngestProgress, plan_download, plan_upload

PREFIX = "landing/meters"


def make_readings(directory: Path) -> None:
    """Some files worth sending, and one that is not."""
    for day in range(1, 29):
        for meter in range(5):
            path = directory / f"2026-02-{day:02}" / f"meter-{meter}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"time,kwh\n00:00,{day * meter}.5\n")
    (directory / "notes.tmp").write_text("not for the lake")


def show(progress: IngestProgress) -> None:
    """One line while it runs, ten times a second at most."""
    print(f"  {progress.phase}: {progress.items_done} of {progress.items_total or '?'}", end="\r")


async def sync(session: StorageSession, directory: Path) -> None:
    """The objects as the files are."""
    plan = await plan_upload(
        directory,
        session.data_lake,
        PREFIX,
        exclude=["*.tmp"],
        delete=True,
        journal=directory / ".sync-journal",
        on_progress=show,
    )
    async with plan:
        print(f"plan: {plan.counts}")
        summary = await plan.apply(on_progress=show, max_deletes=0.2, statistics=session.statistics)
        print(f"done: {summary}")
        for failure in summary.failures:
            print(f"  {failure.key}: {failure.error}")
        summary.raise_for_errors()


async def main(directory: Path) -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        await sync(session, directory)
        await sync(session, directory)
        with tempfile.TemporaryDirectory() as other:
            async with await plan_download(session.data_lake, PREFIX, other) as plan:
                print(f"back: {await plan.apply()}")
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(sys.argv[1] if len(sys.argv) > 1 else folder)
        if len(sys.argv) == 1:
            make_readings(chosen)
        try:
            sys.exit(asyncio.run(main(chosen)))
        except S3Error as error:
            sys.exit(f"{type(error).__name__}: {error}")
