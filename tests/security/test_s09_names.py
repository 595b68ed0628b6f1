"""S9, S10: names are checked before the wire, and stores agree with what is let through."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import (
    Bucket,
    S3Error,
    S3InvalidRequestError,
    StorageSettings,
    StorageSettingsError,
)
from greenlang_async_storage._names import validate_bucket_name
from greenlang_async_storage.testing import StorageServer
from tests.security._keys import hostile_keys
from tests.support.faults import laboratory

LEGAL: Final = (
    *("a..b", "..a", "a..", "...", "a b", " a", "a ", "a+b%2F?#&=", "%2e%2e/x", "日本/😀", "é", "e\u0301"),
    *("a\\b", "a:b", "~", "*", "'\"<>", "a" * 255, "soap/x", "x/", "\u202e", "a//b"),
)
REFUSED_BY: Final = {"a//b": {"minio"}, "a\\b": set[str](), "x/": set[str]()}
"""Legal in S3 and let through here, and yet refused by that server."""
BUCKETS: Final = (
    *("ab", "A-Bucket", "a_b", "a b", "a..b", "a.-b", "-ab", "ab-", "192.168.0.1", "xn--a", "sthree-a"),
    *("a-s3alias", "a--ol-s3", "a.mrap", "a--x-s3", "a--table-s3", "amzn-s3-demo-a", "a" * 64, "a/../b"),
    "arn:aws:s3:eu-west-1:111122223333:accesspoint/ap",
)


@pytest.mark.asyncio
async def test_s09_stores_agree_on_legal_keys(lake: Bucket, server: StorageServer) -> None:
    """What is let through comes back under the same name, byte for byte; where a store differs is listed."""
    kept = []
    for key in LEGAL:
        if server.name.lower() in REFUSED_BY.get(key, ()):
            with pytest.raises(S3Error):
                await lake.upload_bytes(key, key.encode())
            continue
        await lake.upload_bytes(key, key.encode())
        assert await lake.download_bytes(key) == key.encode()
        kept.append(key)
    assert [found.key async for found in lake.list_objects()] == sorted(kept, key=str.encode)
    report = await lake.delete_many(kept)
    report.raise_for_errors()
    assert [found.key async for found in lake.list_objects()] == []


@pytest.mark.asyncio
async def test_s09_nothing_odd_goes_on_the_wire() -> None:
    """Of hostile keys those that are sent arrive as they were given, in this bucket; no other goes."""
    async with laboratory() as lab:
        for key in hostile_keys(5_000)[::20]:
            before = len(lab.faults.requests)
            try:
                await lab.lake.exists(key)
            except S3InvalidRequestError:
                assert len(lab.faults.requests) == before
            else:
                sent = lab.faults.requests[-1]
                assert (sent.bucket, sent.key) == ("lake", key)


@given(st.text(st.sampled_from("ab1.-_/:% A"), max_size=66))
def test_s10_any_bucket_name_is_a_host_and_a_segment(name: str) -> None:
    """Whatever passes is lower-case letters, digits, periods and hyphens, no address and no path."""
    try:
        validate_bucket_name(name)
    except ValueError:
        return
    assert 3 <= len(name) <= 63
    assert all(label and not label.startswith("-") and not label.endswith("-") for label in name.split("."))
    assert set(name) <= set("ab1.-")


@pytest.mark.asyncio
async def test_s10_other_names_are_refused() -> None:
    """In settings, of a session, as the source of a copy: before anything is sent; ARNs are no names."""
    async with laboratory() as lab:
        for name in BUCKETS:
            with pytest.raises(StorageSettingsError):
                StorageSettings(data_lake_bucket=name)
            with pytest.raises(S3InvalidRequestError):
                lab.session.bucket(name)
            with pytest.raises(S3InvalidRequestError):
                await lab.lake.copy("a", "b", source_bucket=name)
        assert lab.faults.requests == []
