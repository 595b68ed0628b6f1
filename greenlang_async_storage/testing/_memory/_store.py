"""The state every operation works on, with its clock, its ids and the ways in which stores differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from greenlang_async_storage.testing._memory._state import Behaviour, BucketState, Version
from greenlang_async_storage.testing._memory._wire import Call, Refusal

MAX_KEY_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 2048
MAX_TAGS: Final = 10
_KEPT: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
METADATA: Final = "x-amz-meta-"


@dataclass(slots=True)
class Store:
    """Everything one `MemoryS3` knows."""

    behaviour: Behaviour
    region: str
    owner: str
    clock: Callable[[], datetime]
    min_part_size: int
    buckets: dict[str, BucketState] = field(default_factory=dict)
    _count: int = 0

    def new_id(self, kind: str) -> str:
        """The next id: the same ones in each run, so that a run can be replayed."""
        self._count += 1
        return f"{kind}{self._count:012d}"

    def version_id(self) -> str:
        """The id of the next version."""
        return self.new_id("v")

    def bucket(self, name: str) -> BucketState:
        """A bucket. `NoSuchBucket` when there is none."""
        found = self.buckets.get(name)
        if found is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=name)
        return found

    def require_owner(self, headers: Mapping[str, str]) -> None:
        """`AccessDenied` unless the bucket's owner is the account the request expects."""
        for name in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
            if headers.get(name, self.owner) != self.owner:
                raise Refusal(403, "AccessDenied", "Access Denied")

    @property
    def keeps_default_checksum(self) -> bool:
        """Whether an object written without a checksum gets one: AWS computes CRC64NVME."""
        return self.behaviour == "aws"


def kept_headers(call: Call) -> dict[str, str]:
    """The headers of a write that a read gives back."""
    if any("customer-algorithm" in name for name in call.headers):
        raise Refusal(501, "NotImplemented", "The in-memory store has no SSE-C: use MinIO for it.")
    found = {name: call.headers[name] for name in _KEPT if name in call.headers}
    coding = [part.strip() for part in found.get("content-encoding", "").split(",")]
    if "aws-chunked" in coding:
        rest = [part for part in coding if part != "aws-chunked"]
        found["content-encoding"] = ",".join(rest)
        if not rest:
            del found["content-encoding"]
    found.setdefault("content-type", "binary/octet-stream")
    return found


def kept_metadata(call: Call) -> dict[str, str]:
    """The user's metadata, names in lower case. `MetadataTooLarge` above 2 KiB."""
    found = {
        name.removeprefix(METADATA): value
        for name, value in call.headers.items()
        if name.startswith(METADATA)
    }
    size = sum(len(name.encode()) + len(value.encode()) for name, value in found.items())
    if size > MAX_METADATA_BYTES:
        raise Refusal(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            Size=str(size),
            MaxSizeAllowed=str(MAX_METADATA_BYTES),
        )
    return found


def require_key(key: str) -> None:
    """`KeyTooLongError` above 1,024 bytes."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise Refusal(400, "KeyTooLongError", "Your key is too long", MaxSizeAllowed=str(MAX_KEY_BYTES))


def require_tags(tags: dict[str, str]) -> dict[str, str]:
    """*tags*, at most ten."""
    if len(tags) > MAX_TAGS:
        raise Refusal(400, "BadRequest", "Object tags cannot be greater than 10")
    return tags


def version_header(store: Store, call: Call, version: Version) -> dict[str, str]:
    """`x-amz-version-id` in a bucket that has, or had, versions."""
    named = store.bucket(call.bucket).versioning is not None
    return {"x-amz-version-id": version.version_id} if named else {}


def encryption_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The encryption headers a reply repeats."""
    return {name: value for name, value in headers.items() if name.startswith("x-amz-server-side")}
