"""Buckets: made, looked at, versioned, removed; and the table of all operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

from greenlang_async_storage.testing._memory import _listing, _multipart, _objects
from greenlang_async_storage.testing._memory._state import BucketState, Versioning
from greenlang_async_storage.testing._memory._store import Store
from greenlang_async_storage.testing._memory._wire import Call, Refusal, Reply, element, elements, iso

Handler: TypeAlias = Callable[[Store, Call], Reply]


def create_bucket(store: Store, call: Call) -> Reply:
    """A new, empty bucket; again by its owner is an error, as outside us-east-1."""
    if call.bucket in store.buckets:
        text = "Your previous request to create the named bucket succeeded and you already own it."
        raise Refusal(409, "BucketAlreadyOwnedByYou", text, BucketName=call.bucket)
    region = store.region
    if call.body:
        region = _objects.parse(call.body).findtext("{*}LocationConstraint") or region
    store.buckets[call.bucket] = BucketState(call.bucket, store.clock(), region)
    return Reply(200, {"location": f"/{call.bucket}"})


def delete_bucket(store: Store, call: Call) -> Reply:
    """Gone. `BucketNotEmpty` while there are versions."""
    if store.bucket(call.bucket).versions:
        raise Refusal(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
    del store.buckets[call.bucket]
    return Reply(204)


def head_bucket(store: Store, call: Call) -> Reply:
    """That it exists, and its region."""
    return Reply(200, {"x-amz-bucket-region": store.bucket(call.bucket).region})


def list_buckets(store: Store, call: Call) -> Reply:
    """All buckets by name."""
    del call
    listed = "".join(
        f"<Bucket>{elements({'Name': name, 'CreationDate': iso(bucket.created)})}</Bucket>"
        for name, bucket in sorted(store.buckets.items())
    )
    owner = f"<Owner>{element('ID', store.owner)}</Owner>"
    return Reply.xml("ListAllMyBucketsResult", f"{owner}<Buckets>{listed}</Buckets>")


def get_versioning(store: Store, call: Call) -> Reply:
    """`Enabled`, `Suspended`, or nothing where it never was."""
    return Reply.xml("VersioningConfiguration", elements({"Status": store.bucket(call.bucket).versioning}))


def put_versioning(store: Store, call: Call) -> Reply:
    """Versioning on or suspended; it never goes off again."""
    status = _objects.parse(call.body).findtext("{*}Status")
    if status not in ("Enabled", "Suspended"):
        raise _objects.malformed()
    store.bucket(call.bucket).versioning = cast("Versioning", status)
    return Reply(200)


def get_location(store: Store, call: Call) -> Reply:
    """The region; empty for us-east-1, as S3 has it."""
    region = store.bucket(call.bucket).region
    reply = Reply.xml("LocationConstraint", "")
    if region != "us-east-1":
        reply.body = reply.body.replace(b"></", f">{region}</".encode())
    return reply


HANDLERS: Final[Mapping[str, Handler]] = {
    "AbortMultipartUpload": _multipart.abort,
    "CompleteMultipartUpload": _multipart.complete,
    "CopyObject": _objects.copy_object,
    "CreateBucket": create_bucket,
    "CreateMultipartUpload": _multipart.create,
    "DeleteBucket": delete_bucket,
    "DeleteObject": _objects.delete_object,
    "DeleteObjectTagging": _objects.delete_tags,
    "DeleteObjects": _objects.delete_objects,
    "GetBucketLocation": get_location,
    "GetBucketVersioning": get_versioning,
    "GetObject": _objects.get_object,
    "GetObjectAttributes": _listing.attributes,
    "GetObjectTagging": _objects.get_tags,
    "HeadBucket": head_bucket,
    "HeadObject": _objects.get_object,
    "ListBuckets": list_buckets,
    "ListMultipartUploads": _listing.list_uploads,
    "ListObjectVersions": _listing.list_versions,
    "ListObjects": _listing.list_objects,
    "ListObjectsV2": _listing.list_objects,
    "ListParts": _multipart.list_parts,
    "PutBucketVersioning": put_versioning,
    "PutObject": _objects.put_object,
    "PutObjectTagging": _objects.put_tags,
    "UploadPart": _multipart.upload_part,
    "UploadPartCopy": _multipart.upload_part_copy,
}
