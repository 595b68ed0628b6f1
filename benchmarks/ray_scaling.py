"""
Uploads, copies and verified reads by number of Ray actors, on a MinIO of its own.

    python -m benchmarks.ray_scaling

Writes benchmarks/results/ray.json, the table of docs/scale.md and, where .venv-bench is (`make bench` makes
it), the plot ray.svg. Server and actors share the machine: beyond its cores the figures show contention.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from benchmarks import environment, machine
from benchmarks.publish import FILES, fill
from greenlang_async_storage import StorageSession, StorageSettings, UploadItem
from greenlang_async_storage.ray import (
    DistributedReport,
    copy_prefix_distributed,
    upload_distributed,
    verify_distributed,
)
from greenlang_async_storage.testing import MinioServer

RESULTS = Path(__file__).parent / "results"
KIB = 1024


def items(count: int, size: int, prefix: str) -> Iterator[UploadItem]:
    """Objects spread over sixteen prefixes."""
    body = bytes(range(256)) * (size // 256)
    for number in range(count):
        yield UploadItem(f"{prefix}/{number % 16:02d}/{number:07d}", body)


async def measure(
    settings: StorageSettings, bucket: str, actors: int, count: int, size: int
) -> dict[str, Any]:
    """Objects and MiB per second of each job with so many actors; opening them is not counted in."""
    chosen: dict[str, Any] = {"settings": settings, "actors": actors}
    prefix = f"actors-{actors}"
    await upload_distributed(items(64, size, f"warm-{actors}"), bucket=bucket, manifest_size=16, **chosen)
    reports: dict[str, DistributedReport[Any]] = {
        "upload": await upload_distributed(items(count, size, prefix), bucket=bucket, **chosen),
        "verify": await verify_distributed(bucket, f"{prefix}/", **chosen),
        "copy": await copy_prefix_distributed(bucket, f"{prefix}/", bucket, f"copied-{actors}/", **chosen),
    }
    row: dict[str, Any] = {"actors": actors}
    for job, report in reports.items():
        report.raise_for_errors()
        row[job] = {
            "objects_per_second": report.succeeded / report.seconds,
            "mib_per_second": report.bytes / report.seconds / KIB**2,
        }
        print(f"{actors} actors, {job}: {row[job]['objects_per_second']:,.0f} objects/s", flush=True)
    return row


async def run(server: MinioServer, actors: list[int], count: int, size: int) -> list[dict[str, Any]]:
    """One row for each number of actors."""
    bucket = "ray-scaling"
    settings = StorageSettings(**server.settings_kwargs(), data_lake_bucket=bucket, encryption="none")
    async with StorageSession(settings) as session:
        await session.ensure_buckets()
    return [await measure(settings, bucket, number, count, size) for number in actors]


def table(told: dict[str, Any]) -> str:
    """The block of the documentation."""
    what = f"{told['objects']:,} objects of {told['size'] // KIB} KiB"
    lines = [
        f"{told['date']}, {told['machine']['cores']} cores, Ray {told['ray']}: {what}; objects per second.",
        "",
        "| actors | upload | verify | copy |",
        "|---|---|---|---|",
    ]
    for row in told["rows"]:
        cells = [f"{row[job]['objects_per_second']:,.0f}" for job in ("upload", "verify", "copy")]
        lines.append(f"| {row['actors']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_scaling", description=__doc__)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--objects", type=int, default=8000, help="objects of each job (default 8000)")
    parser.add_argument("--size", type=int, default=64 * KIB, help="bytes of an object (default 65536)")
    arguments = parser.parse_args()
    runtime = {"env_vars": {"PYTHONPATH": str(environment.ROOT)}}
    ray.init(
        num_cpus=max(arguments.actors), include_dashboard=False, log_to_driver=False, runtime_env=runtime
    )
    with MinioServer.start(kms=False) as server:
        rows = asyncio.run(run(server, arguments.actors, arguments.objects, arguments.size))
    ray.shutdown()
    RESULTS.mkdir(exist_ok=True)
    data = RESULTS / "ray.json"
    told = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine.describe(),
        "ray": ray.__version__,
        "objects": arguments.objects,
        "size": arguments.size,
        "rows": rows,
    }
    data.write_text(json.dumps(told, indent=2) + "\n")
    for path in FILES:
        path.write_text(fill(path.read_text(), {"ray": table(told)}))
    python = environment.ROOT / ".venv-bench" / "bin" / "python"
    if python.exists():
        subprocess.run(
            [str(python), "-m", "benchmarks.ray_chart", str(data)], check=True, cwd=environment.ROOT
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
