"""The page about EKS: its blocks parse, and its policies hold exactly what each store's calls need."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it publishes no types

from greenlang_async_storage import Bucket, S3Error, StorageSettings
from greenlang_async_storage.artifacts import CalculationStore, EmissionFactorCache, ModelStore, ReportStore
from tests.support.faulty import FaultyClient, lose_request

PAGE = (Path(__file__).parents[2] / "docs" / "deploy-eks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MIB = 1024 * 1024

# The permission each request needs (S3 User Guide, "Required permissions for Amazon S3 API operations").
PERMISSIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "upload_part": "s3:PutObject",
}
# Reads of what KMS encrypted need Decrypt, writes GenerateDataKey, and parts both.
KMS = {"kms:Decrypt", "kms:GenerateDataKey"}


def policy(store: str) -> dict[str, Any]:
    """The policy under the heading of a store."""
    section = PAGE.split(f"### {store}\n")[1].split("\n### ")[0]
    found = re.search(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    value: dict[str, Any] = json.loads(found[1])
    return value


def actions(statement: dict[str, Any]) -> set[str]:
    """The actions of a statement, one or many."""
    named = statement["Action"]
    return {named} if isinstance(named, str) else set(named)


def test_every_block_parses() -> None:
    """JSON and YAML, each statement complete, no wildcard action."""
    assert {kind for kind, _ in BLOCKS} == {"json", "yaml"}
    for kind, text in BLOCKS:
        if kind == "yaml":
            documents = list(yaml.safe_load_all(text))
            assert [document["kind"] for document in documents] == ["ServiceAccount", "Deployment"]
            account, deployment = documents
            pod = deployment["spec"]["template"]["spec"]
            assert pod["serviceAccountName"] == account["metadata"]["name"]
            continue
        value = json.loads(text)
        assert value["Version"] == "2012-10-17"
        for statement in value["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not [action for action in actions(statement) if "*" in action]


def test_the_deployments_variables_are_settings() -> None:
    """The environment of the pod is accepted as it stands."""
    [text] = [text for kind, text in BLOCKS if kind == "yaml"]
    _, deployment = yaml.safe_load_all(text)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = StorageSettings()
    assert settings.data_lake_bucket == variables["GREENLANG_DATA_LAKE_BUCKET"]
    assert settings.expected_bucket_owner == "123456789012"


async def calculations(bucket: Bucket, large: bytes) -> None:
    """All calls of the store of calculations."""
    store = CalculationStore(bucket)
    await store.save("t1", "c", {"data": large.hex()})
    await store.load("t1", "c")
    assert [item async for item in store.list("t1", date(2026, 1, 1))] == []


async def reports(bucket: Bucket, large: bytes) -> None:
    """All calls of the store of reports."""
    store = ReportStore(bucket)
    stored = await store.store("t1", "audit", large)
    await store.load(stored.key)
    await store.presign_download(stored.key)
    assert [item async for item in store.list("t1", "audit", date(2026, 1, 1))] == []


async def models(bucket: Bucket, large: bytes) -> None:
    """All calls of the store of models."""
    store = ModelStore(bucket)
    await store.save("m", "1", large, {"a": 1})
    await store.load("m")
    await store.metrics("m")
    await store.promote("m", "1")
    assert len(await store.stages("m")) == len(await store.names()) == 1
    await store.save("m", "2", large, take_over=True)


async def factors(bucket: Bucket, large: bytes) -> None:
    """All calls of the cache."""
    cache = EmissionFactorCache(bucket)
    await cache.put("s", {"data": large.hex()})
    await cache.get("s")
    await cache.info("s")
    await cache.sources()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("store", "calls"),
    [
        ("CalculationStore", calculations),
        ("ReportStore", reports),
        ("ModelStore", models),
        ("EmissionFactorCache", factors),
    ],
)
async def test_a_policy_is_what_its_store_needs(
    lake: Bucket, store: str, calls: Callable[[Bucket, bytes], Awaitable[None]]
) -> None:
    """Every request of every call, of large objects and of a failed upload, and no permission beyond."""
    faults = FaultyClient.install(lake)
    large = bytes(range(256)) * (20 * MIB // 256)
    await calls(lake, large)
    faults.always["upload_part"] = lose_request
    with pytest.raises(S3Error):
        await lake.upload_bytes("x", large)
    needed = {PERMISSIONS[method] for method, count in faults.calls.items() if count}
    objects, listing, key = policy(store)["Statement"]
    assert actions(objects) | actions(listing) == needed
    assert actions(listing) == {"s3:ListBucket"}
    assert actions(key) == KMS
    assert objects["Resource"].startswith(f"{listing['Resource']}/")
    assert objects["Resource"].endswith("/*")
