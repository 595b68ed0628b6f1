"""
Mistakes a type checker must find in code that uses the package; never run.

Each line is wrong in one way. An ignore that is not needed is an error, so a signature that lets a mistake
through fails the type check.
"""

from __future__ import annotations

from greenlang_async_storage import (
    Bucket,
    ByteSource,
    MultipartUpload,
    ObjectInfo,
    ProgressHook,
    S3Error,
    Statistics,
    StorageSession,
    StorageSettings,
    StorageSettingsError,
    UploadedPart,
    UploadItem,
)


def settings(made: StorageSettings) -> None:
    """Settings are frozen; unknown names are refused."""
    made.region = "eu-west-2"  # type: ignore[misc]
    made.bucket("backups")  # type: ignore[arg-type]
    StorageSettings(max_pool=10)  # type: ignore[call-arg]


async def sessions(session: StorageSession, statistics: Statistics) -> None:
    """Nothing of a session is assigned, and it is no synchronous context manager."""
    session.client = session.client  # type: ignore[misc]
    session.temp = session.cache  # type: ignore[misc]
    statistics.retries = 0  # type: ignore[misc]
    session.check()  # type: ignore[unused-coroutine]
    await session.statistics()  # type: ignore[misc]
    await session.aclose(5.0)  # type: ignore[call-arg]
    with session:  # type: ignore[attr-defined]
        pass


async def uploads(bucket: Bucket) -> None:
    """Sources have the right type, options are known keywords with the right values."""
    bucket.upload_bytes("k", b"1")  # type: ignore[unused-coroutine]
    await bucket.upload_bytes(b"k", b"1")  # type: ignore[arg-type]
    await bucket.upload_bytes("k", "text")  # type: ignore[arg-type]
    await bucket.upload_bytes("k", b"1", {"a": "b"})  # type: ignore[call-arg, arg-type]
    await bucket.upload_bytes("k", b"1", content_typ="a/b")  # type: ignore[call-arg]
    await bucket.upload_bytes("k", b"1", metadata={"a": 1})  # type: ignore[dict-item]
    await bucket.upload_bytes("k", b"1", tags="a=b")  # type: ignore[arg-type]
    await bucket.upload_bytes("k", b"1", if_none_match="*")  # type: ignore[arg-type]
    await bucket.upload_bytes("k", b"1", encryption="kms")  # type: ignore[arg-type]
    await bucket.upload_bytes("k", b"1", resume="k.journal")  # type: ignore[call-arg]
    await bucket.upload_json("k", {}, on_progress=None)  # type: ignore[call-arg]
    await bucket.upload_file("k", b"1")  # type: ignore[arg-type]
    await bucket.upload_stream("k", 5)  # type: ignore[arg-type]
    await bucket.upload_stream("k", [1])  # type: ignore[list-item]
    await bucket.upload_stream("k", b"1", timeout="5 s")  # type: ignore[arg-type]


def deltas(_count: int) -> None:
    """boto3's kind of callback."""


HOOK: ProgressHook = deltas  # type: ignore[assignment]
SOURCE: ByteSource = 5  # type: ignore[assignment]


async def reads(bucket: Bucket, info: ObjectInfo) -> None:
    """Ranges are pairs of numbers, bodies are entered, listings are iterated."""
    await bucket.download_bytes("k", range="bytes=0-9")  # type: ignore[arg-type]
    await bucket.download_bytes("k", version="v")  # type: ignore[call-arg]
    await bucket.download_file("k")  # type: ignore[call-arg]
    await bucket.download_file("k", "f", verify="always")  # type: ignore[arg-type]
    await bucket.open_download("k")  # type: ignore[misc]
    with bucket.open_download("k"):  # type: ignore[attr-defined]
        pass
    await bucket.list_objects()  # type: ignore[misc]
    for _ in bucket.list_objects():  # type: ignore[attr-defined]
        pass
    bucket.list_objects("p/", "p/a")  # type: ignore[call-arg]
    bucket.name = "other"  # type: ignore[misc]
    info.size = 5  # type: ignore[misc]
    info.size + info.version_id  # type: ignore[operator]


async def changes(bucket: Bucket, upload: MultipartUpload) -> None:
    """What must be named is named, and what must be given is given."""
    await bucket.copy("a", "b", "other")  # type: ignore[call-arg]
    await bucket.set_tags("k", [("a", "b")])  # type: ignore[arg-type]
    await bucket.presign_upload("k")  # type: ignore[call-arg]
    await bucket.presign_post("k", content_type="text/csv")  # type: ignore[call-arg]
    await bucket.abort_multipart("upload-id")  # type: ignore[arg-type]
    await bucket.complete_multipart(upload, [{"PartNumber": 1}])  # type: ignore[list-item]
    await bucket.abort_stale_uploads("p/")  # type: ignore[call-arg]
    await bucket.abort_stale_uploads("p/", older_than=3600)  # type: ignore[arg-type]
    UploadedPart("etag", 1)  # type: ignore[arg-type]


async def batches(bucket: Bucket) -> None:
    """Batches take items and keys of the right type; streams are entered first."""
    await bucket.upload_many([("k", b"1")])  # type: ignore[list-item]
    await bucket.delete_many([b"k"])  # type: ignore[list-item]
    await bucket.download_many(["k"])  # type: ignore[call-arg]
    async for _ in bucket.stream_uploads([]):  # type: ignore[attr-defined]
        pass
    UploadItem("k", 5)  # type: ignore[arg-type]
    UploadItem("k", b"1", content_typ="a/b")  # type: ignore[call-arg]


def errors(error: S3Error) -> bool:
    """Outcomes are three words, and settings errors are no storage errors."""
    tree: list[type[S3Error]] = [StorageSettingsError]  # type: ignore[list-item]
    maybe = error.outcome == "maybe"  # type: ignore[comparison-overlap]
    return maybe and bool(tree)
