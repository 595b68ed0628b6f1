"""Stages of a model such as `production`: one small object each that names a version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from greenlang_async_storage import (
    Bucket,
    S3NotFoundError,
    S3PreconditionFailedError,
    WriteOptions,
)

from ._json import damaged, decoded
from ._keys import model_prefix, stage_key
from ._objects import read
from ._segments import check_segment
from ._times import read_time

_MAX_POINTER = 4096


@dataclass(frozen=True, slots=True)
class ModelStage:
    """Which version of a model a stage stands for."""

    name: str
    stage: str
    version: str
    promoted_at: datetime
    previous: str | None = None
    """The version before; promote it again to go back."""


async def read_stage(
    bucket: Bucket, application: str, name: str, stage: str
) -> tuple[ModelStage, str] | None:
    """The stage and the ETag of its pointer; `None` when nothing was ever promoted to it."""
    key = stage_key(application, name, stage)
    try:
        info, data = await read(bucket, key, max_size=_MAX_POINTER)
    except S3NotFoundError as error:
        if error.code == "NoSuchBucket":
            raise
        return None
    value = await decoded(data, bucket.name, key)
    try:
        if not isinstance(value, dict):
            raise TypeError("no object")
        version, previous, moment = value["version"], value.get("previous"), value["promoted_at"]
        if not isinstance(version, str) or not isinstance(moment, str):
            raise TypeError("no text")
        check_segment("version", version)
        before = None if previous is None else check_segment("previous", str(previous))
        return ModelStage(name, stage, version, read_time(moment), before), info.etag
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(bucket.name, key, f"is no pointer of a stage: {error}") from error


async def write_stage(
    bucket: Bucket, application: str, pointer: ModelStage, options: WriteOptions, *, etag: str | None
) -> None:
    """
    Store *pointer* where the pointer still has *etag* (`None`: where there is none).

    `S3PreconditionFailedError` when somebody else promoted meanwhile.
    """
    key = stage_key(application, pointer.name, pointer.stage)
    value = {
        "name": pointer.name,
        "stage": pointer.stage,
        "version": pointer.version,
        "previous": pointer.previous,
        "promoted_at": pointer.promoted_at.isoformat(),
    }
    chosen: WriteOptions = {**options}
    if etag is None:
        chosen["if_none_match"] = True
    else:
        chosen["if_match"] = etag
    try:
        await bucket.upload_bytes(key, json.dumps(value, indent=2).encode(), **chosen)
    except (S3PreconditionFailedError, S3NotFoundError) as error:
        if error.code == "NoSuchBucket":
            raise
        raise moved_on(bucket, key, pointer.name, pointer.stage) from error


def moved_on(
    bucket: Bucket, key: str, name: str, stage: str, now: str | None = None
) -> S3PreconditionFailedError:
    """What is raised when a stage is not what the caller took it for."""
    state = "was promoted by another at the same moment" if now is None else f"stands for {now}"
    return S3PreconditionFailedError(
        f"stage {stage!r} of model {name!r} {state}",
        operation="PutObject",
        bucket=bucket.name,
        key=key,
        code="PreconditionFailed",
        status=412,
        remedy="Look at stage() and decide again.",
    )


async def stage_names(bucket: Bucket, application: str, name: str) -> list[str]:
    """The stages that have a pointer, sorted."""
    prefix = f"{model_prefix(application, name)}stage-"
    found = []
    async for entry in bucket.list_objects(prefix):
        stage = entry.key.removeprefix(prefix)
        if stage.endswith(".json") and "/" not in stage:
            found.append(stage.removesuffix(".json"))
    return sorted(found)
