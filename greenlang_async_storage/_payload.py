"""Request bodies in the form the client takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from ._types import Buffer, PartData

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
"""In place of a digest: the signature leaves the body out (`fastpath.Payload.UNSIGNED`)."""


def payload_for(client: S3Client) -> Callable[[PartData, str | None], Buffer]:
    """
    A function `(data, sha256_hex) -> Body=` for *client*.

    botocore takes bytes and bytearrays; a client on the fast path also takes views and several buffers, in a
    `Payload` that goes back to bytes where a call is passed on. A digest that is known already is not
    computed again for the signature.
    """
    from . import fastpath

    if not fastpath.is_enabled(client):
        return lambda data, _sha256: _one(data)
    payload = fastpath.Payload

    def wrapped(data: PartData, sha256: str | None) -> Buffer:
        if sha256 is None and not isinstance(data, memoryview | tuple):
            return data
        return cast("Buffer", payload(data, sha256))

    return wrapped


def _one(data: PartData) -> Buffer:
    if isinstance(data, tuple):
        return b"".join(data)
    return bytes(data) if isinstance(data, memoryview) else data
