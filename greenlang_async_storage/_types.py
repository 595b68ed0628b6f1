"""The values users see: frozen results, the choices they may name, the shapes of what they may pass in."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, Protocol, Self, TypeAlias, TypedDict, TypeVar

from ._errors import S3Error

T = TypeVar("T")

Purpose: TypeAlias = Literal["data_lake", "reports", "models", "temp", "cache"]
"""The five buckets of the platform; each has an attribute on the session and a variable of its own."""

EncryptionMode: TypeAlias = Literal["aws:kms", "AES256", "none"]
ChecksumChoice: TypeAlias = Literal["CRC64NVME", "CRC32", "SHA256", "none"]
"""What uploads may be asked to send (`GREENLANG_STORAGE_CHECKSUM`)."""
ChecksumAlgorithm: TypeAlias = Literal["CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1"]
"""What S3 may have stored."""
ChecksumType: TypeAlias = Literal["FULL_OBJECT", "COMPOSITE"]
Verify: TypeAlias = Literal["if-available", "require"]
RetryMode: TypeAlias = Literal["adaptive", "standard", "none"]

Buffer: TypeAlias = bytes | bytearray | memoryview
PartData: TypeAlias = Buffer | tuple[Buffer, ...]
"""One buffer, or several that follow each other."""
StrPath: TypeAlias = str | os.PathLike[str]
ByteRange: TypeAlias = tuple[int, int | None]
"""Half-open `(start, stop)` in bytes; `stop=None` means to the end."""


class SyncReader(Protocol):
    """A file object open for reading bytes; it is read in a thread."""

    def read(self, size: int, /) -> Buffer: ...


class AsyncReader(Protocol):
    """A stream such as `asyncio.StreamReader` or Starlette's `UploadFile`."""

    def read(self, size: int, /) -> Awaitable[Buffer]: ...


ByteSource: TypeAlias = Buffer | StrPath | Iterable[Buffer] | AsyncIterable[Buffer] | SyncReader | AsyncReader
"""Where bytes come from: a buffer, a path, pieces of any size (sync or async), an object with `read(n)`."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How S3 encrypts an object at rest, such as `Encryption("aws:kms", key_id="alias/reports")`."""

    mode: EncryptionMode
    key_id: str | None = field(default=None, repr=False)
    """KMS key id, ARN or alias; `None` means the configured `KMS_KEY_ID`."""


class WriteOptions(TypedDict, total=False):
    """The keyword arguments every write takes; each may be left out."""

    metadata: Mapping[str, str] | None
    """User metadata, at most 2 KiB in all (S3: "Working with object metadata")."""
    tags: Mapping[str, str] | None
    """At most 10; key ≤ 128, value ≤ 256 characters (S3: "Categorizing your storage using tags")."""
    content_type: str | None
    """Guessed from the key's extension when absent."""
    content_disposition: str | None
    cache_control: str | None
    encryption: Encryption | EncryptionMode | None
    """Instead of the configured one."""
    if_none_match: bool
    """`True`: create only; an existing object gives `S3PreconditionFailedError`."""
    if_match: str | None
    """Write only over the object with this ETag (compare and swap)."""
    storage_class: str | None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum as S3 stores it."""

    algorithm: ChecksumAlgorithm
    value: str
    """Base64 of the big-endian digest; composite values end in `-N`, N being the number of parts."""
    type: ChecksumType = "FULL_OBJECT"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of one object; a listing fills only what S3 lists."""

    key: str
    size: int
    """Bytes of the whole object, also when only a range of it was read."""
    etag: str
    """Without quotes. No digest of the content when the object was sent in parts or encrypted with KMS."""
    last_modified: datetime | None = None
    """With time zone (UTC)."""
    version_id: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    checksum: Checksum | None = None
    verified: bool = False
    """True once the bytes that were read matched the stored checksum."""
    content_disposition: str | None = None
    content_encoding: str | None = None
    cache_control: str | None = None
    encryption: str | None = None
    """`aws:kms` or `AES256` where the store says so."""
    parts: int | None = None
    """Number of parts the object was sent in, where the store says so."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version or delete marker of a key."""

    key: str
    version_id: str
    is_latest: bool
    is_delete_marker: bool
    last_modified: datetime
    size: int = 0
    etag: str = ""
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What S3 acknowledged."""

    key: str
    etag: str
    """Without quotes. No digest of the content when the object was sent in parts or encrypted with KMS."""
    size: int
    version_id: str | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An open multipart upload: plain data, so another process or a browser may go on with it."""

    bucket: str
    key: str
    upload_id: str
    checksum: ChecksumChoice = "none"
    """What `complete_multipart` and the parts agree on."""
    token: str = ""
    """Random; stored with the object so that a lost reply to Complete can be settled."""


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part S3 holds for an open multipart upload."""

    number: int
    """1 to 10,000."""
    etag: str
    size: int | None = None
    checksum: str | None = None
    """Base64 checksum of this part, as the upload's algorithm asks."""


@dataclass(frozen=True, slots=True)
class StaleUpload:
    """A multipart upload found open past the asked age."""

    key: str
    upload_id: str
    initiated: datetime
    aborted: bool
    error: S3Error | None = None


class PresignedUrl(str):
    """A signed URL: a plain `str` that also knows when it stops working."""

    __slots__ = ("expires_at",)
    expires_at: datetime

    def __new__(cls, url: str, expires_at: datetime) -> Self:
        self = super().__new__(cls, url)
        self.expires_at = expires_at
        return self

    def __getnewargs__(self) -> tuple[str, datetime]:  # type: ignore[override]  # str's takes the text alone
        return str(self), self.expires_at

    def __repr__(self) -> str:
        """Without the signature: a repr ends up in logs."""
        return f"PresignedUrl({self.partition('?')[0]!r}, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """A signed PUT: send exactly these headers with the body."""

    url: PresignedUrl
    headers: Mapping[str, str] = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A signed browser form: send these fields, in order, then the file field last."""

    url: str
    fields: Mapping[str, str] = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer or a batch has come; cumulative, in bytes."""

    done: int
    total: int | None
    """`None` when unknown."""
    rate: float
    """Bytes per second since the start."""
    items_done: int = 0
    items_total: int | None = None
    key: str | None = None


ProgressHook: TypeAlias = Callable[[Progress], Awaitable[None] | None]
"""Called as bytes move; an exception in it is logged once and ignored (cancel the task to stop)."""


@dataclass(frozen=True, slots=True)
class UploadItem:
    """One object of a batch: where it goes, where its bytes come from, and its write options."""

    key: str
    source: ByteSource
    bucket: str | None = None
    """Another bucket of the same session; `None` means the bucket the batch was called on."""
    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    content_type: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    encryption: Encryption | EncryptionMode | None = None
    if_none_match: bool = False
    if_match: str | None = None
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one item of a batch: exactly one of `result` and `error` is set."""

    index: int
    """Position in the input, from 0."""
    key: str
    bucket: str
    result: T | None = None
    error: S3Error | None = None

    @property
    def ok(self) -> bool:
        """Whether the item succeeded."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class BatchReport(Generic[T]):
    """One outcome per input item, in input order."""

    succeeded: Sequence[Outcome[T]]
    failed: Sequence[Outcome[T]]
    bytes: int
    seconds: float

    def raise_for_errors(self) -> None:
        """Raise the first failure, with a note that counts the others; return when there is none."""
        if not self.failed:
            return
        first = self.failed[0].error
        assert first is not None  # noqa: S101  # `failed` holds only outcomes with an error
        others = len(self.failed) - 1
        if others:
            keys = ", ".join(repr(item.key) for item in self.failed[1:4])
            first.add_note(f"{others} more of this batch failed, among them {keys}; see BatchReport.failed")
        raise first


@dataclass(frozen=True, slots=True)
class BucketReadiness:
    """Whether one configured bucket answered."""

    name: str
    ok: bool
    error: S3Error | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this session can work: every configured bucket answered and the credentials live."""

    ok: bool
    buckets: Mapping[str, BucketReadiness]
    """By purpose, such as `data_lake`."""
    credentials_expire_in: float | None
    """Seconds; `None` when they do not expire, or a role has yet to fetch them."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store supports; `None` where it could not be found out."""

    conditional_writes: bool | None
    """`if_none_match` and `if_match` are enforced on PUT."""
    conditional_multipart: bool | None
    """The same on CompleteMultipartUpload."""
    full_object_checksums: bool | None
    """CRC64NVME FULL_OBJECT is stored and given back."""
    tags: bool | None
    kms: bool | None
    """SSE-KMS with the configured key works."""
    versions: bool | None
    """The probed bucket keeps versions."""
    presigned_post: bool | None
    clock_offset: float | None
    """Seconds the server's clock is ahead of this machine's, to within half a second."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of one session since it was opened, and its state right now."""

    in_flight: int
    """Requests and open bodies holding a pool slot."""
    pool_size: int
    pool_waiting: int
    """Calls waiting for a slot."""
    requests: int
    """Calls made to S3."""
    attempts: int
    """Requests sent, retries included."""
    retries: int
    """Attempts after the first of a call."""
    throttles: int
    """Replies that asked to slow down."""
    errors: int
    """Calls that failed for good."""
    bytes_sent: int
    """Bytes of request bodies that were acknowledged."""
    bytes_received: int
    """Bytes of objects that were read."""
    possible_orphans: int
    """Multipart uploads not proved completed or aborted; `abort_stale_uploads` finds them."""
    cleanups_pending: int
