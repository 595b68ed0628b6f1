"""
Save versions of a model, promote one, and load what is in production: `python -m examples.models`.

Needs GREENLANG_MODELS_BUCKET and a store. A version is immutable, so each run saves versions of its own.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from greenlang_async_storage import S3Error, S3PreconditionFailedError, StorageSession
from greenlang_async_storage.artifacts import ModelStore

HISTORY = [(10.0, 19.4), (20.0, 38.1), (30.0, 57.2), (40.0, 75.9)]
"""Tonnes of steel, tonnes of CO2e; made up."""


@dataclass
class Proportion:
    """Emissions in proportion to the amount."""

    factor: float

    def predict(self, tonnes: float) -> float:
        """Tonnes of CO2e."""
        return self.factor * tonnes


def train(history: list[tuple[float, float]]) -> tuple[Proportion, dict[str, float]]:
    """A model by least squares, and how good it is."""
    factor = sum(x * y for x, y in history) / sum(x * x for x, _ in history)
    error = max(abs(factor * x - y) for x, y in history)
    return Proportion(factor), {"rows": len(history), "largest_error": round(error, 3)}


async def main() -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        store = ModelStore(session.models, application="cbam")
        day = f"{datetime.now(UTC):%Y.%m.%d.%H%M%S%f}"
        first, metrics = train(HISTORY[:2])
        await store.save("steel", f"{day}.1", first, metrics)
        second, metrics = train(HISTORY)
        saved = await store.save("steel", f"{day}.2", second, metrics)
        print(f"{saved.key}  sha256 {saved.sha256}")
        try:
            await store.save("steel", saved.version, first)
        except S3PreconditionFailedError as error:
            print(f"refused: {error.message}")

        stage = await store.promote("steel", saved.version, "production")
        metrics_in_use = await store.metrics("steel", stage=stage.stage)
        # Pickles run code as they load: trust only what your own jobs saved.
        loaded = await store.load("steel", stage="production", trust=True)
        assert isinstance(loaded, Proportion)
        print(f"{stage.version} in production: {loaded.predict(12.5):.2f} t CO2e, {metrics_in_use}")
    return 0


if __name__ == "__main__":
    from examples.models import main as run  # so that the model's class has a name others can import

    try:
        sys.exit(asyncio.run(run()))
    except S3Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
