"""Whether an object is the one a write of ours made: what is asked when the reply to that write was lost."""

from __future__ import annotations

from dataclasses import dataclass

from greenlang_async_storage._checksums import stored_checksum
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._options import UPLOAD_TOKEN
from greenlang_async_storage._types import Checksum, UploadResult


@dataclass(frozen=True, slots=True)
class Written:
    """What the object must look like; `None` where it is not known."""

    bucket: str
    key: str
    token: str
    """The random upload token, which only this write can have stored."""
    size: int | None
    checksum: Checksum | None


async def prove(conn: Connection, written: Written) -> UploadResult | None:
    """
    The write's result when the current object has its token, size and checksum; `None` for another object.

    ETags prove nothing here: under KMS they are no digest. Raises what HeadObject raises, `S3NotFoundError`
    included.
    """
    head = await conn.call(
        "HeadObject",
        lambda s3: s3.head_object(
            Bucket=written.bucket, Key=written.key, ChecksumMode="ENABLED", **conn.owner
        ),
        bucket=written.bucket,
        key=written.key,
    )
    metadata = {name.lower(): value for name, value in head.get("Metadata", {}).items()}
    if not written.token or metadata.get(UPLOAD_TOKEN) != written.token:
        return None
    size, stored, expected = head["ContentLength"], stored_checksum(head), written.checksum
    if written.size not in (None, size):
        return None
    if expected and stored and _comparable(stored, expected) and stored.value != expected.value:
        return None
    return UploadResult(
        key=written.key,
        etag=head["ETag"].strip('"'),
        size=size,
        version_id=head.get("VersionId"),
        checksum=stored or expected,
    )


def _comparable(one: Checksum, other: Checksum) -> bool:
    return (one.algorithm, one.type) == (other.algorithm, other.type)
