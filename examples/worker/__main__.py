"""Land uploads, hand them to the workers and wait for the reports: `python -m examples.worker`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator

from rich.console import Console
from taskiq import AsyncTaskiqTask

from examples.worker import activities
from examples.worker.broker import broker, storage_settings
from examples.worker.tasks import Verdict, validate_upload
from greenlang_async_storage import Bucket, S3Error, StorageSession, UploadItem
from greenlang_async_storage.artifacts import landing_key

console = Console()


def landed_key(number: int) -> str:
    """Where upload *number* lands; ten tenants take turns."""
    return landing_key(f"tenant-{number % 10}", f"upload-{number:06d}", "activities.csv")


async def uploads(count: int) -> AsyncIterator[UploadItem]:
    """What *count* clients send."""
    for number in range(count):
        yield UploadItem(landed_key(number), activities.example(number))


async def land(lake: Bucket, count: int) -> list[str]:
    """Store the uploads; their keys."""
    report = await lake.upload_many(uploads(count))
    report.raise_for_errors()
    return [outcome.key for outcome in report.succeeded]


async def verdict(task: AsyncTaskiqTask[Verdict], seconds: float) -> Verdict:
    """What the workers made of one upload, its report included."""
    result = await task.wait_result(timeout=seconds)
    result.raise_for_error()
    if result.return_value.report_task is not None:
        report = AsyncTaskiqTask(result.return_value.report_task, broker.result_backend)
        (await report.wait_result(timeout=seconds)).raise_for_error()
    return result.return_value


async def run(count: int, seconds: float) -> None:
    """Land, validate, report, and say what became of the uploads."""
    async with StorageSession(storage_settings()) as session:
        await session.ensure_buckets()
        keys = await land(session.data_lake, count)
    console.print(f"landed {len(keys)} uploads")
    await broker.startup()
    try:
        tasks = [await validate_upload.kiq(key) for key in keys]
        verdicts = [await verdict(task, seconds) for task in tasks]
    finally:
        await broker.shutdown()
    for status, number in sorted(Counter(found.status for found in verdicts).items()):
        console.print(f"{status} {number}")
    for reason, number in Counter(found.reason for found in verdicts if found.reason).items():
        console.print(f"  {number} times: {reason}")


def main() -> int:
    """The exit code: 0 when every upload got its verdict."""
    parser = argparse.ArgumentParser(prog="python -m examples.worker", description=__doc__)
    parser.add_argument("--uploads", type=int, default=200, help="uploads to land (default 200)")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds to wait for each verdict (default 120)"
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(run(arguments.uploads, arguments.timeout))
    except S3Error as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
