"""What the in-memory store keeps: buckets, versions of objects, open and completed uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from greenlang_async_storage.testing._memory._wire import Refusal

Behaviour: TypeAlias = Literal["aws", "minio", "moto"]
Versioning: TypeAlias = Literal["Enabled", "Suspended"]
NULL_VERSION = "null"


@dataclass(frozen=True, slots=True)
class Part:
    """One acknowledged part of an upload, or what is remembered of it in the object."""

    number: int
    data: bytes
    etag: str
    modified: datetime
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)


@dataclass(slots=True)
class Version:
    """One version of an object, or a delete marker."""

    key: str
    version_id: str
    modified: datetime
    data: bytes = b""
    etag: str = ""
    marker: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """Content-Type and the like, encryption and storage class, as the write gave them."""
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def storage_class(self) -> str:
        """`STANDARD` unless the write chose another."""
        return self.headers.get("x-amz-storage-class", "STANDARD")


@dataclass(slots=True)
class Upload:
    """One open multipart upload."""

    upload_id: str
    key: str
    initiated: datetime
    headers: dict[str, str]
    metadata: dict[str, str]
    tags: dict[str, str]
    algorithm: str | None
    """Of its checksums; `None` where the store keeps none."""
    checksum_type: str | None
    stated: bool
    """Whether the writer chose the algorithm."""
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class BucketState:
    """One bucket. Versions of a key are kept oldest first; without versioning there is one."""

    name: str
    created: datetime
    region: str
    versioning: Versioning | None = None
    versions: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    completed: dict[str, tuple[Upload, Version]] = field(default_factory=dict)

    def current(self, key: str) -> Version | None:
        """The object under *key*; `None` when there is none or it was deleted."""
        found = self.versions.get(key)
        return found[-1] if found and not found[-1].marker else None

    def find(self, key: str, version_id: str | None) -> Version:
        """A version to read. S3's refusals for missing keys, missing versions and delete markers."""
        if version_id is None:
            listed = self.versions.get(key)
            if listed and listed[-1].marker:
                shown = {"x-amz-delete-marker": "true", "x-amz-version-id": listed[-1].version_id}
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.", headers=shown, Key=key)
            if not listed:
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.", Key=key)
            return listed[-1]
        for version in self.versions.get(key, ()):
            if version.version_id == version_id:
                if version.marker:
                    raise Refusal(
                        405,
                        "MethodNotAllowed",
                        "The specified method is not allowed against this resource.",
                        headers={"x-amz-delete-marker": "true", "allow": "DELETE"},
                    )
                return version
        raise Refusal(404, "NoSuchVersion", "The specified version does not exist.", VersionId=version_id)

    def put(self, version: Version, new_id: Callable[[], str]) -> Version:
        """Store *version* as the current one, under an id of its own where the bucket has versions."""
        kept = self.versions.setdefault(version.key, [])
        if self.versioning == "Enabled":
            version.version_id = new_id()
        else:
            version.version_id = NULL_VERSION
            kept[:] = [other for other in kept if other.version_id != NULL_VERSION]
        kept.append(version)
        return version

    def drop(self, key: str, version_id: str) -> Version | None:
        """Remove one version for good; `None` when there was none."""
        kept = self.versions.get(key, [])
        for at, version in enumerate(kept):
            if version.version_id == version_id:
                del kept[at]
                if not kept:
                    del self.versions[key]
                return version
        return None

    def upload(self, upload_id: str, key: str) -> Upload:
        """An open upload. `NoSuchUpload` otherwise."""
        found = self.uploads.get(upload_id)
        if found is None or found.key != key:
            raise no_such_upload(upload_id)
        return found

    def objects(self) -> Iterator[Version]:
        """The current objects in the order of S3, that of their keys' UTF-8 bytes."""
        for key in sorted(self.versions, key=str.encode):
            if (found := self.current(key)) is not None:
                yield found


def no_such_upload(upload_id: str) -> Refusal:
    """S3's answer to a wrong upload id."""
    return Refusal(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
        "aborted or completed.",
        UploadId=upload_id,
    )
