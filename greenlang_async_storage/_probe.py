"""Find out what a store supports by trying it on small objects, which are removed again."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _listing, _multipart, _objects, _presign
from ._checksums import digest
from ._errors import S3AccessDeniedError, S3Error, S3InvalidRequestError, S3PreconditionFailedError
from ._options import prepare_write
from ._types import Capabilities, UploadedPart, WriteOptions

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from ._connection import Connection

FOLDER: Final = "greenlang-probe"
CONTENT: Final = b"probe"
_WRONG_ETAG: Final = "00000000000000000000000000000000"


class _Place(NamedTuple):
    """Where one probe writes."""

    connection: Connection
    bucket: str
    key: str

    async def put(self, name: str, **options: Any) -> None:  # noqa: ANN401  # a WriteOptions, spelled out below
        """One small object, as `upload_bytes` writes it."""
        wanted: WriteOptions = {"encryption": "none", **options}  # type: ignore[typeddict-item]  # our own keys
        write = prepare_write(self.connection.settings, self.key + name, wanted)
        sums = await digest(CONTENT, checksum="CRC64NVME")
        await self.connection.call(
            "PutObject",
            lambda s3: s3.put_object(
                Bucket=self.bucket,
                Key=self.key + name,
                Body=self.connection.payload(CONTENT, None),
                ChecksumAlgorithm="CRC64NVME",
                **_multipart.checksum_args("CRC64NVME", sums.checksum),
                **write.put_args(),
                **self.connection.owner,
            ),
            bucket=self.bucket,
            key=self.key + name,
        )


async def probe(connection: Connection, bucket: str) -> Capabilities:
    """What the store behind *connection* supports; raises where *bucket* cannot be written to at all."""
    place = _Place(connection, bucket, f"{FOLDER}/{uuid.uuid4().hex}/")
    try:
        await place.put("plain")
        return Capabilities(
            conditional_writes=await _asked(_conditional_writes, place),
            conditional_multipart=await _asked(_conditional_multipart, place),
            full_object_checksums=await _asked(_checksums, place),
            tags=await _asked(_tags, place),
            kms=await _asked(_kms, place),
            versions=await _asked(_versions, place),
            presigned_post=await _asked(_presigned_post, place),
            clock_offset=await _clock_offset(place),
        )
    finally:
        await connection.clean_up("Probe", lambda: _remove(place))


async def _asked(question: Callable[[_Place], Awaitable[bool]], place: _Place) -> bool | None:
    """The answer; `False` where the store refuses the feature, `None` where it refuses to let us find out."""
    try:
        return await question(place)
    except S3InvalidRequestError:
        return False
    except S3AccessDeniedError:
        return None
    except S3Error as error:
        if error.retryable:
            raise
        return False


async def _conditional_writes(place: _Place) -> bool:
    refused = 0
    for options in ({"if_none_match": True}, {"if_match": _WRONG_ETAG}):
        try:
            await place.put("plain", **options)
        except S3PreconditionFailedError:
            refused += 1
    return refused == len(("if_none_match", "if_match"))


async def _conditional_multipart(place: _Place) -> bool:
    connection, bucket, key = place.connection, place.bucket, place.key + "plain"
    upload = await _multipart.create_for_others(connection, bucket, key, {"encryption": "none"})
    try:
        part = await connection.call(
            "UploadPart",
            lambda s3: s3.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=upload.upload_id,
                PartNumber=1,
                Body=connection.payload(CONTENT, None),
                **connection.owner,
            ),
            bucket=bucket,
            key=key,
        )
        parts = [UploadedPart(number=1, etag=part["ETag"].strip('"'))]
        await _multipart.complete_for_others(connection, upload, parts, {"if_none_match": True})
    except S3PreconditionFailedError:
        return True
    finally:
        await connection.clean_up("AbortMultipartUpload", lambda: _multipart.abort(connection, upload))
    return False


async def _checksums(place: _Place) -> bool:
    info = await _objects.head(place.connection, place.bucket, place.key + "plain")
    return info.checksum is not None and info.checksum.algorithm == "CRC64NVME"


async def _tags(place: _Place) -> bool:
    await place.put("tagged", tags={"probe": "yes"})
    return await _objects.get_tags(place.connection, place.bucket, place.key + "tagged") == {"probe": "yes"}


async def _kms(place: _Place) -> bool:
    await place.put("encrypted", encryption="aws:kms")
    info = await _objects.head(place.connection, place.bucket, place.key + "encrypted")
    return info.encryption == "aws:kms"


async def _versions(place: _Place) -> bool:
    reply = await place.connection.call(
        "GetBucketVersioning",
        lambda s3: s3.get_bucket_versioning(Bucket=place.bucket, **place.connection.owner),
        bucket=place.bucket,
    )
    return reply.get("Status") == "Enabled"


async def _presigned_post(place: _Place) -> bool:
    key = place.key + "posted"
    form = await _presign.presign_post(
        place.connection, place.bucket, key, content_type="text/plain", max_size=len(CONTENT), expires_in=60
    )
    status = await place.connection.call(
        "PostObject", lambda s3: _post(s3, form.url, dict(form.fields)), bucket=place.bucket, key=key
    )
    return status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)


async def _post(s3: S3Client, url: str, fields: dict[str, str]) -> int:
    """The status of a form upload (RFC 7578), sent by the client's own HTTP session."""
    from botocore.awsrequest import AWSRequest

    boundary = uuid.uuid4().hex
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="probe"\r\n\r\n'
    body = "".join([*lines, file]).encode() + CONTENT + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(len(body))}
    request = AWSRequest(method="POST", url=url, headers=headers, data=body).prepare()
    reply = await s3._endpoint.http_session.send(request)  # noqa: SLF001  # there is no public door
    await reply.content
    return int(reply.status_code)


async def _clock_offset(place: _Place) -> float | None:
    reply = await place.connection.call(
        "HeadBucket",
        lambda s3: s3.head_bucket(Bucket=place.bucket, **place.connection.owner),
        bucket=place.bucket,
    )
    stamp = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
    # The header has whole seconds, cut off: on average the server is half a second further.
    return None if stamp is None else (parsedate_to_datetime(stamp) - datetime.now(UTC)).total_seconds() + 0.5


async def _remove(place: _Place) -> None:
    """Everything the probe wrote, old versions included."""
    connection, bucket = place.connection, place.bucket
    async for found in _listing.list_versions(connection, bucket, place.key):
        await _objects.delete(connection, bucket, found.key, version_id=found.version_id)
