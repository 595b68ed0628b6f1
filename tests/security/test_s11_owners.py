"""S11: a bucket of another account is never written to, read from, copied from, or linked to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from greenlang_async_storage import Bucket, S3AccessDeniedError, S3Error
from greenlang_async_storage.testing import MemoryS3
from tests.support.faults import BUCKET, MIB, Door, laboratory

pytestmark = pytest.mark.asyncio

OWNER: Final = "111122223333"
STRANGER: Final = "999999999999"
HEADER: Final = "x-amz-expected-bucket-owner"
SOURCE_HEADER: Final = "x-amz-source-expected-bucket-owner"


async def _multipart(lake: Bucket) -> None:
    upload = await lake.create_multipart("multi")
    await lake.list_parts(upload)
    await lake.abort_multipart(upload)


async def _file(lake: Bucket, folder: Path) -> None:
    await lake.download_file("large", folder / "large")


CALLS: Final[dict[str, Callable[[Bucket, Path], Awaitable[object]]]] = {
    "upload": lambda lake, _: lake.upload_bytes("key", b"data"),
    "upload in parts": lambda lake, _: lake.upload_bytes("large", bytes(6 * MIB)),
    "download": lambda lake, _: lake.download_bytes("key"),
    "download a file": _file,
    "head": lambda lake, _: lake.head("key"),
    "exists": lambda lake, _: lake.exists("key"),
    "list": lambda lake, _: anext(lake.list_objects()),
    "prefixes": lambda lake, _: anext(lake.list_prefixes(), None),
    "versions": lambda lake, _: anext(lake.list_versions()),
    "tags": lambda lake, _: lake.get_tags("key"),
    "set tags": lambda lake, _: lake.set_tags("key", {"a": "b"}),
    "copy": lambda lake, _: lake.copy("key", "copy"),
    "move": lambda lake, _: lake.move("copy", "moved"),
    "delete": lambda lake, _: lake.delete("moved"),
    "delete many": lambda lake, _: lake.delete_many(["a", "b"], fail_fast=True),
    "multipart": lambda lake, _: _multipart(lake),
    "stale uploads": lambda lake, _: lake.abort_stale_uploads(older_than=timedelta(days=1)),
}


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_s11_every_request_names_the_owner(door: Door, tmp_path: Path) -> None:
    """Of every operation: parts, deletes, listings, checks; a copy also names its source's."""
    async with laboratory(door, expected_bucket_owner=OWNER) as lab:
        for call in CALLS.values():
            await call(lab.lake, tmp_path)
        assert (await lab.session.check()).ok
        await lab.session.probe(BUCKET)
        requests = lab.faults.requests
        assert {"UploadPart", "CopyObject", "DeleteObjects", "ListParts", "HeadBucket"} <= {
            request.operation for request in requests
        }
        # S3 documents no such condition for forms, which carry no header of ours.
        sent = [request for request in requests if request.operation != "PostObject"]
        assert [str(request) for request in sent if request.headers.get(HEADER) != OWNER] == []
        copies = [request for request in requests if "x-amz-copy-source" in request.headers]
        assert copies
        assert all(request.headers.get(SOURCE_HEADER) == OWNER for request in copies)


async def test_s11_links_name_the_owner() -> None:
    """Signed into the query of what a browser opens, and into the headers of what is sent."""
    async with laboratory(expected_bucket_owner=OWNER) as lab:
        upload = await lab.lake.create_multipart("multi")
        for link in (await lab.lake.presign_download("key"), await lab.lake.presign_part(upload, 1)):
            query = parse_qs(urlsplit(str(link)).query)
            signed = query["X-Amz-SignedHeaders"][0].split(";")
            assert query.get(HEADER) == [OWNER] or HEADER in signed
        put = await lab.lake.presign_upload("key", content_type="a/b")
        assert put.headers[HEADER] == OWNER
        assert HEADER in parse_qs(urlsplit(str(put.url)).query)["X-Amz-SignedHeaders"][0]
        await lab.lake.abort_multipart(upload)


@pytest.mark.parametrize("door", ["direct", "served"])
async def test_s11_a_bucket_of_somebody_else_is_refused(door: Door, tmp_path: Path) -> None:
    """Whoever took the name of a deleted bucket gets no byte of ours, and we none of theirs."""
    store = MemoryS3(owner=STRANGER)
    store.create_bucket(BUCKET)
    for key in ("key", "copy", "moved", "large"):
        store.put(BUCKET, key, b"theirs")
    before = store.keys(BUCKET)
    async with laboratory(door, store=store, expected_bucket_owner=OWNER) as lab:
        for name, call in CALLS.items():
            with pytest.raises(S3Error) as caught:
                await call(lab.lake, tmp_path)
            assert isinstance(caught.value, S3AccessDeniedError), name
        assert all(request.status == 403 for request in lab.faults.requests)
    assert store.keys(BUCKET) == before
    assert list(tmp_path.iterdir()) == []
