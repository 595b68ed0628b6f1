"""models and factors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from greenlang_async_storage import StorageSession
from greenlang_async_storage.artifacts import ModelStore
from greenlang_async_storage.testing import StorageServer
from tests.cli.conftest import Cli
from tests.support import servers


@pytest.fixture
def stores(cli: Cli, bucket_name: str, server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Commands whose models and cache are the test's bucket, with two versions of a model."""
    servers.require(server, "conditional-writes")
    monkeypatch.setenv("GREENLANG_MODELS_BUCKET", bucket_name)
    monkeypatch.setenv("GREENLANG_CACHE_BUCKET", bucket_name)

    async def save() -> None:
        async with StorageSession() as session:
            store = ModelStore(session.models, "cbam")
            for version in ("1.9", "1.10"):
                await store.save("risk", version, version.encode() * 100, {"rmse": 0.5}, format="bin")

    asyncio.run(save())
    return cli


def test_models(stores: Cli) -> None:
    """Versions in their order, stages by compare and swap, data as it was saved."""
    ours = ("--application", "cbam")
    assert [line["version"] for line in stores.ok("models", "versions", "risk", *ours, "--json").lines] == [
        "1.9",
        "1.10",
    ]
    stores.ok("models", "promote", "risk", "1.9", *ours)
    taken = stores.call("models", "promote", "risk", "1.10", "production", "--expected", "1.10", *ours)
    assert taken.code == 5
    [listed] = stores.ok("models", "list", *ours, "--json").lines
    assert listed == {"name": "risk", "latest": "1.10", "versions": 2, "stages": {"production": "1.9"}}
    shown = stores.ok("models", "show", "risk", "--stage", "production", *ours, "--json").document
    assert (shown["manifest"]["version"], shown["metrics"], shown["stages"]) == (
        *("1.9", {"rmse": 0.5}),
        ["production"],
    )
    stores.ok("models", "get", "risk", "out/", *ours)
    assert (stores.folder / "out" / "risk-1.10.bin").read_bytes() == b"1.10" * 100
    stores.ok("models", "get", "risk", "file", "--version", "1.9", *ours)
    assert (stores.folder / "file").read_bytes() == b"1.9" * 100
    assert stores.call("models", "versions", "nothing", *ours).code == 3
    assert stores.call("models", "show", "risk", "7", *ours).code == 3
    assert "metric         rmse = 0.5" in stores.ok("models", "show", "risk", *ours).out


def test_factors(stores: Cli, observer: Any, bucket_name: str) -> None:
    """A table in from a pipe and out again; what is missing is 3, what is no table is usage."""
    stores.ok("factors", "put", "defra", "-", "--version", "2026.9", stdin=b'{"diesel": 2.68}')
    stores.write("new.json", b'{"diesel": 2.7}')
    stores.ok("factors", "put", "defra", "new.json", "--version", "2026.10")
    assert stores.ok("factors", "get", "defra").document == {"diesel": 2.7}
    assert stores.ok("factors", "get", "defra", "2026.9").document == {"diesel": 2.68}
    listed = stores.ok("factors", "list", "--json").lines
    assert [(line["source"], line["version"], line["fresh"]) for line in listed] == [
        ("defra", "2026.9", True),
        ("defra", "2026.10", True),
    ]
    assert stores.call("factors", "get", "nobody").code == 3
    for bad in (b"no json", b"[1]"):
        assert stores.call("factors", "put", "defra", "-", stdin=bad).code == 2
