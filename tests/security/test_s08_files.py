"""S8: an unfinished file is nobody else's to read, to guess, or to put something else in its place."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from greenlang_async_storage import Bucket, S3IntegrityError, S3LocalFileError, S3NotFoundError
from greenlang_async_storage.artifacts import ModelStore
from tests.support.faults import BUCKET, MIB, laboratory

pytestmark = pytest.mark.asyncio

DATA: Final = bytes(6 * MIB)
DOWNLOADS: Final[dict[str, Callable[[Bucket, Path], Awaitable[object]]]] = {
    "a file": lambda lake, folder: lake.download_file("key", folder / "file"),
    "a file to go on with": lambda lake, folder: lake.download_file(
        "key", folder / "file", resume=folder / "journal"
    ),
    "many": lambda lake, folder: lake.download_many(["key"], folder),
}


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that takes no right away from new files."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Name, flags and mode of every file this package creates, with the mode it then has on disk."""
    seen: list[tuple[str, int, int]] = []
    original = os.open

    def recorded(path: Any, flags: int, mode: int = 0o777, **where: Any) -> int:
        descriptor = original(path, flags, mode, **where)
        if flags & os.O_CREAT:
            seen.append((Path(path).name, flags, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", recorded)
    return seen


@pytest.mark.parametrize("how", DOWNLOADS)
async def test_s08_unfinished_files_are_private(
    how: str, tmp_path: Path, open_umask: None, opened: list[tuple[str, int, int]]
) -> None:
    """0600 from their first moment under a umask of 0, beside the target, no link followed, none reused."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "key", DATA)
        await DOWNLOADS[how](lab.lake, tmp_path)
    files = [each for each in opened if each[0].startswith(".")]
    assert files
    for name, flags, mode in files:
        assert mode == 0o600, name
        assert flags & os.O_NOFOLLOW, name
        assert flags & os.O_EXCL or "resume" in name, name
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == (["key"] if how == "many" else ["file"])
    assert stat.S_IMODE((tmp_path / left[0]).stat().st_mode) == 0o666


async def test_s08_names_cannot_be_guessed(tmp_path: Path, opened: list[tuple[str, int, int]]) -> None:
    """64 random bits in each, so that nobody can put a file there first."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "key", b"data")
        for _ in range(20):
            await lab.lake.download_file("key", tmp_path / "file")
    names = [name.split(".")[-2] for name, _, _ in opened if name.startswith(".file.")]
    assert len(set(names)) == 20
    assert all(len(bytes.fromhex(name)) == 8 for name in names)


@pytest.mark.parametrize("how", DOWNLOADS)
async def test_s08_a_planted_link_is_not_followed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every name is taken by a link to somebody's file, that file keeps its content."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(secrets, "token_hex", lambda _size: "0" * 16)
    for name in ("file", "key"):
        (folder / f".{name}.{'0' * 16}.part").symlink_to(outside)
        (folder / f".{name}.resume.part").symlink_to(outside)
    async with laboratory() as lab:
        lab.store.put(BUCKET, "key", DATA)
        with suppress(S3LocalFileError):
            await DOWNLOADS[how](lab.lake, folder)
    assert outside.read_bytes() == b"untouched"
    assert stat.S_IMODE(outside.stat().st_mode) != 0o600


async def test_s08_failures_leave_no_file(tmp_path: Path) -> None:
    """Also of a model that could not be written as one, and of one that was not what its hash says."""

    class Stubborn:
        def __reduce__(self) -> tuple[Any, ...]:
            raise RuntimeError("never")

    async with laboratory() as lab:
        store = ModelStore(lab.lake)
        with pytest.raises(RuntimeError):
            await store.save("m", "1", Stubborn())
        saved = await store.save("m", "2", {"a": 1})
        lab.store.put(BUCKET, saved.key, b"other")
        with pytest.raises(S3IntegrityError):
            await store.download("m", tmp_path / "model")
        with pytest.raises(S3NotFoundError):
            await lab.lake.download_file("none", tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
