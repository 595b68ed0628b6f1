"""A scoped view: no argument leads out of it, and bad ones are refused before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from greenlang_async_storage import Bucket, MultipartUpload, S3InvalidRequestError, UploadedPart
from tests.support.scripted import scripted_connection

pytestmark = pytest.mark.asyncio


def view() -> Bucket:
    """One tenant's part of a bucket."""
    return Bucket(scripted_connection(), "some-bucket").scoped("t1")


@pytest.mark.parametrize("key", ["t1/../t2/x", "t1/./x", "t1/a\nb", "t10/x", "t1"])
async def test_s06_a_strangers_upload_never_leaves_the_scope(key: str) -> None:
    """A multipart upload is plain data: a key with `..` behind the right prefix is refused by every call."""
    upload = MultipartUpload("some-bucket", key, "id")
    lake = view()
    for call in (
        lake.list_parts(upload),
        lake.abort_multipart(upload),
        lake.complete_multipart(upload, [UploadedPart(1, "etag")]),
        lake.presign_part(upload, 1),
    ):
        with pytest.raises(S3InvalidRequestError):
            await call


@pytest.mark.parametrize("name", ["other/secret", "..", "arn:aws:s3:::other", "Other"])
async def test_s06_the_source_bucket_of_a_copy_is_checked(name: str) -> None:
    """The bucket becomes part of a path: a name with a slash would reach behind the scope."""
    with pytest.raises(S3InvalidRequestError, match="bucket name"):
        await view().copy("a", "b", source_bucket=name)


async def test_a_prefix_that_is_no_text_is_a_type_error() -> None:
    """A programming mistake is told as one."""
    with pytest.raises(TypeError, match="prefix must be a str"):
        view().scoped(7)  # type: ignore[arg-type]  # the mistake


async def test_a_place_to_go_on_from_needs_a_form_in_utf8() -> None:
    """Half a surrogate pair is refused at once; text that no key could be is a fine place to start behind."""
    with pytest.raises(S3InvalidRequestError, match="surrogate"):
        view().list_objects(start_after="a\ud800")
    view().list_objects(start_after="a\uffff")


REFUSED_KEYS: dict[str, Callable[[Bucket, str], Awaitable[object]]] = {
    "PutObject": lambda lake, key: lake.upload_bytes(key, b""),
    "GetObject": lambda lake, key: lake.download_bytes(key),
    "HeadObject": lambda lake, key: lake.exists(key),
    "DeleteObject": lambda lake, key: lake.delete(key),
    "CopyObject": lambda lake, key: lake.copy("a", key),
    "GetObjectTagging": lambda lake, key: lake.get_tags(key),
    "PutObjectTagging": lambda lake, key: lake.set_tags(key, {}),
    "PostObject": lambda lake, key: lake.presign_post(key, content_type="a/b", max_size=1),
    "CreateMultipartUpload": lambda lake, key: lake.create_multipart(key),
    "ListMultipartUploads": lambda lake, key: lake.abort_stale_uploads(key, older_than=timedelta(days=1)),
    "UploadPart": lambda lake, key: lake.presign_part(MultipartUpload("some-bucket", f"t1/{key}", "id"), 1),
}


@pytest.mark.parametrize("operation", REFUSED_KEYS)
async def test_a_refused_key_is_an_error_with_its_fields_filled(operation: str) -> None:
    """What was asked, of which bucket, for which key: a log line needs no traceback."""
    with pytest.raises(S3InvalidRequestError) as refused:
        await REFUSED_KEYS[operation](view(), "a/../b")
    assert refused.value.operation == operation
    assert refused.value.bucket == "some-bucket"
    assert refused.value.key == "t1/a/../b"
    assert refused.value.outcome == "not_applied"


@pytest.mark.parametrize(
    ("operation", "listing"),
    [
        ("ListObjectsV2", Bucket.list_objects),
        ("ListObjectsV2", Bucket.list_prefixes),
        ("ListObjectVersions", Bucket.list_versions),
    ],
)
async def test_a_refused_prefix_names_the_listing(
    operation: str, listing: Callable[[Bucket, str], AsyncIterator[object]]
) -> None:
    """A bad prefix is refused at once, before the first item is asked for."""
    with pytest.raises(S3InvalidRequestError) as refused:
        listing(view(), "a/../b")
    assert (refused.value.operation, refused.value.bucket) == (operation, "some-bucket")
