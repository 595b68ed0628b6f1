"""
The verbs for one object that move no bytes: head, exists, delete, tags.

Source: S3 API reference, HeadObject, DeleteObject, GetObjectTagging, PutObjectTagging.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._conditions import ReadArgs, read_args, version_args
from ._connection import Connection
from ._errors import S3NotFoundError
from ._info import object_info
from ._tags import prepare_tags
from ._types import ObjectInfo

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef


async def head(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
    version_id: str | None = None,
) -> ObjectInfo:
    """
    What S3 knows of the object, its checksum included; no byte of it is read.

    `S3NotFoundError` for a missing key (or bucket: a HEAD reply cannot tell which),
    `S3PreconditionFailedError` when the ETag is not *if_match*, or is *if_none_match*.
    """
    args = read_args(key, if_match=if_match, if_none_match=if_none_match, version_id=version_id)
    return object_info(key, await head_reply(conn, bucket, key, args))


async def head_reply(conn: Connection, bucket: str, key: str, args: ReadArgs) -> HeadObjectOutputTypeDef:
    """S3's own reply to HeadObject, with the checksum, for code that passes its fields on."""
    return await conn.call(
        "HeadObject",
        lambda s3: s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", **args, **conn.owner),
        bucket=bucket,
        key=key,
    )


async def exists(conn: Connection, bucket: str, key: str) -> bool:
    """
    Whether the object is there.

    Only "not found" means no; a refused or failed request raises. Without s3:ListBucket S3 answers 403 for a
    missing key, so this raises `S3AccessDeniedError` then. A missing bucket answers no as well: a HEAD reply
    cannot tell. Asks for no checksum, which under SSE-KMS would need kms:Decrypt.
    """
    try:
        await conn.call(
            "HeadObject",
            lambda s3: s3.head_object(Bucket=bucket, Key=key, **conn.owner),
            bucket=bucket,
            key=key,
        )
    except S3NotFoundError:
        return False
    return True


async def delete(conn: Connection, bucket: str, key: str, *, version_id: str | None = None) -> None:
    """
    The object gone; also when it was not there.

    In a bucket with versions S3 keeps the bytes and puts a delete marker in front; with *version_id* that
    version, or that marker, is removed for good.
    """
    args = version_args(version_id)
    await conn.call(
        "DeleteObject",
        lambda s3: s3.delete_object(Bucket=bucket, Key=key, **args, **conn.owner),
        bucket=bucket,
        key=key,
    )


async def get_tags(
    conn: Connection, bucket: str, key: str, *, version_id: str | None = None
) -> dict[str, str]:
    """The object's tags, `{}` for none. Needs s3:GetObjectTagging."""
    args = version_args(version_id)
    reply = await conn.call(
        "GetObjectTagging",
        lambda s3: s3.get_object_tagging(Bucket=bucket, Key=key, **args, **conn.owner),
        bucket=bucket,
        key=key,
    )
    return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}


async def set_tags(
    conn: Connection, bucket: str, key: str, tags: Mapping[str, str], *, version_id: str | None = None
) -> None:
    """
    Exactly these *tags* on the object, instead of those it had; `{}` removes them.

    At most 10; see `WriteOptions.tags`. Raises `S3InvalidRequestError` before anything is sent. Needs
    s3:PutObjectTagging, or s3:DeleteObjectTagging for `{}`.
    """
    checked = prepare_tags(tags, key=key)
    args = version_args(version_id)
    if not checked:
        await conn.call(
            "DeleteObjectTagging",
            lambda s3: s3.delete_object_tagging(Bucket=bucket, Key=key, **args, **conn.owner),
            bucket=bucket,
            key=key,
        )
        return
    await conn.call(
        "PutObjectTagging",
        lambda s3: s3.put_object_tagging(
            Bucket=bucket,
            Key=key,
            Tagging={"TagSet": [{"Key": name, "Value": value} for name, value in checked.items()]},
            **args,
            **conn.owner,
        ),
        bucket=bucket,
        key=key,
    )
