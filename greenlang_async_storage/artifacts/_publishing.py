"""
How a version of a model comes into being: whole, once, and never over another one.

Every file is created, never overwritten (`If-None-Match: *`), metrics first, the manifest last: it decides.
Readers follow the manifest, so a version is there with all its files or not at all. Of many who save one
version at the same time, exactly one manifest is created; the others fail at the first file that is not
theirs. What a save that was cut off left behind is invisible: the same save called again goes on with it, and
`take_over=True` replaces it. Taking over first puts a reservation where the manifest belongs: from then on
the save that was taken for dead cannot finish, and the reservation is exchanged for the manifest by compare
and swap.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from greenlang_async_storage import (
    Bucket,
    Buffer,
    ObjectInfo,
    S3NotFoundError,
    S3PreconditionFailedError,
    UploadResult,
    WriteOptions,
)

from ._json import decoded
from ._keys import manifest_key, version_prefix
from ._manifest import MAX_MANIFEST, ModelManifest, manifest_bytes, read_manifest, reservation_bytes
from ._objects import read
from ._threads import sha256_of, sha256_of_file

ATTEMPT: Final = "save-attempt"
"""Metadata name by which files of a save, finished or not, are told from those of older code."""

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class _Placed:
    """A file of the version, as it is in the store."""

    size: int
    sha256: str


class Publication:
    """One save of one version."""

    def __init__(self, bucket: Bucket, manifest: ModelManifest, options: WriteOptions) -> None:
        self._bucket = bucket
        self._manifest = manifest
        self._attempt = secrets.token_hex(16)
        metadata = {**(options.get("metadata") or {}), ATTEMPT: self._attempt}
        self._options: WriteOptions = {**options, "metadata": metadata}
        self._key = manifest_key(manifest.application, manifest.name, manifest.version)

    async def publish(self, model: Buffer | Path, metrics: bytes) -> ModelManifest:
        """The version, now visible. `S3PreconditionFailedError` when it exists or another save has it."""
        placed = [
            await self._create(self._manifest.metrics_key, metrics),
            await self._create(self._manifest.key, model),
        ]
        manifest = self._described(*placed)
        try:
            await self._put(self._key, manifest_bytes(manifest), {"if_none_match": True})
        except S3PreconditionFailedError as error:
            raise await self._occupied() from error
        return manifest

    async def take_over(self, model: Buffer | Path, metrics: bytes) -> ModelManifest:
        """The same, in the place of a save that was cut off; whoever ran it can no longer finish it."""
        await self._refuse_older_code()
        reserved = await self._reserve()
        placed = [
            await self._replace(self._manifest.metrics_key, metrics, reserved),
            await self._replace(self._manifest.key, model, reserved),
        ]
        manifest = self._described(*placed)
        try:
            await self._put(self._key, manifest_bytes(manifest), {"if_match": reserved.etag})
        except (S3PreconditionFailedError, S3NotFoundError) as error:
            raise await self._occupied() from error
        return manifest

    async def _create(self, key: str, data: Buffer | Path) -> _Placed:
        """The file, created; or found as an earlier try of this very save left it."""
        try:
            await self._put(key, data, {"if_none_match": True})
        except S3PreconditionFailedError as error:
            digest = await (sha256_of_file(data) if isinstance(data, Path) else sha256_of(data))
            found = await self._look(key)
            if found is None or ATTEMPT not in found.metadata or found.metadata.get("content-hash") != digest:
                raise await self._occupied(found) from error
            return _Placed(found.size, digest)
        return await self._placed(key, data)

    async def _replace(self, key: str, data: Buffer | Path, reserved: UploadResult) -> _Placed:
        """
        The file, over what the save that was cut off left, or may yet send.

        Looked at before the reservation is: who has taken it over since then writes another file than the
        one that may be replaced here.
        """
        for _ in range(_TRIES):
            found = await self._look(key)
            reservation = await self._look(self._key)
            if reservation is None or reservation.etag != reserved.etag:
                raise await self._occupied()
            condition: WriteOptions = {"if_none_match": True} if found is None else {"if_match": found.etag}
            try:
                await self._put(key, data, condition)
            except (S3PreconditionFailedError, S3NotFoundError):
                continue
            return await self._placed(key, data)
        raise self._refusal("is being written by others at this moment", "Find out who else is saving it.")

    async def _placed(self, key: str, data: Buffer | Path) -> _Placed:
        if not isinstance(data, Path):
            return _Placed(memoryview(data).nbytes, await sha256_of(data))
        # The upload's own hash: of the bytes that were sent, whatever has become of the file since.
        found = await self._bucket.head(key)
        return _Placed(found.size, found.metadata["content-hash"])

    async def _reserve(self) -> UploadResult:
        """A reservation of ours where the manifest belongs."""
        data = reservation_bytes(self._attempt)
        try:
            return await self._put(self._key, data, {"if_none_match": True})
        except S3PreconditionFailedError:
            info, found = await published(self._bucket, self._manifest)
            if found is not None or info is None:
                raise await self._occupied() from None
        try:
            return await self._put(self._key, data, {"if_match": info.etag})
        except (S3PreconditionFailedError, S3NotFoundError) as error:
            raise await self._occupied() from error

    async def _put(self, key: str, data: Buffer | Path, condition: WriteOptions) -> UploadResult:
        options: WriteOptions = {**self._options, **condition}
        if isinstance(data, Path):
            return await self._bucket.upload_file(key, data, **options)
        return await self._bucket.upload_bytes(key, data, **options)

    async def _look(self, key: str) -> ObjectInfo | None:
        try:
            return await self._bucket.head(key)
        except S3NotFoundError:
            return None

    def _described(self, metrics: _Placed, model: _Placed) -> ModelManifest:
        return replace(self._manifest, size=model.size, sha256=model.sha256, metrics_sha256=metrics.sha256)

    async def _refuse_older_code(self) -> None:
        manifest = self._manifest
        prefix = version_prefix(manifest.application, manifest.name, manifest.version)
        async for entry in self._bucket.list_objects(prefix):
            if entry.key != self._key:
                found = await self._look(entry.key)
                if found is not None and ATTEMPT not in found.metadata:
                    raise self._older_code()

    async def _occupied(self, found: ObjectInfo | None = None) -> S3PreconditionFailedError:
        """Why this version cannot be saved."""
        info, manifest = await published(self._bucket, self._manifest)
        if manifest is not None:
            return self._refusal("exists already", "Versions are immutable: save it as another version.")
        if info is None and found is not None and ATTEMPT not in found.metadata:
            return self._older_code()
        return self._refusal(
            "is being saved by another, or by a save that was cut off",
            "If nobody is saving it, save again with take_over=True.",
        )

    def _older_code(self) -> S3PreconditionFailedError:
        return self._refusal(
            "was written by older code, without a manifest",
            "Save it as another version; load(allow_legacy=True) reads this one.",
        )

    def _refusal(self, why: str, remedy: str) -> S3PreconditionFailedError:
        manifest = self._manifest
        return S3PreconditionFailedError(
            f"version {manifest.version!r} of model {manifest.name!r} {why}",
            operation="PutObject",
            bucket=self._bucket.name,
            key=self._key,
            code="PreconditionFailed",
            status=412,
            remedy=remedy,
        )


async def published(bucket: Bucket, version: ModelManifest) -> tuple[ObjectInfo | None, ModelManifest | None]:
    """What is stored as the manifest of *version*, and the manifest if it is a finished one."""
    key = manifest_key(version.application, version.name, version.version)
    try:
        info, data = await read(bucket, key, max_size=MAX_MANIFEST)
    except S3NotFoundError as error:
        if error.code == "NoSuchBucket":
            raise
        return None, None
    value = await decoded(data, bucket.name, key)
    manifest = read_manifest(
        value,
        bucket.name,
        key,
        application=version.application,
        name=version.name,
        version=version.version,
    )
    return info, manifest
