"""Metadata on every artifact, and the platform's mandatory tags where they are asked for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3AccessDeniedError, StorageSession
from greenlang_async_storage.artifacts import (
    ArtifactPolicy,
    CalculationStore,
    EmissionFactorCache,
    ModelStore,
    ReportStore,
)
from greenlang_async_storage.testing import StorageServer
from tests.artifacts.conftest import TurnedClock
from tests.support import servers
from tests.support.faulty import FaultyClient, answer

pytestmark = pytest.mark.asyncio

CREATED = "2026-02-03T10:30:00.000005+00:00"


async def test_every_store_tags_what_it_writes(lake: Bucket, clock: TurnedClock) -> None:
    """All five tags on every object, as the store itself tells; environment and class for any bucket name."""
    await CalculationStore(lake, "cbam", tags=True, clock=clock).save("t1", "c", {})
    await ReportStore(lake, tags=True, clock=clock).store("t1", "audit", b"")
    models = ModelStore(lake, tags=True, clock=clock)
    await models.save("m", "1", b"")
    await models.promote("m", "1")
    await EmissionFactorCache(lake, tags=True, clock=clock).put("ipcc", {})
    applications = {"silver": "cbam", "reports": "reports", "models": "common", "cache": "common"}
    keys = [item.key async for item in lake.list_objects()]
    assert len(keys) == 7
    for key in keys:
        kind = key.split("/")[0]
        assert await lake.get_tags(key) == {
            "greenlang:tenant-id": "t1" if kind in {"silver", "reports"} else "shared",
            "greenlang:application": applications[kind],
            "greenlang:environment": "unspecified",
            "greenlang:data-classification": "confidential",
            "greenlang:created-at": CREATED,
        }


async def test_no_tags_unless_asked_for(lake: Bucket, clock: TurnedClock) -> None:
    """A role without s3:PutObjectTagging can write."""
    stored = await CalculationStore(lake, clock=clock).save("t1", "c", {})
    assert await lake.get_tags(stored.key) == {}


async def test_the_buckets_name_tells_environment_and_class(
    session: StorageSession, observer: Any, clock: TurnedClock
) -> None:
    """By the platform's convention; a policy of your own goes first."""
    name = f"greenlang-prod-eu-west-1{uuid.uuid4().hex[:8]}-data-lake-internal"
    observer.create_bucket(Bucket=name)
    try:
        bucket = session.bucket(name)
        for policy, environment in ((None, "prod"), (ArtifactPolicy(environment="drill"), "drill")):
            store = CalculationStore(bucket, tags=True, policy=policy, clock=clock)
            stored = await store.save("t1", "c", {})
            tags = await bucket.get_tags(stored.key)
            assert tags["greenlang:environment"] == environment
            assert tags["greenlang:data-classification"] == "internal"
    finally:
        servers.empty_and_remove(observer, name)


async def test_more_metadata_goes_with_every_object(lake: Bucket, clock: TurnedClock) -> None:
    """And never in the place of the store's own."""
    policy = ArtifactPolicy(metadata={"upload-id": "u-1", "tenant-id": "forged"})
    stored = await CalculationStore(lake, policy=policy, clock=clock).save("t1", "c", {})
    metadata = (await lake.head(stored.key)).metadata
    assert (metadata["upload-id"], metadata["tenant-id"]) == ("u-1", "t1")
    with pytest.raises(ValueError, match="Content-Hash"):
        ArtifactPolicy(metadata={"Content-Hash": "0" * 64})


async def test_a_refused_write_names_the_permission_for_tags(lake: Bucket, clock: TurnedClock) -> None:
    """A role that may put objects, but not tag them, is told what is missing."""
    faults = FaultyClient.install(lake)
    from tests.support.scripted import error_reply

    faults.always["put_object"] = answer(error_reply("AccessDenied", 403))
    with pytest.raises(S3AccessDeniedError) as caught:
        await CalculationStore(lake, tags=True, clock=clock).save("t1", "c", {})
    assert any("s3:PutObjectTagging" in note for note in caught.value.__notes__)


async def test_a_scoped_view_keeps_artifacts_below_it(lake: Bucket, server: StorageServer) -> None:
    """Stores work in a view of a bucket, and never leave it."""
    view = lake.scoped("team-a")
    store = CalculationStore(view, clock=lambda: datetime(2026, 2, 3, tzinfo=UTC))
    stored = await store.save("t1", "c", {"a": 1})
    assert await store.load("t1", "c") == {"a": 1}
    assert [item.key async for item in lake.list_objects()] == [f"team-a/{stored.key}"]
    models = ModelStore(view)
    await models.save("m", "1", b"w")
    assert await models.load("m") == b"w"
