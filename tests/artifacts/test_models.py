"""Models: whole immutable versions, in every format, and stages that stand for them."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3PreconditionFailedError,
)
from greenlang_async_storage.artifacts import ModelManifest, ModelStore
from tests.artifacts.conftest import TurnedClock
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

METRICS = {"r2": 0.93, "rows": 1200}


class Regressor:
    """A model of a framework: something only pickle can write."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regressor) and other.weights == self.weights

    __hash__ = None  # type: ignore[assignment]  # compared by value


class OnnxLike:
    """What `onnx.ModelProto` offers."""

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        return b"\x08\x07onnx"


@pytest.fixture
def store(lake: Bucket, clock: TurnedClock) -> ModelStore:
    """Models of the application `common`."""
    return ModelStore(lake, clock=clock)


@pytest.mark.parametrize(("format", "stored"), [(None, "pkl"), ("pickle", "pickle"), ("joblib", "joblib")])
async def test_objects_come_back_when_trusted(
    store: ModelStore, lake: Bucket, format: str | None, stored: str
) -> None:
    """Pickle and joblib: the object, its metrics and its framework."""
    model = Regressor([0.5, 1.5])
    saved = await store.save("ef", "1.0", model, METRICS, format=format)
    assert await store.load("ef", "1.0", trust=True) == model
    assert await store.metrics("ef", "1.0") == METRICS
    assert (saved.format, saved.framework) == (stored, "tests")
    assert saved.key == f"models/common/ef/1.0/model.{stored}"
    assert await store.manifest("ef") == saved
    with pytest.raises(S3InvalidRequestError, match="runs whatever code"):
        await store.load("ef", "1.0")


@pytest.mark.parametrize(
    ("model", "format", "framework", "data"),
    [
        (b"weights", None, "unknown", b"weights"),
        (bytearray(b"st"), "safetensors", "safetensors", b"st"),
        (memoryview(b"onnx"), "onnx", "onnx", b"onnx"),
        (OnnxLike(), None, "tests", b"\x08\x07onnx"),
    ],
)
async def test_other_formats_are_bytes_and_need_no_trust(
    store: ModelStore, model: object, format: str | None, framework: str, data: bytes
) -> None:
    """ONNX, safetensors and bytes load always."""
    saved = await store.save("m", "1", model, format=format)
    assert await store.load("m") == data
    assert (saved.size, saved.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert saved.framework == framework


async def test_metadata_of_the_guide(store: ModelStore, lake: Bucket, clock: TurnedClock) -> None:
    """model-name, model-version, trained-at and framework, and the hash."""
    saved = await store.save("ef", "2.1", b"w", METRICS, framework="sklearn")
    info = await lake.head(saved.key)
    assert info.metadata["model-name"] == "ef"
    assert info.metadata["model-version"] == "2.1"
    assert info.metadata["trained-at"] == clock.now.isoformat()
    assert info.metadata["framework"] == "sklearn"
    assert info.metadata["content-hash"] == saved.sha256
    assert (await lake.head(saved.metrics_key)).content_type == "application/json"


async def test_files_are_streamed_both_ways(store: ModelStore, tmp_path: Path) -> None:
    """A file above the multipart threshold; its extension is its format."""
    source = tmp_path / "model.onnx"
    source.write_bytes(bytes(range(256)) * 80_000)
    saved = await store.save("big", "1", str(source))
    assert saved.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    target = tmp_path / "new" / "copy.onnx"
    assert await store.download("big", target) == saved
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["copy.onnx"]


async def test_a_version_is_immutable(store: ModelStore) -> None:
    """Saving it again fails, and changes nothing; also with the same model."""
    await store.save("m", "1", b"first", METRICS)
    for model, metrics in [(b"second", {}), (b"first", METRICS), (b"second", METRICS)]:
        for take_over in (False, True):
            with pytest.raises(S3PreconditionFailedError, match="exists already") as caught:
                await store.save("m", "1", model, metrics, take_over=take_over)
            assert "another version" in str(caught.value)
    assert await store.load("m") == b"first"
    assert await store.metrics("m") == METRICS


async def test_the_highest_version_is_the_latest(store: ModelStore) -> None:
    """By number, not by text; the models of the application too."""
    for version in ("1.9", "1.10", "1.10rc1"):
        await store.save("m", version, version.encode())
    await store.save("other", "1", b"")
    assert await store.versions("m") == ["1.9", "1.10rc1", "1.10"]
    assert await store.latest("m") == "1.10"
    assert await store.load("m") == b"1.10"
    assert await store.names() == ["m", "other"]


async def test_what_is_missing_is_not_found(store: ModelStore) -> None:
    """Models, versions and stages; the message says where to look."""
    for call in (store.load, store.metrics, store.manifest, store.latest, store.stage):
        with pytest.raises(S3NotFoundError) as caught:
            await call("none")
        assert "()" in str(caught.value)
    assert await store.versions("none") == []
    assert await store.stages("none") == []
    with pytest.raises(S3NotFoundError):
        await store.promote("none", "1")


async def test_names_do_not_reach_into_others(store: ModelStore) -> None:
    """A model whose name begins another's, and applications, stay apart."""
    await store.save("m", "1", b"m")
    await store.save("m1", "7", b"m1")
    assert await store.versions("m") == ["1"]
    with pytest.raises(S3InvalidRequestError):
        await store.save("../m", "1", b"")
    with pytest.raises(ValueError, match="latest"):
        await store.save("m", "latest", b"")


async def test_stages_move_by_compare_and_swap(store: ModelStore, clock: TurnedClock) -> None:
    """A stage stands for what was promoted last; `expected` guards against decisions on old knowledge."""
    for version in ("1", "2"):
        await store.save("m", version, version.encode())
    first = await store.promote("m", "1")
    assert (first.previous, first.promoted_at) == (None, clock.now)
    second = await store.promote("m", "2", expected="1")
    assert second.previous == "1"
    assert await store.stage("m") == second
    assert await store.load("m", stage="production") == b"2"
    with pytest.raises(S3PreconditionFailedError, match="stands for version '2'"):
        await store.promote("m", "1", expected="1")
    await store.promote("m", "1", "canary")
    assert (await store.promote("m", "latest", "newest")).version == "2"
    assert [stage.stage for stage in await store.stages("m")] == ["canary", "newest", "production"]
    assert await store.versions("m") == ["1", "2"]
    with pytest.raises(ValueError, match="pass one of them"):
        await store.load("m", "1", stage="production")


async def test_a_pickle_is_opened_only_after_its_hash_matched(
    store: ModelStore, lake: Bucket, seed: Seeder, tmp_path: Path
) -> None:
    """Changed data is refused, and no file of it appears; so is data other than the caller's own hash."""
    saved = await store.save("m", "1", Regressor([1.0]))
    with pytest.raises(S3IntegrityError):
        await store.load("m", trust=True, sha256="0" * 64)
    seed.put(saved.key, pickle.dumps(Regressor([9.0])))
    with pytest.raises(S3IntegrityError, match="SHA-256"):
        await store.load("m", trust=True)
    with pytest.raises(S3IntegrityError):
        await store.download("m", tmp_path / "m.pkl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["{", "[]", "null", "{}", "version", "model", "sha256", "trained_at"])
async def test_a_damaged_manifest_is_told(store: ModelStore, seed: Seeder, change: str) -> None:
    """No guess is made from a manifest that is not whole, or of another version."""
    await store.save("m", "1", b"w")
    key = "models/common/m/1/manifest.json"
    body = seed.client.get_object(Bucket=seed.bucket, Key=key)["Body"]
    value: Any = json.loads(body.read())
    body.close()
    if change == "sha256":
        value["model"]["sha256"] = "../../etc"
    elif change in value:
        value[change] = "nonsense"
    seed.put(key, change.encode() if change not in {*value, "sha256"} else json.dumps(value).encode())
    with pytest.raises(S3IntegrityError):
        await store.load("m", "1")


async def test_what_older_code_wrote_stays_readable(store: ModelStore, seed: Seeder) -> None:
    """Data and metrics without a manifest: only when asked for, and never overwritten."""
    metadata = {"model-name": "old", "model-version": "0.9", "framework": "tests"}
    metadata["trained-at"] = "2026-02-03T10:30:00.000005"
    seed.put(
        "models/common/old/0.9/model.pkl", pickle.dumps(Regressor([2.0])), checksum=None, Metadata=metadata
    )
    seed.put("models/common/old/0.9/metrics.json", json.dumps(METRICS).encode(), checksum=None)
    assert await store.versions("old") == []
    with pytest.raises(S3NotFoundError, match="allow_legacy"):
        await store.load("old", "0.9", trust=True)
    found: ModelManifest = await store.manifest("old", allow_legacy=True)
    assert found.legacy
    assert found.trained_at is not None
    assert found.trained_at.isoformat() == "2026-02-03T10:30:00.000005+00:00"
    assert await store.versions("old", allow_legacy=True) == ["0.9"]
    assert await store.load("old", allow_legacy=True, trust=True) == Regressor([2.0])
    assert await store.metrics("old", "0.9", allow_legacy=True) == METRICS
    with pytest.raises(S3IntegrityError):
        await store.load("old", allow_legacy=True, trust=True, sha256="0" * 64)
    for take_over in (False, True):
        with pytest.raises(S3PreconditionFailedError, match="older code"):
            await store.save("old", "0.9", b"new", take_over=take_over)
    assert await store.load("old", allow_legacy=True, trust=True) == Regressor([2.0])


async def test_mistakes_are_told_before_anything_is_sent(store: ModelStore, lake: Bucket) -> None:
    """Objects no format fits, metrics JSON cannot hold, times without a zone."""
    with pytest.raises(TypeError, match="safetensors"):
        await store.save("m", "1", Regressor([]), format="safetensors")
    with pytest.raises(ValueError, match="NaN"):
        await store.save("m", "1", b"", {"loss": float("nan")})
    with pytest.raises(TypeError, match="metrics"):
        await store.save("m", "1", b"", {"loss": object()})
    for path in ("/no/such/model.onnx", "/"):
        with pytest.raises(S3LocalFileError):
            await store.save("m", "1", path, format="onnx")
    with pytest.raises(S3InvalidRequestError):
        await store.save("m", "1", b"", framework="naïve")
    assert [found async for found in lake.list_objects()] == []
