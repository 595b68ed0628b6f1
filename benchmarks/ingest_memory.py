"""
Memory of planning: `python -m benchmarks.ingest_memory [FILES ...]`, by default 20,000 and 200,000.

A tree of names (hard links to a few files, so that it is quick to make) is planned against a bucket that a
stub lists: one half of it is equal, the other half missing. No server: what is measured is the walk, the
merge and the spool. Prints the growth of the resident set, which must not depend on the number of files.
Times are those of a traced process.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from greenlang_async_storage import Bucket, ObjectInfo
from greenlang_async_storage.ingest import plan_upload

MIB = 1024 * 1024
PER_FOLDER = 1000
LINKS = 30_000
"""Of one file; ext4 takes 65,000."""


class ListedBucket:
    """Lists every second file of the tree as an object; the rest of a bucket's calls are not there."""

    name = "lake"
    prefix = ""

    def __init__(self, count: int) -> None:
        self._count = count

    async def presign_download(self, key: str) -> str:
        """Where this store would be."""
        return f"http://127.0.0.1:9/{self.name}/{key}?X-Amz-Credential=key%2Fday"

    async def list_objects(self) -> AsyncIterator[ObjectInfo]:
        """In order, as a store would."""
        for number in range(0, self._count, 2):
            yield ObjectInfo(key_of(number), 7, f"{number:032x}")


def key_of(number: int) -> str:
    """Names whose order is that of their numbers."""
    return f"{number // PER_FOLDER:06}/{number % PER_FOLDER:04}.json"


def make_tree(root: Path, count: int) -> None:
    """*count* names for a few files of seven bytes."""
    origin = root
    for number in range(count):
        path = root / key_of(number)
        if not number % PER_FOLDER:
            path.parent.mkdir(parents=True)
        if not number % LINKS:
            path.write_bytes(b"content")
            origin = path
        else:
            os.link(origin, path)


async def measure(count: int) -> tuple[float, float, float]:
    """Seconds, MiB the resident set grew by, and MiB of Python objects at the peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await asyncio.to_thread(make_tree, folder / "tree", count)
        bucket = cast("Bucket", cast("Any", ListedBucket(count)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        started = time.perf_counter()
        async with await plan_upload(folder / "tree", bucket, compare="size") as plan:
            seconds = time.perf_counter() - started
            assert (plan.counts.new, plan.counts.unchanged) == (count // 2, count - count // 2)
            listed = 0
            async for _ in plan:
                listed += 1
            assert listed == count // 2
        peak = tracemalloc.get_traced_memory()[1] / MIB
        tracemalloc.stop()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        await asyncio.to_thread(shutil.rmtree, folder / "tree")
    return seconds, grown, peak


def main(counts: list[int]) -> None:
    """One line for each number of files."""
    print(f"{'files':>10} {'planned in':>12} {'RSS grew by':>14} {'Python peak':>14}")
    for count in counts:
        seconds, grown, peak = asyncio.run(measure(count))
        print(f"{count:>10,} {seconds:>10.1f} s {grown:>10.1f} MiB {peak:>10.1f} MiB")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [20_000, 200_000])
