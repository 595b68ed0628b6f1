"""
Cache emission factors for a day, and let many readers share one load: `python -m examples.factors`.

Needs GREENLANG_CACHE_BUCKET and a store, and the tables of the `codecarbon` package.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from examples.demo.factors import Factors, data_folder, load_factors, tables_version
from greenlang_async_storage import S3Error, StorageSession
from greenlang_async_storage.artifacts import EmissionFactorCache

SOURCE = "our-world-in-data"


async def fetch() -> Factors:
    """The table of one source, as an HTTP client would fetch it."""
    print("  loading the table from its source")
    return (await asyncio.to_thread(load_factors, data_folder()))[SOURCE]


async def main() -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        cache = EmissionFactorCache(session.cache, ttl=timedelta(hours=24))
        version = tables_version()
        for attempt in ("first", "second"):
            print(f"{attempt} round: 100 readers")
            found = await asyncio.gather(
                *(cache.get_or_load(SOURCE, fetch, version=version) for _ in range(100))
            )
            assert all(table == found[0] for table in found)
        latest = await cache.get(SOURCE)
        info = await cache.info(SOURCE)
        assert latest is not None
        assert info is not None
        print(f"{len(latest)} regions in version {info.version}, alive until {info.expires_at:%F %T} UTC")
        print(f"Germany: {latest['DEU']}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except S3Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
