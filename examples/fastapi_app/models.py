"""The model registry: versions that never change, and the one that is in production."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from greenlang_async_storage.artifacts import JsonObject, ModelStore
from greenlang_async_storage.fastapi import UploadRefusedError

router = APIRouter(prefix="/api/models", tags=["models"])
MOST_BYTES = 32 * 1024 * 1024
METRICS = TypeAdapter(dict[str, float])


class Model(BaseModel):
    """One version of a model."""

    name: str
    version: str
    format: str
    size: int
    sha256: str | None
    trained_at: datetime | None
    metrics: dict[str, object]


class Versions(BaseModel):
    """The versions of a model, the latest last, and what its stages stand for."""

    versions: list[str]
    stages: dict[str, str]


async def registry(request: Request) -> ModelStore:
    """The process's model store."""
    found: ModelStore = request.app.state.models
    return found


Registry = Annotated[ModelStore, Depends(registry)]


@router.get("")
async def names(store: Registry) -> list[str]:
    """Every model."""
    return await store.names()


@router.get("/{name}")
async def versions(name: str, store: Registry) -> Versions:
    """A model's versions and stages."""
    stages = {stage.stage: stage.version for stage in await store.stages(name)}
    return Versions(versions=await store.versions(name), stages=stages)


@router.get("/{name}/{version}")
async def model(name: str, version: str, store: Registry) -> Model:
    """One version (`latest` is the highest) with its metrics."""
    found = await store.manifest(name, version)
    metrics: JsonObject = await store.metrics(name, found.version)
    return Model(
        name=found.name,
        version=found.version,
        format=found.format,
        size=found.size,
        sha256=found.sha256,
        trained_at=found.trained_at,
        metrics=dict(metrics),
    )


@router.put("/{name}/{version}", status_code=201)
async def save(
    name: str,
    version: str,
    request: Request,
    store: Registry,
    *,
    format: str = "onnx",
    metrics: Annotated[str, Query(max_length=8192)] = "{}",
) -> Model:
    """Register the request's body, at most 32 MiB, as a version; 412 when there is one already."""
    try:
        numbers = METRICS.validate_json(metrics)
    except ValidationError:
        raise HTTPException(422, "metrics must be a JSON object of numbers") from None
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BYTES:
            raise UploadRefusedError(413, "too-large", f"A model may have {MOST_BYTES:,} bytes")
    await store.save(name, version, bytes(data), numbers, format=format)
    return await model(name, version, store)


@router.post("/{name}/{version}/promote", status_code=204)
async def promote(name: str, version: str, store: Registry, stage: str = "production") -> None:
    """Let a stage stand for this version from now on."""
    await store.promote(name, version, stage)
