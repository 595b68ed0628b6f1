"""Which store a bucket lives in, found out without asking it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from greenlang_async_storage import Bucket


class StoreIdentity(NamedTuple):
    """Equal for two buckets that one set of credentials reaches at one endpoint."""

    endpoint: str
    access_key: str


async def store_of(bucket: Bucket) -> StoreIdentity:
    """Read off a presigned URL: nothing is sent. `S3CredentialsError` without usable credentials."""
    url = urlsplit(await bucket.presign_download("x"))
    credential = parse_qs(url.query).get("X-Amz-Credential", [""])[0]
    host = url.netloc.removeprefix(f"{bucket.name}.")
    return StoreIdentity(f"{url.scheme}://{host}", credential.partition("/")[0])
