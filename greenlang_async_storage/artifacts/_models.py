"""Models: immutable versions with metrics and a manifest, loaded only as they were saved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from greenlang_async_storage import Bucket

from ._formats import prepared
from ._json import encoded
from ._keys import metrics_key, stage_key
from ._manifest import ModelManifest
from ._model_reads import LATEST, ModelReads
from ._policy import ArtifactPolicy
from ._publishing import Publication
from ._segments import check_segment
from ._stages import ModelStage, moved_on, read_stage, write_stage
from ._times import Clock, in_utc, utc_now


class ModelStore(ModelReads):
    """
    Models of one application: immutable versions, each whole or not there at all.

    Needs a store with conditional writes (`session.probe()` tells); AWS S3 and MinIO have them. Files, and
    objects it serialises, are streamed from and to disk: memory holds one upload's or download's parts.
    """

    def __init__(
        self,
        bucket: Bucket,
        application: str = "common",
        *,
        tags: bool = False,
        policy: ArtifactPolicy | None = None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(bucket, application)
        self._policy = (policy or ArtifactPolicy()).tagged(tags=tags)
        self._clock = clock

    async def save(
        self,
        name: str,
        version: str,
        model: object,
        metrics: Mapping[str, object] | None = None,
        *,
        format: str | None = None,
        framework: str | None = None,
        trained_at: datetime | None = None,
        take_over: bool = False,
    ) -> ModelManifest:
        """
        Store *model* as a new *version*, visible at once with its metrics, or not at all.

        *model* is bytes, the path of a file (`str` or `PathLike`, streamed), or an object, which pickle
        writes, joblib with `format="joblib"`, or its own `SerializeToString` (ONNX). *format* is the
        extension it is stored under. A save that was cut off left nothing visible: called again with the same
        model it goes on, and with another one *take_over* replaces what is there.

        Raises:
            S3PreconditionFailedError: the version exists, or another save has it; nothing of it was changed.
            S3SourceChangedError: the file changed meanwhile.
            TypeError, ValueError: a name, version or format that is no safe segment; metrics unfit for JSON.
        """
        if version == LATEST:
            raise ValueError("version 'latest' stands for the highest one; save under another name")
        now = in_utc("clock()", self._clock())
        trained = now if trained_at is None else in_utc("trained_at", trained_at)
        metrics_key(self._application, name, version)
        numbers = await encoded(dict(metrics or {}), "metrics")
        async with prepared(model, format, framework) as ready:
            planned = ModelManifest(
                self._bucket.name,
                self._application,
                name,
                version,
                ready.format,
                ready.framework,
                trained,
                now,
                size=0,
                sha256=None,
                metrics_sha256=None,
            )
            metadata = {
                "model-name": name,
                "model-version": version,
                "trained-at": trained.isoformat(),
                "framework": ready.framework,
            }
            options = self._policy.options(
                self._bucket.name, metadata, application=self._application, created_at=now
            )
            publication = Publication(self._bucket, planned, options)
            with self._policy.explained():
                if take_over:
                    return await publication.take_over(ready.data, numbers)
                return await publication.publish(ready.data, numbers)

    async def promote(
        self, name: str, version: str, stage: str = "production", *, expected: str | None = None
    ) -> ModelStage:
        """
        Let *stage* stand for *version* from now on, by compare and swap.

        With *expected* only where it stands for that version now. To go back, promote `previous`.

        Raises:
            S3NotFoundError: no such finished version.
            S3PreconditionFailedError: somebody else promoted at the same moment, or *expected* did not hold.
        """
        check_segment("stage", stage)
        version = (await self.manifest(name, version)).version
        current = await read_stage(self._bucket, self._application, name, stage)
        before = current[0].version if current else None
        if expected is not None and before != expected:
            key = stage_key(self._application, name, stage)
            raise moved_on(self._bucket, key, name, stage, f"version {before!r}" if before else "no version")
        now = in_utc("clock()", self._clock())
        pointer = ModelStage(name, stage, version, now, before)
        metadata = {"model-name": name, "model-version": version, "promoted-at": now.isoformat()}
        options = self._policy.options(
            self._bucket.name, metadata, application=self._application, created_at=now
        )
        with self._policy.explained():
            await write_stage(
                self._bucket, self._application, pointer, options, etag=current[1] if current else None
            )
        return pointer
