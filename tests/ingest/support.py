"""What the tests of plans share: trees of files, what a bucket holds, a plan made and applied."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from greenlang_async_storage import Bucket
from greenlang_async_storage.ingest import IngestSummary, Plan, PlanCounts, plan_upload

LONG_AGO = time.time() - 3600


def make_tree(root: Path, files: dict[str, bytes]) -> None:
    """The *files*, last written an hour ago as far as anybody can tell."""
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        write(root / name, data)


def write(path: Path, data: bytes) -> None:
    """One file with an old time, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))


def read_tree(root: Path) -> dict[str, bytes]:
    """All files below *root*."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def stored(client: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """All objects under *prefix*, by the rest of their keys."""
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"]
            found[entry["Key"].removeprefix(prefix)] = body.read()
    return found


async def actions(plan: Plan) -> dict[str, tuple[str, str]]:
    """Kind and reason of everything planned, by key."""
    return {action.key: (action.kind, action.reason) async for action in plan}


async def upload(root: Path, lake: Bucket, prefix: str = "", **options: Any) -> IngestSummary:
    """Planned and applied."""
    _, summary = await sync(root, lake, prefix, **options)
    return summary


async def sync(
    root: Path, lake: Bucket, prefix: str = "", *, apply: dict[str, Any] | None = None, **options: Any
) -> tuple[PlanCounts, IngestSummary]:
    """What a plan found, and what its run did."""
    async with await plan_upload(root, lake, prefix, **options) as plan:
        return plan.counts, await plan.apply(**(apply or {}))
