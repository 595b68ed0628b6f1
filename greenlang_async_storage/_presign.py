"""
Requests signed here and sent by somebody else: links, PUTs, form POSTs and parts; SigV4 only.

Nothing is sent, so a key need not exist. A signature ends with the credentials that made it, whatever it says
itself; `expires_at` is the earlier of both. Source: S3 API reference, "Authenticating Requests: Using Query
Parameters" and "Browser-Based Uploads Using POST".
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ._aws import credentials_expire_at, credentials_source, refresh_credentials
from ._conditions import version_args
from ._connection import Connection
from ._error_map import map_errors
from ._errors import S3CredentialsError, S3Error, S3InvalidRequestError
from ._headers import content_disposition
from ._options import check_content_type, encryption_headers, prepare_encryption
from ._types import MultipartUpload, PresignedPost, PresignedUpload, PresignedUrl

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

T = TypeVar("T")

MAX_EXPIRES_SECONDS: Final = 7 * 24 * 3600
"""SigV4's own limit."""
MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""Of one PUT or POST."""
MAX_PART_NUMBER: Final = 10_000
RENEW_BELOW_SECONDS: Final = 900.0
"""Credentials with less life than this, and than was asked for, are renewed before signing."""

_KEY_VARIABLE: Final = "${filename}"
_DATE_FORM: Final = "%Y%m%dT%H%M%SZ"
_OWNER_HEADER: Final = "x-amz-expected-bucket-owner"
_HTTP_METHODS: Final = {"get_object": "GET", "put_object": "PUT", "upload_part": "PUT"}


async def presign_download(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    expires_in: float | timedelta = 3600,
    filename: str | None = None,
    version_id: str | None = None,
) -> PresignedUrl:
    """
    A link that downloads the object until `expires_at`; *filename* is the name a browser saves it under.

    With a *filename* the reply says `Content-Disposition: attachment`, so no browser shows it: pass one for
    content that strangers wrote, whose type is theirs too.
    """
    params: dict[str, object] = {"Bucket": bucket, "Key": key, **version_args(version_id)}
    if filename is not None:
        params["ResponseContentDisposition"] = content_disposition(filename)
    with _signing("GetObject", bucket, key):
        return await _signed_url(conn, "get_object", params, expires_in, key)


async def presign_upload(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    content_type: str,
    content_length: int | None = None,
    expires_in: float | timedelta = 3600,
) -> PresignedUpload:
    """
    A signed PUT: its sender must send `headers` exactly, and a body of *content_length* bytes where given.

    The headers are the content type, the length, the configured encryption and the expected bucket owner;
    each is part of the signature, so the store refuses a request that leaves one out or changes it.
    """
    params: dict[str, object] = {
        "Bucket": bucket,
        "Key": key,
        "ContentType": check_content_type(key, content_type),
    }
    headers = {"Content-Type": content_type}
    if content_length is not None:
        _check_size("content_length", content_length, key)
        params["ContentLength"] = content_length
        headers["Content-Length"] = str(content_length)
    encryption = prepare_encryption(conn.settings, key)
    params |= encryption
    headers |= encryption_headers(encryption)
    if owner := conn.owner.get("ExpectedBucketOwner"):
        params["ExpectedBucketOwner"] = owner
        headers[_OWNER_HEADER] = owner
    with _signing("PutObject", bucket, key):
        url = await _signed_url(conn, "put_object", params, expires_in, key, owner_in_query=False)
    return PresignedUpload(url=url, headers=headers, expires_at=url.expires_at)


async def presign_post(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    content_type: str,
    max_size: int,
    min_size: int = 1,
    expires_in: float | timedelta = 3600,
) -> PresignedPost:
    """
    A signed form for one key, one content type and *min_size* to *max_size* bytes.

    The policy names every field exactly, so a form with another value, or with a field more, is refused.
    It binds the bucket by name only: S3 documents no owner condition for forms. Refuses a key with
    `${filename}`, which S3 would replace by a name of the sender's choice.
    """
    check_content_type(key, content_type)
    _check_size("max_size", max_size, key)
    _check_size("min_size", min_size, key)
    if min_size > max_size:
        raise _invalid(
            f"min_size {min_size} is larger than max_size {max_size}", key, "Swap or correct them."
        )
    if _KEY_VARIABLE in key:
        raise _invalid(f"key has {_KEY_VARIABLE}, which S3 replaces in forms", key, "Choose another key.")
    fields = {"Content-Type": content_type, **encryption_headers(prepare_encryption(conn.settings, key))}
    conditions: list[object] = [{name: value} for name, value in fields.items()]
    conditions.append(["content-length-range", min_size, max_size])

    async def sign(seconds: int) -> PresignedPost:
        _require_signer(conn.client, key)
        made = await conn.client.generate_presigned_post(
            bucket, key, Fields=fields, Conditions=list(conditions), ExpiresIn=seconds
        )
        policy = json.loads(base64.b64decode(made["fields"]["policy"]))
        return PresignedPost(made["url"], made["fields"], datetime.fromisoformat(policy["expiration"]))

    with _signing("PostObject", bucket, key):
        return await _within_life(conn, _seconds(expires_in, key), sign)


async def presign_part(
    conn: Connection, upload: MultipartUpload, number: int, *, expires_in: float | timedelta = 3600
) -> PresignedUrl:
    """
    A signed PUT of part *number*, 1 to 10,000, of an open multipart upload; its size is free.

    The body goes without any header but Content-Length; the reply's ETag names the part.
    """
    if not 1 <= number <= MAX_PART_NUMBER:
        raise _invalid(
            f"part number {number} is not within 1 to {MAX_PART_NUMBER}", upload.key, "Number from 1."
        )
    params: dict[str, object] = {
        "Bucket": upload.bucket,
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "PartNumber": number,
    }
    with _signing("UploadPart", upload.bucket, upload.key):
        return await _signed_url(conn, "upload_part", params, expires_in, upload.key)


@contextmanager
def _signing(operation: str, bucket: str, key: str) -> Iterator[None]:
    """Every failure inside the block as an `S3Error` that says what was to be signed."""
    try:
        with map_errors(operation, bucket, key):
            yield
    except S3Error as error:
        error.operation, error.bucket, error.key = operation, bucket, key
        raise


async def _signed_url(
    conn: Connection,
    method: str,
    params: dict[str, object],
    expires_in: float | timedelta,
    key: str,
    *,
    owner_in_query: bool = True,
) -> PresignedUrl:
    async def sign(seconds: int) -> PresignedUrl:
        client: Any = conn.client  # the stubs list one overload per method name
        _require_signer(client, key)
        url = await client.generate_presigned_url(method, Params=params, ExpiresIn=seconds)
        owner = conn.owner.get("ExpectedBucketOwner")
        if owner and owner_in_query:
            url = await _with_owner(conn, url, _HTTP_METHODS[method], owner, seconds)
        [signed_at] = parse_qs(urlsplit(url).query)["X-Amz-Date"]
        expires_at = datetime.strptime(signed_at, _DATE_FORM).replace(tzinfo=UTC) + timedelta(seconds=seconds)
        return PresignedUrl(url, expires_at)

    return await _within_life(conn, _seconds(expires_in, key), sign)


async def _with_owner(conn: Connection, url: str, http_method: str, owner: str, seconds: int) -> str:
    """
    The same request signed with the expected bucket owner in its query.

    botocore would make it a signed header, which whoever merely opens a link does not send. S3 takes it from
    the query as well, when it is spelled in lower case.
    """
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    [scope] = (value for name, value in query if name == "X-Amz-Credential")
    _, _, region, service, _ = scope.rsplit("/", 4)
    own = [(name, value) for name, value in query if not name.startswith("X-Amz-")]
    bare = urlunsplit(parts._replace(query=urlencode([*own, (_OWNER_HEADER, owner)], quote_via=quote)))
    signer = conn.client._request_signer  # noqa: SLF001  # no other way to them
    credentials = await signer._credentials.get_frozen_credentials()  # noqa: SLF001
    request = AWSRequest(http_method, bare)
    S3SigV4QueryAuth(credentials, service, region, seconds).add_auth(request)
    return str(request.url)


async def _within_life(conn: Connection, asked: int, sign: Callable[[int], Awaitable[T]]) -> T:
    """What *sign* makes for *asked* seconds, or for as long as the credentials live when that is less."""
    await _renew_if_short(conn, asked)
    known = credentials_expire_at(conn.client)
    signed = await sign(max(1, _clipped(asked, known)))
    found = credentials_expire_at(conn.client)
    if found != known:  # signing has fetched or renewed them
        known, signed = found, await sign(max(1, _clipped(asked, found)))
    if _clipped(asked, known) < 1:
        raise S3CredentialsError(
            "the credentials end within a second, so nothing signed with them would work",
            remedy="Renew them (AWS_SESSION_TOKEN, AWS_PROFILE, AWS_WEB_IDENTITY_TOKEN_FILE) and call again.",
        )
    return signed


async def _renew_if_short(conn: Connection, asked: int) -> None:
    ends = credentials_expire_at(conn.client)
    if ends is None or _clipped(asked, ends) >= min(asked, RENEW_BELOW_SECONDS):
        return
    try:
        await refresh_credentials(conn.client)
    except S3CredentialsError:
        if _clipped(asked, ends) < 1:
            raise


def _clipped(asked: int, ends: datetime | None) -> int:
    return asked if ends is None else min(asked, math.floor((ends - datetime.now(UTC)).total_seconds()))


def _seconds(expires_in: float | timedelta, key: str) -> int:
    """Whole seconds, as SigV4 counts them."""
    if isinstance(expires_in, timedelta):
        expires_in = expires_in.total_seconds()
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise TypeError(f"expires_in must be seconds or a timedelta, not {type(expires_in).__name__}")
    if not 1 <= expires_in <= MAX_EXPIRES_SECONDS:
        raise _invalid(
            f"expires_in {expires_in:g} s is not within 1 to {MAX_EXPIRES_SECONDS:,} s (7 days)",
            key,
            "Pass a lifetime within these limits; sign again when it ends.",
        )
    return math.floor(expires_in)


def _check_size(name: str, size: int, key: str) -> None:
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} must be a number of bytes, not {size!r}")
    if not 0 <= size <= MAX_UPLOAD_BYTES:
        raise _invalid(
            f"{name} {size:,} is not within 0 to {MAX_UPLOAD_BYTES:,} bytes (5 GiB)",
            key,
            "Larger objects go in parts: create_multipart() and presign_part().",
        )


def _require_signer(client: S3Client, key: str) -> None:
    """Credentials, which botocore looks for too late when it signs forms, and SigV4."""
    if credentials_source(client) == "none":
        raise S3CredentialsError("no credentials were found, and nothing is signed without")
    version = client.meta.config.signature_version
    if version != "s3v4":
        raise _invalid(f"the client signs by {version!r}, not SigV4", key, "Use the session's own client.")


def _invalid(message: str, key: str, remedy: str) -> S3InvalidRequestError:
    return S3InvalidRequestError(message, key=key, remedy=remedy)
