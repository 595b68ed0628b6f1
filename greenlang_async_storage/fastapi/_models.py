"""The JSON of the direct upload service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ._rules import MAX_PARTS

MAX_URLS = 50
"""Part URLs signed in one request."""

Handle = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MediaType = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$", max_length=127, to_lower=True
    ),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUpload(_Asked):
    """A file somebody wants to send."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    size: Annotated[int, Field(ge=1)]
    """Bytes; exactly so many must be sent."""
    content_type: MediaType = "application/octet-stream"


class UploadHandle(_Asked):
    """An upload that was begun."""

    upload: Handle


class PartNumbers(UploadHandle):
    """Parts that are to be signed."""

    numbers: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_PARTS)]], Field(min_length=1, max_length=MAX_URLS)
    ]


class UploadToConfirm(UploadHandle):
    """An upload whose bytes were sent; with a checksum they are compared."""

    sha256: Sha256 | None = None
    """Of the whole file."""
    part_sha256: Annotated[list[Sha256], Field(max_length=MAX_PARTS)] | None = None
    """Of every part, in order, for clients that cannot hash a whole file."""


class PostUpload(BaseModel):
    """Send `fields` in order and the file last, as one form, to `url`; then confirm."""

    method: Literal["post"] = "post"
    upload: str
    url: str
    fields: dict[str, str]
    url_expires_at: datetime
    expires_at: datetime


class PartsUpload(BaseModel):
    """Ask for part URLs, PUT each part, complete; then confirm. Resumable until `expires_at`."""

    method: Literal["multipart"] = "multipart"
    upload: str
    part_size: int
    """Bytes of every part but the last."""
    parts: int
    expires_at: datetime


class PartUrls(BaseModel):
    """A signed PUT for each part number."""

    urls: dict[int, str]
    expires_at: datetime


class HeldPart(BaseModel):
    """A part the store has."""

    number: int
    size: int | None


class HeldParts(BaseModel):
    """What a resumed upload need not send again."""

    parts: list[HeldPart]


class CompletedUpload(BaseModel):
    """The parts became one object, which is still to be confirmed."""

    size: int


class ConfirmedUpload(BaseModel):
    """An upload whose size and type, and checksum where one was stated, are as announced."""

    key: str
    """Below the tenant's part of the landing zone: `{upload}/{filename}`."""
    filename: str
    size: int
    content_type: str
    etag: str
    """What was validated; readers pin it with `if_match=`."""
    version_id: str | None = None
    verified: bool
    """Whether a checksum was stated and the stored bytes have it."""
