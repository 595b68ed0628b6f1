"""
Run the main job: `python -m examples.demo`.

Uses the store that GREENLANG_STORAGE_ENDPOINT_URL and the AWS variables name, else an embedded test server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from greenlang_async_storage import Progress, S3Error, StorageSession, StorageSettings, StorageSettingsError

from . import factors
from .job import Hook, Job

BUCKETS = {
    f"{purpose}_bucket": f"greenlang-dev-us-east-1-{purpose.replace('_', '-')}-internal"
    for purpose in ("data_lake", "reports", "models", "temp", "cache")
}
console = Console()


def main() -> int:
    """The exit code: 0 when every step succeeded."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--results", type=int, default=3000, help="calculation results to upload (default 3000)"
    )
    parser.add_argument(
        "--cpus", type=int, default=None, help="CPUs in the streamed table (default all, 44 MB)"
    )
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            settings = _settings(stack)
            asyncio.run(_run(settings, arguments.results, arguments.cpus))
    except (S3Error, StorageSettingsError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped; what was uploaded so far stays")
        return 130
    return 0


def _settings(stack: ExitStack) -> StorageSettings:
    """The environment's settings with the demo's buckets; without an endpoint, an embedded server's."""
    unset: dict[str, Any] = {
        field: name for field, name in BUCKETS.items() if f"GREENLANG_{field.upper()}" not in os.environ
    }
    if os.environ.get("GREENLANG_STORAGE_ENDPOINT_URL"):
        return StorageSettings(**unset)
    from greenlang_async_storage.testing import MotoServer

    server = stack.enter_context(MotoServer.start())
    console.print("[dim]GREENLANG_STORAGE_ENDPOINT_URL is not set: using an embedded test server[/]")
    return StorageSettings(**server.settings_kwargs(), **unset)


async def _run(settings: StorageSettings, count: int, cpu_limit: int | None) -> None:
    cpus = (await asyncio.to_thread(factors.load_cpus, factors.data_folder()))[:cpu_limit]
    with tempfile.TemporaryDirectory() as folder:
        async with StorageSession(settings) as session:
            created = await session.ensure_buckets()
            console.print(f"[dim]{session!r}, {len(created)} buckets created[/]", highlight=False)
            job = Job(session, Path(folder))
            tables = await job.store_factors()
            table = tables[factors_source := "our-world-in-data"]
            console.print(
                f"{sum(map(len, tables.values()))} factors from {len(tables)} sources; using {factors_source}"
            )
            with _bars(items=True) as bars:
                await job.upload_results(table, cpus, count, _follow(bars, "results", items=count))
            report = await job.upload_report()
            with _bars(items=False) as bars:
                key = await job.stream_table(table, cpus, _follow(bars, "stream up"))
            await job.list_results()
            with _bars(items=False) as bars:
                await job.download_table(key, _follow(bars, "file down"))
            name = await job.fetch_link(report)
    console.print(f"[dim]link gave {name}[/]", highlight=False, soft_wrap=True)
    console.print(_summary(job))


def _bars(*, items: bool) -> Bars:
    """A live bar on a terminal, nothing but its last state elsewhere."""
    amount = MofNCompleteColumn() if items else DownloadColumn(binary_units=True)
    return Bars(
        TextColumn("{task.description:10}"), BarColumn(), amount, TimeElapsedColumn(), console=console
    )


def _follow(bars: Bars, name: str, *, items: int | None = None) -> Hook:
    task = bars.add_task(name, total=items)

    def show(event: Progress) -> None:
        if items is None:
            bars.update(task, completed=event.done, total=event.total)
        else:
            bars.update(task, completed=event.items_done)

    return show


def _summary(job: Job) -> Table:
    table = Table(title="what was done")
    table.add_column("step")
    for name in ("objects", "bytes", "seconds", "retries"):
        table.add_column(name, justify="right")
    for step in job.steps:
        table.add_row(
            step.name, f"{step.objects:,}", f"{step.bytes:,}", f"{step.seconds:.2f}", str(step.retries)
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
