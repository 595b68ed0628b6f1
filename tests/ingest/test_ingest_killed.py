"""A plan whose process is killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from greenlang_async_storage.testing import MinioServer
from tests.support import servers

pytestmark = pytest.mark.timeout(300)

CHILD = Path(__file__).with_name("child.py")
FILES = 10_000
KILLS_AT = (1500, 2000, 2500)
"""Files sent by a run when it is killed."""


def make_tree(root: Path) -> None:
    """Small files, no two alike."""
    for number in range(FILES):
        path = root / f"part-{number % 7}" / f"day-{number % 31:02}" / f"{number:05}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"number": {number}, "text": "{"x" * (number % 200)}"}}')


@contextlib.contextmanager
def started(settings: dict[str, Any], root: Path, journal: Path) -> Iterator[subprocess.Popen[str]]:
    """The child, ended in any case."""
    command = [sys.executable, "-u", str(CHILD), json.dumps(settings), str(root), str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHILD.parents[2]) as child:
        try:
            yield child
        finally:
            child.kill()


def planned(output: IO[str]) -> int:
    """How many transfers the child found."""
    line = output.readline()
    assert line.startswith("planned ")
    return int(line.split()[1])


def recorded(journal: Path) -> dict[str, str]:
    """What the journal of a killed run says is done: ETags by key."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return dict(db.execute("SELECT key, target FROM known"))


def versions(client: Any, bucket: str) -> dict[str, list[str]]:
    """The ETags of all versions, by key below the prefix."""
    found: dict[str, list[str]] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="tree/"):
        for entry in page.get("Versions", []):
            found.setdefault(entry["Key"].removeprefix("tree/"), []).append(entry["ETag"].strip('"'))
    return found


def test_killed_three_times(minio_server: MinioServer, tmp_path: Path) -> None:
    """10,000 files, killed three times half-way: every object is right, none recorded was sent again."""
    root, journal = tmp_path / "tree", tmp_path / "journal"
    make_tree(root)
    client = servers.observer_client(minio_server)
    bucket = "killed-three-times"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    arguments = {**minio_server.settings_kwargs(), "data_lake_bucket": bucket, "encryption": "none"}
    settings = {name: str(value) for name, value in arguments.items()}
    done: dict[str, str] = {}
    try:
        for least in KILLS_AT:
            with started(settings, root, journal) as child:
                assert child.stdout is not None
                assert planned(child.stdout) <= FILES - len(done)
                while int(child.stdout.readline()) < least:
                    pass
            assert child.returncode == -9
            before, done = done, recorded(journal)
            assert done.items() >= before.items()
            assert len(done) >= len(before) + least
        with started(settings, root, journal) as child:
            assert child.stdout is not None
            assert 0 < planned(child.stdout) <= FILES - len(done)
            *_, last = child.stdout
            assert child.wait() == 0
            assert " 0 failed" in last
        with started(settings, root, journal) as child:
            output, _ = child.communicate()
            assert "planned 0\n" in output
            assert output.endswith(f"nothing changed: 0 sent, {FILES:,} unchanged\n")
        kept = versions(client, bucket)
        assert len(kept) == FILES
        sent_twice = {key: kept[key] for key in done if kept[key] != [done[key]]}
        assert not sent_twice
        # What was on its way at a kill may have been stored and sent again, never more.
        assert Counter(len(each) for each in kept.values())[1] >= FILES - 3 * 32
        for number in range(0, FILES, 97):
            [path] = root.glob(f"*/*/{number:05}.json")
            key = f"tree/{path.relative_to(root).as_posix()}"
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == path.read_bytes()
    finally:
        servers.empty_and_remove(client, bucket)
        client.close()
