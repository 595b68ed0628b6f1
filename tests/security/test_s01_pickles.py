"""S1: files that run code when they are loaded: more than a hundred, and none gets to."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

from greenlang_async_storage import S3Error, S3IntegrityError, S3InvalidRequestError
from greenlang_async_storage.artifacts import ModelStore
from tests.security._pickles import payloads
from tests.support.faults import BUCKET, laboratory


@pytest.mark.asyncio
async def test_s01_a_hundred_hostile_files_leave_no_trace(tmp_path: Path) -> None:
    """Saved in six formats, put in the place of a trusted model or its metrics, or left by others."""
    canary = tmp_path / "canary"
    files = payloads(canary)
    assert len(files) >= 100
    async with laboratory() as lab:
        store = ModelStore(lab.lake)
        trusted = await store.save("trusted", "1", {"weights": [1.0]}, {"r2": 1})
        for number, data in enumerate(files):
            chosen = ("pkl", "joblib", "pickle", "onnx", "safetensors", "bin")[number % 6]
            saved = await store.save("hostile", str(number), data, format=chosen)
            if chosen in {"pkl", "joblib", "pickle"}:
                with pytest.raises(S3InvalidRequestError, match="trust=True"):
                    await store.load("hostile", saved.version)
            else:
                assert await store.load("hostile", saved.version, trust=True) == data
            await store.download("hostile", tmp_path / "copy", saved.version)
            lab.store.put(BUCKET, trusted.key, data)
            with pytest.raises(S3IntegrityError):
                await store.load("trusted", "1", trust=True)
            lab.store.put(BUCKET, f"models/common/left/{number}/model.pkl", data)
            with pytest.raises(S3Error):
                await store.load("left", str(number), trust=True)
            with pytest.raises(S3Error):
                await store.load("left", str(number), trust=True, allow_legacy=True, sha256="0" * 64)
            lab.store.put(BUCKET, trusted.metrics_key, data)
            with pytest.raises(S3IntegrityError):
                await store.metrics("trusted")
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


@pytest.mark.parametrize("chosen", ["pkl", "joblib"])
@pytest.mark.asyncio
async def test_s01_one_flipped_bit_is_enough(chosen: str) -> None:
    """Of the data or of its hash in the manifest, wherever it is: nothing is opened, metrics can be read."""
    flips = random.Random(1)
    async with laboratory() as lab:
        store = ModelStore(lab.lake)
        saved = await store.save("m", "1", {"weights": [1.0] * 20}, {"r2": 0.9}, format=chosen)
        data = lab.store.get(BUCKET, saved.key)
        assert data
        assert saved.sha256
        for _ in range(50):
            flipped = bytearray(data)
            flipped[flips.randrange(len(flipped))] ^= 1 << flips.randrange(8)
            lab.store.put(BUCKET, saved.key, bytes(flipped))
            with pytest.raises(S3IntegrityError):
                await store.load("m", trust=True)
            assert await store.metrics("m") == {"r2": 0.9}
        lab.store.put(BUCKET, saved.key, data)
        assert await store.load("m", trust=True) == {"weights": [1.0] * 20}
        manifest_key = f"{saved.key.rpartition('/')[0]}/manifest.json"
        manifest = lab.store.get(BUCKET, manifest_key)
        assert manifest
        other = saved.sha256[:-1] + ("0" if saved.sha256[-1] != "0" else "1")
        lab.store.put(BUCKET, manifest_key, manifest.replace(saved.sha256.encode(), other.encode()))
        with pytest.raises(S3IntegrityError):
            await store.load("m", trust=True)


@pytest.mark.asyncio
async def test_s01_metrics_are_read_without_the_model(tmp_path: Path) -> None:
    """With a hostile model beside them, and with no model at all."""
    async with laboratory() as lab:
        store = ModelStore(lab.lake)
        hostile = payloads(tmp_path / "canary")[0]
        saved = await store.save("m", "1", hostile, {"r2": 0.5}, format="pkl")
        assert await store.metrics("m") == {"r2": 0.5}
        lab.store.delete(BUCKET, saved.key)
        assert await store.metrics("m") == {"r2": 0.5}
    assert list(tmp_path.iterdir()) == []


def test_s01_the_canary_sings(tmp_path: Path) -> None:
    """The payloads work: loaded by hand, one of each kind makes its file."""
    canary = tmp_path / "canary"
    sung = 0
    for data in payloads(canary):
        try:
            pickle.loads(data)  # noqa: S301  # that it is hostile is the point
        except Exception:  # noqa: BLE001, S112  # broken on purpose, some of them
            continue
        finally:
            if canary.is_dir():
                canary.rmdir()
                sung += 1
            elif canary.exists():
                canary.unlink()
                sung += 1
    assert sung >= 90
