"""The walk: the order of a listing, and everything a disk can put in its way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import S3LocalFileError
from greenlang_async_storage.ingest import _walk
from greenlang_async_storage.ingest._entries import Entry, Found, Obstacle, Shadows, is_settled
from greenlang_async_storage.ingest._globs import PathFilter


def walked(
    root: Path, *, follow: bool = False, own: frozenset[str] = frozenset(), **patterns: Any
) -> list[Found]:
    """Everything a walk finds."""
    walk = _walk.Walk(root, PathFilter(**patterns), follow=follow, own=own)
    with closing(walk):
        return [found for batch in iter(lambda: walk.batch(3), []) for found in batch]


def keys(found: list[Found]) -> list[str]:
    """Of the entries."""
    return [each.key for each in found if isinstance(each, Entry)]


def obstacles(found: list[Found]) -> dict[str, Obstacle]:
    """By key."""
    return {each.key: each for each in found if isinstance(each, Obstacle)}


def make(root: Path, *names: str) -> None:
    """Files with their names as content."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


AWKWARD = [
    *("a", "a-b", "a.b/c", "a/b", "a/b-c", "a0", "a/\N{LATIN SMALL LETTER E WITH ACUTE}", "B", "z"),
    *("\N{GRINNING FACE}", "\N{GRINNING FACE}x/y", "\uffef", "\ue000/q", " lead", "tail "),
]


def test_order_is_that_of_a_listing(tmp_path: Path) -> None:
    """Keys come in the order of their UTF-8 bytes, where a folder counts with its slash."""
    names = [name for name in AWKWARD if name != "a"]
    make(tmp_path, *names)
    assert keys(walked(tmp_path)) == sorted(names, key=lambda name: name.encode())


def test_large_folders_are_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same order, without holding their names."""
    names = [f"{number:03}" for number in range(50)] + ["sub/x", "sub-y", "sub/z"]
    make(tmp_path, *names)
    monkeypatch.setattr(_walk, "NAMES_IN_MEMORY", 3)
    assert keys(walked(tmp_path)) == sorted(names)


@pytest.fixture
def refuses(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a folder unreadable, for root too."""
    real = os.scandir

    def refuse(name: str) -> None:
        def scandir(path: bytes) -> Any:
            if os.fsencode(path).endswith(name.encode()):
                raise PermissionError(13, "Permission denied")
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return refuse


def test_unreadable_folders_hide_what_is_below(tmp_path: Path, refuses: Callable[[str], None]) -> None:
    """One failure for the folder; the rest is walked."""
    make(tmp_path, "a/1", "b/2", "c/3")
    refuses("b/")
    found = walked(tmp_path)
    assert keys(found) == ["a/1", "c/3"]
    hidden = obstacles(found)["b/"]
    assert hidden.failure
    assert isinstance(hidden.error, S3LocalFileError)
    assert hidden.error.errno == 13
    assert hidden.covers("b/2")
    assert not hidden.covers("b")


def test_missing_directory(tmp_path: Path) -> None:
    """An error that names it, not an empty source."""
    with pytest.raises(S3LocalFileError, match=r"cannot read the directory .*nowhere"):
        walked(tmp_path / "nowhere")
    make(tmp_path, "file")
    with pytest.raises(S3LocalFileError, match="Not a directory"):
        walked(tmp_path / "file")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A name that is no UTF-8 is a failure that shows it; it hides nothing and keeps the order."""
    make(tmp_path, "a", "\N{LATIN SMALL LETTER E WITH ACUTE}")
    os.close(os.open(os.fsencode(tmp_path) + b"/\x80bad", os.O_CREAT | os.O_WRONLY))
    found = walked(tmp_path)
    assert keys(found) == ["a", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
    assert [each.key for each in found] == ["a", "", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
    [bad] = obstacles(found).values()
    assert bad.failure
    assert not bad.hides
    assert r"'\\x80bad' is left out: its name is no UTF-8" in str(bad.error)


def test_names_that_are_no_keys(tmp_path: Path) -> None:
    """Too long, or with control characters: failures of the plan already."""
    make(tmp_path, "line\nbreak", "/".join(["x" * 200] * 6), "fine")
    found = walked(tmp_path)
    assert keys(found) == ["fine"]
    texts = [str(each.error) for each in obstacles(found).values()]
    assert any("holds a control character" in text for text in texts)
    assert any("has 1,205 bytes, S3 takes 1,024" in text for text in texts)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A tree with links: to a file, to a folder, to nothing, to the tree itself."""
    root = tmp_path / "root"
    make(tmp_path, "root/file", "outside/inner")
    (root / "to-file").symlink_to(root / "file")
    (root / "to-folder").symlink_to(tmp_path / "outside")
    (root / "to-nothing").symlink_to(tmp_path / "gone")
    (root / "to-itself").symlink_to(root)
    return root


def test_links_are_left_alone(linked: Path) -> None:
    """Skipped, not failed, and what has their name on the other side stays."""
    found = walked(linked)
    assert keys(found) == ["file"]
    links = obstacles(found)
    assert set(links) == {"to-file", "to-folder", "to-nothing", "to-itself"}
    assert not any(each.failure for each in links.values())
    assert links["to-folder"].covers("to-folder/inner")


def test_links_can_be_followed(linked: Path) -> None:
    """Taken for what they lead to; one that leads back into itself is a failure, as a loop has no end."""
    found = walked(linked, follow=True)
    assert keys(found) == ["file", "to-file", "to-folder/inner"]
    broken = obstacles(found)
    assert set(broken) == {"to-itself/"}
    assert broken["to-itself/"].failure
    assert "leads back" in str(broken["to-itself/"].error)


def test_what_is_no_file(tmp_path: Path) -> None:
    """Pipes and sockets are skipped without being opened."""
    os.mkfifo(tmp_path / "pipe")
    make(tmp_path, "file")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind("socket")
            found = walked(tmp_path)
    finally:
        os.chdir(here)
    assert keys(found) == ["file"]
    assert set(obstacles(found)) == {"pipe", "socket"}


def test_own_and_unfinished_files(tmp_path: Path) -> None:
    """The journal and its folder are not there; unfinished downloads are nobody's content."""
    make(tmp_path, "j", "j-wal", "j-uploads/x.json", ".a.0123456789abcdef.part", ".a.resume.part", ".a.part")
    found = walked(tmp_path, own=frozenset({"j", "j-wal", "j-uploads"}))
    assert keys(found) == [".a.part"]
    assert len(obstacles(found)) == 2


def test_excluded_folders_are_not_read(tmp_path: Path, refuses: Callable[[str], None]) -> None:
    """Nothing in them can fail the walk."""
    make(tmp_path, "a/1", "cache/2")
    refuses("cache/")
    assert [each.key for each in walked(tmp_path, exclude=["cache/"])] == ["a/1"]


def test_shadows_pass() -> None:
    """An obstacle covers its key and what is below, and is forgotten when the keys are past it."""
    shadows = Shadows()
    obstacle = Obstacle("a/link", S3LocalFileError("x"), failure=False)
    shadows.add(obstacle)
    assert shadows.over("a/link") is obstacle
    assert shadows.over("a/link-2") is None
    assert shadows.over("a/link/below") is obstacle
    assert shadows.over("a/link0") is None
    assert not shadows._active


def test_fresh_files_are_not_settled() -> None:
    """What was written within a tick of now may change unseen; on coarse file systems a tick is long."""
    now = time.time_ns()
    assert not is_settled(now, now - 10**12)
    assert not is_settled(now - 10**12, now)
    assert is_settled(now - 10**9 + 1, now - 10**9 + 1) or (now + 1) % 10**9 == 0
    whole = now // 10**9 * 10**9 - 10**9
    assert not is_settled(whole, whole)
    assert is_settled(whole - 5 * 10**9, whole - 5 * 10**9)
