"""S2: whatever a key is called, no byte is written outside the directory it is downloaded to."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from greenlang_async_storage import S3Error
from greenlang_async_storage._batch._paths import LocalTree
from greenlang_async_storage._names import validate_key
from tests.security._keys import hostile_keys
from tests.support.faults import BUCKET, Lab, laboratory

COUNT = 5_000
DATA = b"data of a stranger"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with links out of it, beside one whose name begins the same."""
    made = tmp_path / "dir"
    made.mkdir()
    for beside in ("dir-evil", "outside"):
        (tmp_path / beside).mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"untouched")
    (made / "link").symlink_to(tmp_path / "outside")
    (made / "out").symlink_to(tmp_path / "outside" / "file")
    (made / "folder").symlink_to("..")
    return made


def escaped(root: Path) -> list[Path]:
    """What was made or changed beside *root*."""
    above = root.parent
    known = {above / "dir-evil", above / "outside", above / "outside" / "file"}
    found = [path for path in above.rglob("*") if root not in path.parents and path != root]
    assert (above / "outside" / "file").read_bytes() == b"untouched"
    return [path for path in found if path not in known]


def hold(lab: Lab, keys: list[str]) -> int:
    """Put objects under those keys that a store could have."""
    held = 0
    for key in keys:
        with suppress(ValueError):
            lab.store.put(BUCKET, quote(validate_key(key)), DATA)
            held += 1
    return held


@pytest.mark.asyncio
async def test_s02_five_thousand_hostile_keys(root: Path) -> None:
    """Each becomes a file inside, through no link, or an outcome that says why not."""
    keys = hostile_keys(COUNT)
    async with laboratory() as lab:
        held = hold(lab, keys)
        report = await lab.lake.download_many(keys, root)
    assert escaped(root) == []
    assert len(report.succeeded) + len(report.failed) == COUNT
    assert COUNT // 20 < len(report.succeeded) <= held
    inside = os.path.realpath(root)
    for outcome in report.succeeded:
        path = root / outcome.key
        assert os.path.realpath(path).startswith(inside + os.sep)
        assert path.read_bytes() == DATA
    assert all(isinstance(outcome.error, S3Error) for outcome in report.failed)


def test_s02_the_second_wall(root: Path) -> None:
    """The places themselves hold, for every key, also those that no validator has seen."""
    written = 0
    for key in hostile_keys(COUNT):
        place = LocalTree(root, remember=False).place(key, key)
        try:
            with suppress(S3Error, OSError, ValueError):
                place.enter()
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                os.close(os.open(place.path.name, flags, dir_fd=place.descriptor))
                written += 1
        finally:
            place.close()
    assert escaped(root) == []
    assert written > COUNT // 20


@pytest.mark.asyncio
async def test_s02_a_race_for_a_folder(root: Path) -> None:
    """While somebody keeps exchanging a folder for a link, files go into the folder or nowhere."""
    stop = threading.Event()
    (root / "raced").mkdir()

    def exchange() -> None:
        while not stop.is_set():
            with suppress(OSError):
                (root / "raced").rename(root / "away")
                (root / "raced").symlink_to(root.parent / "outside")
                (root / "raced").unlink()
                (root / "away").rename(root / "raced")

    keys = [f"raced/{number}" for number in range(400)]
    attacker = threading.Thread(target=exchange)
    async with laboratory() as lab:
        hold(lab, keys)
        attacker.start()
        try:
            report = await lab.lake.download_many(keys, root)
        finally:
            stop.set()
            await asyncio.to_thread(attacker.join)
    assert escaped(root) == []
    assert report.succeeded
