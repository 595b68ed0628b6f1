"""Deleting: what was read or copied, only where it is still that."""

from __future__ import annotations

from greenlang_async_storage import Bucket, ObjectInfo, S3NotFoundError, S3ObjectChangedError


async def remove_unchanged(bucket: Bucket, info: ObjectInfo) -> None:
    """
    Delete *info*'s object where its ETag is still the same; one that is gone already is fine.

    Raises:
        S3ObjectChangedError: replaced meanwhile; it was kept.
    """
    try:
        now = await bucket.head(info.key)
    except S3NotFoundError:
        return
    if (now.etag, now.version_id) != (info.etag, info.version_id):
        raise S3ObjectChangedError(
            "replaced meanwhile; the new object was kept",
            operation="DeleteObject",
            bucket=bucket.name,
            key=bucket.prefix + info.key,
            remedy="Run the command again to move the new one too.",
        )
    await bucket.delete(info.key)
