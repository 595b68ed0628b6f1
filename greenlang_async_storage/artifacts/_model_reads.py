"""The reading half of `ModelStore`: what a manifest proves, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Final

from greenlang_async_storage import (
    Bucket,
    ObjectInfo,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    StrPath,
)

from ._formats import UNSAFE, temporary_folder, unpickled
from ._json import JsonObject, damaged, decoded
from ._keys import manifest_key, model_prefix, parse_model_key, stage_key, version_prefix
from ._manifest import MAX_RESERVATION, ModelManifest
from ._objects import check_hash, read, require_hash
from ._publishing import ATTEMPT, published
from ._segments import check_segment
from ._stages import ModelStage, read_stage, stage_names
from ._threads import in_thread, sha256_of_file
from ._times import read_time
from ._versions import in_order

LATEST: Final = "latest"


class ModelReads:
    """Everything that changes nothing."""

    def __init__(self, bucket: Bucket, application: str) -> None:
        self._bucket = bucket
        self._application = check_segment("application", application)

    async def load(
        self,
        name: str,
        version: str = LATEST,
        *,
        stage: str | None = None,
        trust: bool = False,
        allow_legacy: bool = False,
        sha256: str | None = None,
    ) -> object:
        """
        The model: an object from pickle and joblib, the bytes from every other format (in memory).

        Pickle and joblib files run code as they load, so they need *trust*, and are opened only after their
        hash matched the manifest. *allow_legacy* reads versions without a manifest, where nothing but your
        own *sha256* proves the data. *stage* loads the version it stands for.

        Raises:
            S3NotFoundError: no such model, version or stage, or its save is not finished.
            S3InvalidRequestError: a pickle without *trust*; nothing was read of it.
            S3IntegrityError: the data is not what was saved, or is no file of its format.
        """
        found = await self.manifest(name, version, stage=stage, allow_legacy=allow_legacy)
        if found.format not in UNSAFE:
            _, data = await read(self._bucket, found.key)
            if expected := sha256 or found.sha256:
                await check_hash(self._bucket, found.key, data, expected)
            return data
        if not trust:
            raise S3InvalidRequestError(
                f"a {found.format} file runs whatever code it holds when it is loaded",
                operation="GetObject",
                bucket=self._bucket.name,
                key=found.key,
                remedy="If you trust who saved it, pass trust=True; else use download(), or save as ONNX or "
                "safetensors.",
            )
        async with temporary_folder() as folder:
            path = folder / f"model.{found.format}"
            await self._fetch(found, path, sha256)
            return await in_thread(partial(unpickled, path, found.format, self._bucket.name, found.key))

    async def download(
        self,
        name: str,
        path: StrPath,
        version: str = LATEST,
        *,
        stage: str | None = None,
        allow_legacy: bool = False,
        sha256: str | None = None,
    ) -> ModelManifest:
        """
        The model's data as a file at *path*, of any format and size; it appears there after its hash matched.

        Safe for every format: nothing is loaded. Raises as `load`, and `S3LocalFileError`.
        """
        found = await self.manifest(name, version, stage=stage, allow_legacy=allow_legacy)
        target = Path(path)
        waiting = target.with_name(f".{target.name[:200]}.{token_hex(4)}.part")
        try:
            await self._fetch(found, waiting, sha256)
            await in_thread(partial(_rename, waiting, target))
        finally:
            await in_thread(partial(_remove, waiting))
        return found

    async def metrics(
        self, name: str, version: str = LATEST, *, stage: str | None = None, allow_legacy: bool = False
    ) -> JsonObject:
        """The metrics a version was saved with, proved by its manifest; the model itself is not touched."""
        found = await self.manifest(name, version, stage=stage, allow_legacy=allow_legacy)
        _, data = await read(self._bucket, found.metrics_key)
        if found.metrics_sha256:
            await check_hash(self._bucket, found.metrics_key, data, found.metrics_sha256)
        value = await decoded(data, self._bucket.name, found.metrics_key)
        if not isinstance(value, dict):
            raise damaged(self._bucket.name, found.metrics_key, "is no JSON object")
        return value

    async def manifest(
        self, name: str, version: str = LATEST, *, stage: str | None = None, allow_legacy: bool = False
    ) -> ModelManifest:
        """
        What a version consists of: format, framework, times, size and hashes.

        `latest` is the highest version; *stage* the one a stage stands for. `S3NotFoundError` when there is
        none, or its save is not finished.
        """
        if stage is not None:
            if version != LATEST:
                raise ValueError(f"version {version!r} and stage {stage!r} were both given; pass one of them")
            version = (await self.stage(name, stage)).version
        elif version == LATEST:
            version = await self.latest(name, allow_legacy=allow_legacy)
        key = manifest_key(self._application, name, version)
        wanted = ModelManifest(
            self._bucket.name, self._application, name, version, "", "", None, None, 0, None, None
        )
        info, found = await published(self._bucket, wanted)
        if found is None and info is None and allow_legacy:
            found = await self._legacy(name, version)
        if found is None:
            raise S3NotFoundError(
                f"model {name!r} has no finished version {version!r}",
                operation="GetObject",
                bucket=self._bucket.name,
                key=key,
                code="NoSuchKey",
                status=404,
                remedy="versions() lists the finished ones; allow_legacy=True reads those of older code.",
            )
        return found

    async def versions(self, name: str, *, allow_legacy: bool = False) -> list[str]:
        """
        The finished versions in ascending order (PEP 440, else digit runs as numbers); one listing.

        *allow_legacy* adds those without a manifest, for one request more each.
        """
        prefix = model_prefix(self._application, name)
        finished: set[str] = set()
        others: set[str] = set()
        async for entry in self._bucket.list_objects(prefix):
            version, _, file = entry.key.removeprefix(prefix).partition("/")
            if file == "manifest.json" and entry.size > MAX_RESERVATION:
                finished.add(version)
            elif file.startswith("model."):
                others.add(version)
        if allow_legacy:
            finished |= {found for found in others - finished if await self._legacy(name, found)}
        return in_order(finished)

    async def latest(self, name: str, *, allow_legacy: bool = False) -> str:
        """The highest finished version, pre-releases included. `S3NotFoundError` when there is none."""
        found = await self.versions(name, allow_legacy=allow_legacy)
        if not found:
            raise S3NotFoundError(
                f"model {name!r} has no finished version",
                operation="ListObjectsV2",
                bucket=self._bucket.name,
                key=model_prefix(self._application, name),
                code="NoSuchKey",
                status=404,
                remedy="names() lists the models; allow_legacy=True counts versions of older code.",
            )
        return found[-1]

    async def names(self) -> list[str]:
        """The models of this application, sorted; one listing."""
        prefix = f"models/{self._application}/"
        found = [name async for name in self._bucket.list_prefixes(prefix)]
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    async def stage(self, name: str, stage: str = "production") -> ModelStage:
        """Which version *stage* stands for. `S3NotFoundError` when nothing was promoted to it."""
        found = await read_stage(self._bucket, self._application, name, stage)
        if found is None:
            raise S3NotFoundError(
                f"model {name!r} has no version in stage {stage!r}",
                operation="GetObject",
                bucket=self._bucket.name,
                key=stage_key(self._application, name, stage),
                code="NoSuchKey",
                status=404,
                remedy="promote() one; stages() lists the stages there are.",
            )
        return found[0]

    async def stages(self, name: str) -> list[ModelStage]:
        """Every stage of a model, by name."""
        return [
            await self.stage(name, stage)
            for stage in await stage_names(self._bucket, self._application, name)
        ]

    async def _fetch(self, found: ModelManifest, path: Path, sha256: str | None) -> None:
        """The data as a file that matches its hash."""
        await self._bucket.download_file(found.key, path)
        if expected := sha256 or found.sha256:
            require_hash(self._bucket, found.key, await sha256_of_file(path), expected)

    async def _legacy(self, name: str, version: str) -> ModelManifest | None:
        """A version as older code wrote it: data without a manifest, and not of a save under way."""
        prefix = version_prefix(self._application, name, version)
        keys = [entry.key async for entry in self._bucket.list_objects(f"{prefix}model.")]
        for key in sorted(keys, key=lambda key: (not key.endswith("model.pkl"), key)):
            with suppress(S3NotFoundError):
                info = await self._bucket.head(key)
                if ATTEMPT not in info.metadata:
                    return self._described(key, info)
        return None

    def _described(self, key: str, info: ObjectInfo) -> ModelManifest | None:
        try:
            parsed = parse_model_key(key)
            trained = info.metadata.get("trained-at")
            trained_at = read_time(trained) if trained else None
        except ValueError:
            return None
        return ModelManifest(
            self._bucket.name,
            parsed.application,
            parsed.name,
            parsed.version,
            parsed.format,
            info.metadata.get("framework", "unknown"),
            trained_at,
            info.last_modified,
            info.size,
            None,
            None,
        )


def _remove(waiting: Path) -> None:
    with suppress(OSError):
        waiting.unlink(missing_ok=True)


def _rename(waiting: Path, target: Path) -> None:
    try:
        waiting.replace(target)
    except OSError as error:
        raise S3LocalFileError(
            f"{target} cannot be written: {error.strerror or error}", errno=error.errno
        ) from error
