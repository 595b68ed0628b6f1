"""The manifest of a model's version: what makes it visible, and what its files must be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ._json import JsonObject, JsonValue, damaged
from ._keys import metrics_key, model_key
from ._times import read_time

SCHEMA: Final = "greenlang-model/1"
COMPLETE: Final = "complete"
RESERVED: Final = "reserved"
MAX_RESERVATION: Final = 150
"""Bytes: every reservation is shorter, every manifest longer, so a listing tells them apart."""
MAX_MANIFEST: Final = 64 * 1024

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """One version of a model: where its files are, and what they must be."""

    bucket: str
    application: str
    name: str
    version: str
    format: str
    """Extension of the data: `pkl`, `joblib`, `onnx`, `safetensors`, `bin`, …"""
    framework: str
    trained_at: datetime | None
    saved_at: datetime | None
    size: int
    """Bytes of the model's data."""
    sha256: str | None
    """Of the model's data, in hex; `None` for versions that older code wrote without a manifest."""
    metrics_sha256: str | None

    @property
    def key(self) -> str:
        """Where the model's data is."""
        return model_key(self.application, self.name, self.version, self.format)

    @property
    def metrics_key(self) -> str:
        """Where its metrics are."""
        return metrics_key(self.application, self.name, self.version)

    @property
    def legacy(self) -> bool:
        """Whether it has no manifest, so that nothing proves its data."""
        return self.sha256 is None


def manifest_bytes(manifest: ModelManifest) -> bytes:
    """The manifest as it is stored."""
    value = {
        "schema": SCHEMA,
        "state": COMPLETE,
        "application": manifest.application,
        "name": manifest.name,
        "version": manifest.version,
        "format": manifest.format,
        "framework": manifest.framework,
        "trained_at": manifest.trained_at.isoformat() if manifest.trained_at else None,
        "saved_at": manifest.saved_at.isoformat() if manifest.saved_at else None,
        "model": {"size": manifest.size, "sha256": manifest.sha256},
        "metrics": {"sha256": manifest.metrics_sha256},
    }
    return json.dumps(value, indent=2).encode()


def reservation_bytes(attempt: str) -> bytes:
    """What keeps every other save of a version from finishing."""
    return json.dumps({"schema": SCHEMA, "state": RESERVED, "attempt": attempt}).encode()


def read_manifest(
    value: JsonValue, bucket: str, key: str, *, application: str, name: str, version: str
) -> ModelManifest | None:
    """
    The manifest, `None` for a reservation.

    `S3IntegrityError` for anything else, also for a manifest of another version: keys are made of what the
    caller asked for, never of what a manifest says.
    """
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise damaged(bucket, key, "is no manifest of a model")
    if value.get("state") == RESERVED:
        return None
    found = _Fields(value, bucket, key)
    if (found.text("application"), found.text("name"), found.text("version")) != (application, name, version):
        raise damaged(bucket, key, "is the manifest of another version")
    model, metrics = found.part("model"), found.part("metrics")
    return ModelManifest(
        bucket,
        application,
        name,
        version,
        found.text("format"),
        found.text("framework"),
        found.time("trained_at"),
        found.time("saved_at"),
        model.number("size"),
        model.sha256(),
        metrics.sha256(),
    )


class _Fields:
    """A JSON object whose fields have the types they must have, or the manifest is damaged."""

    def __init__(self, value: JsonObject, bucket: str, key: str) -> None:
        self._value, self._bucket, self._key = value, bucket, key

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def number(self, name: str) -> int:
        value = self._value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name)
        return value

    def time(self, name: str) -> datetime | None:
        if self._value.get(name) is None:
            return None
        try:
            return read_time(self.text(name))
        except ValueError as error:
            raise self._wrong(name) from error

    def sha256(self) -> str:
        value = self.text("sha256")
        if not _SHA256.fullmatch(value):
            raise self._wrong("sha256")
        return value

    def part(self, name: str) -> _Fields:
        value = self._value.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return _Fields(value, self._bucket, self._key)

    def _wrong(self, name: str) -> Exception:
        return damaged(self._bucket, self._key, f"is a manifest without a usable {name!r}")
