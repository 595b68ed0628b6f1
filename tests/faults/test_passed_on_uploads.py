"""Uploads in parts over TLS whose calls the fast path hands to botocore, as it does behind a proxy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from greenlang_async_storage import StorageSettings
from greenlang_async_storage.testing import MemoryS3
from tests.support.faults import BUCKET, MIB, PART

pytestmark = pytest.mark.asyncio

DATA = bytes(range(256)) * (6 * MIB // 256)


def settings(*, fast_path: bool) -> StorageSettings:
    """For AWS itself: https, so that payloads are not hashed for the signature."""
    return StorageSettings(
        access_key_id="key",
        secret_access_key="secret",
        region="us-east-1",
        multipart_threshold=PART,
        part_size=PART,
        fast_path=fast_path,
    )


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("how", ["bytes", "file"])
async def test_parts_of_views(tmp_path: Path, how: str, fast_path: bool) -> None:
    """The object is whole, whoever sends its parts."""
    store = MemoryS3()
    store.create_bucket(BUCKET)
    path = tmp_path / "source"
    await asyncio.to_thread(path.write_bytes, DATA)
    async with store.open_session(settings(fast_path=fast_path)) as session:
        lake = session.bucket(BUCKET)
        await (lake.upload_bytes("key", DATA) if how == "bytes" else lake.upload_file("key", path))
    assert store.get(BUCKET, "key") == DATA
    assert store.open_uploads(BUCKET) == []
