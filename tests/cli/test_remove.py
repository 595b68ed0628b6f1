"""rm and stale-uploads."""

from __future__ import annotations

from typing import Any

import pytest

from greenlang_async_storage.cli import _remove
from greenlang_async_storage.testing import StorageServer
from tests.cli.conftest import Cli, fill, keys
from tests.support import servers


def test_folders_and_globs_need_a_yes(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Without a terminal nothing is deleted by folder or glob unless --yes is there."""
    fill(observer, bucket_name, ["a/1", "a/2", "ab", "b"])
    done = cli.call("rm", "-r", "data-lake:a")
    assert (done.code, "--yes" in done.err, "2 objects" in done.err) == (2, True, True)
    assert cli.call("rm", "data-lake:a*").code == 2
    assert len(keys(observer, bucket_name)) == 4
    shown = cli.ok("rm", "-r", "data-lake:a", "--dry-run", "--json").lines
    assert [line["key"] for line in shown[:-1]] == ["a/1", "a/2"]
    assert len(keys(observer, bucket_name)) == 4
    cli.ok("rm", "-r", "-y", "data-lake:a")
    assert keys(observer, bucket_name) == ["ab", "b"]
    cli.ok("rm", "-y", "data-lake:a*")
    assert keys(observer, bucket_name) == ["b"]


def test_batches(cli: Cli, observer: Any, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletes go in batches, so memory stays flat, and none is left out between two of them."""
    monkeypatch.setattr(_remove, "_BATCH", 2)
    fill(observer, bucket_name, [f"k{number}" for number in range(5)])
    assert cli.ok("rm", "-r", "-y", "data-lake:").out.startswith("deleted 5 objects")
    assert keys(observer, bucket_name) == []


def test_literal_and_force(cli: Cli, observer: Any, bucket_name: str) -> None:
    """--literal takes a star as it is; --force makes a missing object no failure."""
    fill(observer, bucket_name, ["a*", "ab"])
    cli.ok("rm", "--literal", "data-lake:a*")
    assert keys(observer, bucket_name) == ["ab"]
    assert cli.call("rm", "data-lake:gone", "data-lake:ab").code == 3
    assert keys(observer, bucket_name) == []
    cli.ok("rm", "-f", "data-lake:gone")


def test_stale_uploads(cli: Cli, observer: Any, bucket_name: str, server: StorageServer) -> None:
    """Open uploads are listed, and aborted after a yes."""
    servers.require(server, "upload-dates")
    observer.create_multipart_upload(Bucket=bucket_name, Key="half")
    found = cli.ok("stale-uploads", "list", "data-lake:", "--older-than", "0s", "--json").lines
    assert [(line["uri"], line["aborted"]) for line in found] == [(f"s3://{bucket_name}/half", False)]
    assert cli.ok("stale-uploads", "list", "data-lake:").out == ""
    assert cli.call("stale-uploads", "abort", "data-lake:", "--older-than", "0s").code == 2
    cli.ok("stale-uploads", "abort", "data-lake:", "--older-than", "0s", "--yes")
    assert not observer.list_multipart_uploads(Bucket=bucket_name, Prefix="half").get("Uploads")
