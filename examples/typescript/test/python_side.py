"""The Python half of the tests: `create BUCKET`, `write BUCKET KEY SIZE`, `read BUCKET KEY`; JSON answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys

from greenlang_async_storage import Bucket, StorageSession, StorageSettings

METADATA = {"tenant-id": "tenant-123", "written-by": "python"}
TAGS = {"project": "greenlang", "stage": "a b+c"}


def content(size: int) -> bytes:
    """The same bytes on both sides."""
    return bytes(index * 31 % 251 for index in range(251)) * (size // 251 + 1)


async def write(bucket: Bucket, key: str, size: int) -> dict[str, object]:
    """Store *size* known bytes with metadata and tags."""
    data = content(size)[:size]
    stored = await bucket.upload_bytes(key, data, metadata=METADATA, tags=TAGS)
    return {"checksum": stored.checksum.value if stored.checksum else None, "sha256": sha256(data)}


async def read(bucket: Bucket, key: str) -> dict[str, object]:
    """What a Python user sees of the object; its bytes verified against the stored checksum."""
    async with bucket.open_download(key) as body:
        data = b"".join([chunk async for chunk in body])
        info = body.info
    return {
        "size": len(data),
        "sha256": sha256(data),
        "metadata": dict(info.metadata),
        "contentType": info.content_type,
        "checksum": info.checksum.algorithm if info.checksum else None,
        "tags": await bucket.get_tags(key),
    }


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


async def main(action: str, name: str, *rest: str) -> None:
    """Run one action and print its answer."""
    async with StorageSession(StorageSettings(data_lake_bucket=name)) as session:
        if action == "create":
            await session.ensure_buckets()
            answer: dict[str, object] = {}
        elif action == "write":
            answer = await write(session.data_lake, rest[0], int(rest[1]))
        else:
            answer = await read(session.data_lake, rest[0])
    print(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
