"""The calls that are cancelled at every await: all public coroutines of `Bucket` and `StorageSession`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Final

from greenlang_async_storage import S3IntegrityError, StorageSession, UploadedPart, UploadItem
from tests.faults._cancel_lab import LARGE, PART, SMALL, Scene, Work
from tests.support.faults import BUCKET


async def _pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(LARGE), PART // 2):
        await asyncio.sleep(0)
        yield LARGE[start : start + PART // 2]


async def _open_download(at: Scene) -> None:
    try:
        async with at.lab.lake.open_download("large") as body:
            async for _piece in body:
                pass
    except S3IntegrityError:
        # What the caller was given already cannot be read again behind its back: the end tells.
        if at.weather != "bytes flipped":
            raise


async def _read_some(at: Scene) -> None:
    async with at.lab.lake.open_download("large", range=(10, 40_000)) as body:
        await anext(body)
        await body.read()


async def _listing(at: Scene) -> None:
    _found = [found async for found in at.lab.lake.list_objects(page_size=2)]


async def _versions(at: Scene) -> None:
    _found = [found async for found in at.lab.lake.list_versions()]


async def _prefixes(at: Scene) -> None:
    _found = [found async for found in at.lab.lake.list_prefixes()]


async def _stream_uploads(at: Scene) -> None:
    items = [UploadItem("key", SMALL), UploadItem("made/1", LARGE), UploadItem("made/2", SMALL)]
    async with at.lab.lake.stream_uploads(items, concurrency=2) as outcomes:
        async for _outcome in outcomes:
            pass


async def _stream_downloads(at: Scene) -> None:
    keys = ["small", "large", "json"]
    async with at.lab.lake.stream_downloads(keys, at.folder / "down", concurrency=2) as outcomes:
        async for _outcome in outcomes:
            pass


async def _multipart(at: Scene) -> None:
    lake = at.lab.lake
    upload = await lake.create_multipart("key")
    at.given.add(upload.upload_id)
    parts = []
    for number, data in enumerate((LARGE[:PART], LARGE[PART:]), 1):
        await lake.presign_part(upload, number)
        # What a browser does with the signed request.
        target = f"/{BUCKET}/key?partNumber={number}&uploadId={upload.upload_id}"
        reply = at.lab.store.handle("PUT", target, {}, data)
        parts.append(UploadedPart(number, reply.headers["etag"].strip('"'), len(data)))
    await lake.list_parts(upload)
    await lake.complete_multipart(upload, parts)


async def _aborted(at: Scene) -> None:
    upload = await at.lab.lake.create_multipart("key")
    at.given.add(upload.upload_id)
    await at.lab.lake.abort_multipart(upload)


async def _stale(at: Scene) -> None:
    await at.lab.lake.abort_stale_uploads(older_than=timedelta(days=1))


async def _gathered(at: Scene) -> None:
    """Several at once, as a request handler has them."""
    lake = at.lab.lake
    async with asyncio.TaskGroup() as group:
        group.create_task(lake.upload_bytes("key", LARGE))
        group.create_task(lake.download_bytes("large"))
        group.create_task(lake.copy("small", "made/copy"))


async def _session(at: Scene) -> None:
    async with StorageSession(at.lab.session.settings) as session:
        if at.door == "direct":
            await at.lab.store.attach(session)
        assert await session.data_lake.exists("small")
        await session.aclose()


READS: Final[Mapping[str, Work]] = {
    "download_bytes": lambda at: at.lab.lake.download_bytes("large"),
    "download_json": lambda at: at.lab.lake.download_json("json"),
    "download_file": lambda at: at.lab.lake.download_file("large", at.folder / "target", part_size=PART),
    "open_download": _open_download,
    "open_download of a range": _read_some,
    "head": lambda at: at.lab.lake.head("small"),
    "exists": lambda at: at.lab.lake.exists("small"),
    "get_tags": lambda at: at.lab.lake.get_tags("small"),
    "list_objects": _listing,
    "list_prefixes": _prefixes,
    "list_versions": _versions,
    "presign_download": lambda at: at.lab.lake.presign_download("small"),
    "presign_upload": lambda at: at.lab.lake.presign_upload("small", content_type="a/b"),
    "presign_post": lambda at: at.lab.lake.presign_post("small", content_type="a/b", max_size=1),
    "download_many": lambda at: at.lab.lake.download_many(["small", "json", "large"], at.folder / "down"),
    "stream_downloads": _stream_downloads,
    "check": lambda at: at.lab.session.check(),
}
WRITES: Final[Mapping[str, Work]] = {
    "upload_bytes": lambda at: at.lab.lake.upload_bytes("key", SMALL),
    "upload_bytes in parts": lambda at: at.lab.lake.upload_bytes("key", LARGE),
    "upload_bytes once": lambda at: at.lab.lake.upload_bytes("made/once", LARGE, if_none_match=True),
    "upload_json": lambda at: at.lab.lake.upload_json("key", {"a": 1}),
    "upload_file": lambda at: at.lab.lake.upload_file("key", at.folder / "source", part_size=PART),
    "upload_stream": lambda at: at.lab.lake.upload_stream("key", _pieces(), part_size=PART),
    "upload_many": lambda at: at.lab.lake.upload_many(
        [UploadItem("key", SMALL), UploadItem("made/2", LARGE)]
    ),
    "stream_uploads": _stream_uploads,
    "copy": lambda at: at.lab.lake.copy("small", "key"),
    "move": lambda at: at.lab.lake.move("moving", "key"),
    "set_tags": lambda at: at.lab.lake.set_tags("small", {"a": "1"}),
    "delete_many": lambda at: at.lab.lake.delete_many(["gone", "none"]),
    "delete": lambda at: at.lab.lake.delete("gone"),
    "multipart": _multipart,
    "multipart aborted": _aborted,
    "abort_stale_uploads": _stale,
    "ensure_buckets": lambda at: at.lab.session.ensure_buckets(),
    "several at once": _gathered,
}
SESSION: Final[Mapping[str, Work]] = {
    "open and close": _session,
    "probe": lambda at: at.lab.session.probe(BUCKET),
}
EVERY: Final[Mapping[str, Work]] = {**READS, **WRITES}
CHILDREN: Final = (
    "upload_bytes in parts",
    "upload_file",
    "upload_stream",
    "upload_many",
    "download_file",
    "download_many",
)
"""Calls that start tasks of their own."""
