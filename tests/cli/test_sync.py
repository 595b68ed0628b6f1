"""`greenlang-storage sync`, also killed half-way; GREENLANG_TEST_SYNC_FILES=10000 makes it the full size."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage.testing import MinioServer, StorageServer
from tests.cli.conftest import Cli, content, fill, keys, point_at
from tests.support import servers

FILES = int(os.environ.get("GREENLANG_TEST_SYNC_FILES", "8000"))
"""Looked up at import: a test's own environment has no variable of ours."""
IN_FLIGHT = 32


def make_tree(root: Path) -> None:
    """Small files, no two alike."""
    for number in range(FILES):
        path = root / f"part-{number % 7}" / f"{number:05}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"number": number, "text": "x" * (number % 200)}))


def recorded(journal: Path) -> dict[str, str]:
    """What the journal of a killed run says is done: ETags by key."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return dict(db.execute("SELECT key, target FROM known"))


def versions(client: Any, bucket: str) -> dict[str, list[str]]:
    """The ETags of everything ever stored, by key below the prefix."""
    found: dict[str, list[str]] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="s/"):
        for entry in page.get("Versions", []):
            found.setdefault(entry["Key"].removeprefix("s/"), []).append(entry["ETag"].strip('"'))
    return found


def stored(client: Any, bucket: str) -> int:
    """How many objects the store holds; botocore would read the listing for longer than the command runs."""
    count, last = 0, ""
    while True:
        asked = {"Bucket": bucket, "StartAfter": last}
        with urllib.request.urlopen(client.generate_presigned_url("list_objects_v2", Params=asked)) as page:
            found = re.findall(r"<Key>(.*?)</Key>", page.read().decode())
        if not found:
            return count
        count, last = count + len(found), found[-1]


def kill_when(cli: Cli, arguments: list[str], client: Any, bucket: str, count: int) -> None:
    """Start the command, and end it by SIGKILL once the store holds *count* objects."""
    with cli.start(*arguments) as process:
        deadline = time.monotonic() + 240
        while stored(client, bucket) < count:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                raise AssertionError(process.communicate())
            assert time.monotonic() < deadline
        process.kill()
        assert process.wait(30) == -signal.SIGKILL


@pytest.mark.slow("thousands of files and five processes")
@pytest.mark.timeout(900)
def test_killed_three_times(
    minio_server: MinioServer, cli_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed half-way three times, the fourth ends with every object right, none recorded was sent again."""
    cli = Cli(cli_folder)
    client = servers.observer_client(minio_server)
    bucket = f"sync-{time.time_ns()}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    point_at(monkeypatch, minio_server, bucket)
    make_tree(cli.folder / "tree")
    journal = cli.folder / "journal"
    command = ["sync", "tree", "data-lake:s", "--journal", "journal"]
    done: dict[str, str] = {}
    try:
        for _ in range(3):
            already = stored(client, bucket)
            kill_when(cli, command, client, bucket, already + (FILES - already) // 10)
            before, done = done, recorded(journal)
            assert done.items() >= before.items()
        assert 0 < len(done) < FILES
        finished = cli.run(*command, timeout=300)
        assert finished.code == 0, finished
        # Also what was stored at a kill, and not yet recorded, is found equal.
        left = int(str(re.search(r"([\d,]+) unchanged", finished.out)[1]).replace(",", ""))  # type: ignore[index]
        assert len(done) <= left <= len(done) + IN_FLIGHT
        again = cli.run(*command, timeout=300)
        assert (again.code, again.out) == (0, f"nothing changed: sent no object, {FILES:,} unchanged\n")
        kept = versions(client, bucket)
        assert len(kept) == FILES
        assert not {key: kept[key] for key in done if kept[key] != [done[key]]}, "sent twice"
        # What was on its way at a kill may have been stored and sent again, never more.
        assert Counter(map(len, kept.values()))[1] >= FILES - 3 * IN_FLIGHT
        for path in sorted((cli.folder / "tree").rglob("*.json"))[:: FILES // 50]:
            key = f"s/{path.relative_to(cli.folder / 'tree').as_posix()}"
            assert content(client, bucket, key) == path.read_bytes()
    finally:
        servers.empty_and_remove(client, bucket)
        client.close()


def test_nothing_changed_sends_nothing(
    cli: Cli, observer: Any, bucket_name: str, server: StorageServer
) -> None:
    """A second sync sends no object and says so, in words and as JSON, with and without a journal."""
    observer.put_bucket_versioning(Bucket=bucket_name, VersioningConfiguration={"Status": "Enabled"})
    for name in ("a", "sub/b", "sub/ü"):
        cli.write(f"tree/{name}", name.encode())
    assert cli.ok("sync", "tree", "data-lake:s").out.startswith("sent 3 objects")
    (cli.folder / "tree" / "a").touch()
    assert cli.ok("sync", "tree", "data-lake:s").out == "nothing changed: sent no object, 3 unchanged\n"
    found = cli.ok("sync", "tree", "data-lake:s", "--json", "--journal", "j").document
    assert (found["summary"]["nothing_changed"], found["summary"]["done"]) == (True, 0)
    assert found["counts"]["unchanged"] == 3
    assert {len(each) for each in versions(observer, bucket_name).values()} == {1}


def test_three_directions(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Up, down and inside the store; what changed goes, by content and not by time."""
    cli.write("tree/a", b"one")
    cli.ok("sync", "tree", "data-lake:s")
    cli.write("tree/a", b"two")
    assert cli.ok("sync", "tree", "data-lake:s").out.startswith("sent 1 object ")
    cli.ok("sync", "data-lake:s", "data-lake:copy")
    assert content(observer, bucket_name, "copy/a") == b"two"
    cli.ok("sync", "data-lake:copy/", "down")
    assert (cli.folder / "down" / "a").read_bytes() == b"two"


def test_deletes_are_guarded(cli: Cli, observer: Any, bucket_name: str) -> None:
    """--delete removes what the source lacks, never more than allowed, never for an empty source."""
    for name in ("a", "b", "c", "d"):
        cli.write(f"tree/{name}")
    fill(observer, bucket_name, ["s/old1", "s/old2", "s/old3", "s/old4", "s/old5", "s/keep.tmp"])
    options = ("sync", "tree", "data-lake:s", "--delete", "--exclude", "*.tmp")
    refused = cli.call(*options)
    assert (refused.code, "max_deletes" in refused.err) == (2, True)
    assert "s/a" not in keys(observer, bucket_name)
    cli.ok("sync", "tree", "data-lake:s")
    shown = cli.ok(*options, "--dry-run", "--max-deletes", "5", "--json").lines
    assert [line["kind"] for line in shown[:-1]] == ["delete"] * 5
    assert shown[-1]["counts"]["deletes"] == 5
    assert "deleted 5" in cli.ok(*options, "--max-deletes", "100%").out
    assert keys(observer, bucket_name) == ["s/a", "s/b", "s/c", "s/d", "s/keep.tmp"]
    (cli.folder / "empty").mkdir()
    assert cli.call("sync", "empty", "data-lake:s", "--delete", "--max-deletes", "100%").code == 2


def test_failures_are_listed(cli: Cli, observer: Any, bucket_name: str) -> None:
    """What could not be sent is told by name and counts in the exit code; the rest is there."""
    cli.write("tree/good")
    cli.write(f"tree/{'x' * 200}/{'y' * 200}/{'z' * 200}/{'w' * 200}/{'v' * 240}/too-long")
    done = cli.call("sync", "tree", "data-lake:s")
    assert done.code != 0
    assert "too-long" in done.err
    assert "1 failure" in done.out
    assert keys(observer, bucket_name) == ["s/good"]
    found = cli.call("sync", "tree", "data-lake:s", "--json").document
    assert [failure["key"].rpartition("/")[2] for failure in found["failures"]] == ["too-long"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("here", "there"), "rsync"),
        (("-", "data-lake:s"), "put or get"),
        (("tree", "data-lake:s", "--max-deletes", "many"), "--max-deletes"),
        (("data-lake:s", "down", "--tag", "a=b"), "uploads only"),
        (("data-lake:s", "data-lake:s/inner"), "lie within each other"),
    ],
)
def test_what_cannot_be_synced(
    arguments: tuple[str, ...],
    says: str,
    minio_server: MinioServer,
    offline: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mistakes are usage, told before anything is read."""
    point_at(monkeypatch, minio_server, "any-bucket")
    done = offline.call("sync", *arguments)
    assert (done.code, says in done.err) == (2, True), done
