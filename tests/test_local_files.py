"""Local files: whole or old, private while unfinished, and never written through a planted name."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenlang_async_storage import S3LocalFileError
from greenlang_async_storage import _local_files as files
from greenlang_async_storage._partial_file import Journal, PartialFile, Source

SOURCE = Source("bucket", "key", "etag", 100, 40, "CRC64NVME")


def names_in(folder: Path) -> list[str]:
    """What the folder holds."""
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def same_umask_after() -> Iterator[None]:
    """The umask is the process's: leave it as it was."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_file_takes_the_mode_the_umask_leaves(tmp_path: Path) -> None:
    """Like a file any program makes, and the umask itself is left alone."""
    for mask in (0o022, 0o077, 0o002, 0):
        os.umask(mask)
        files.write_file(tmp_path / f"{mask:o}", b"abc", durable=False)
        assert mode(tmp_path / f"{mask:o}") == 0o666 & ~mask
        assert os.umask(mask) == mask


def test_the_umask_is_read_without_proc_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not show it, it is asked for, and put back."""
    monkeypatch.setattr(Path, "open", _refuse)
    os.umask(0o027)
    assert files._umask() == 0o027
    assert os.umask(0o027) == 0o027


def _refuse(*_: object, **__: object) -> object:
    raise FileNotFoundError(errno.ENOENT, "no such file")


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    """Permissions belong to the name; nothing but permission bits is taken over."""
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o4640)
    files.write_file(target, b"new", durable=True)
    assert (target.read_bytes(), mode(target)) == (b"new", 0o640)


def test_s08_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """What the link pointed to stays as it was."""
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "file"
    elsewhere.write_bytes(b"kept")
    target.symlink_to(elsewhere)
    files.write_file(target, b"new", durable=False)
    assert (elsewhere.read_bytes(), target.read_bytes(), target.is_symlink()) == (b"kept", b"new", False)


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    """Journals are nobody else's business, whatever the umask."""
    os.umask(0)
    files.write_file(tmp_path / "journal", b"abc", durable=False, private=True)
    assert mode(tmp_path / "journal") == 0o600


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary file stays, and the target is what it was."""
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        files.write_file(target, b"new", durable=True)
    assert (target.read_bytes(), names_in(tmp_path)) == (b"old", ["file"])


def test_s08_a_planted_name_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link under the temporary name is passed over, and what it points to is left alone."""
    victim, target = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"kept")
    (tmp_path / f".file.{'a' * 16}.part").symlink_to(victim)
    names = iter(["a" * 16, "b" * 16])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(names))
    files.write_file(target, b"new", durable=False)
    assert (victim.read_bytes(), target.read_bytes()) == (b"kept", b"new")


def test_the_temporary_name_fits_the_file_system(tmp_path: Path) -> None:
    """A name as long as the file system takes, in one byte and in more per character, still works."""
    for name in ("n" * 255, "é" * 127, "語" * 85):
        files.write_file(tmp_path / name, b"abc", durable=False)
        assert (tmp_path / name).read_bytes() == b"abc"


def test_s08_a_kept_partial_file_is_private_and_own(tmp_path: Path) -> None:
    """A link, a file others may read and a second name are not written to: they are replaced."""
    victim, target = tmp_path / "victim", tmp_path / "file"
    kept = files.partial_path(target, "resume")

    def plant_link() -> None:
        kept.symlink_to(victim)

    def plant_open_file() -> None:
        kept.write_bytes(b"theirs")
        kept.chmod(0o644)

    def plant_second_name() -> None:
        kept.hardlink_to(victim)

    for plant in (plant_link, plant_open_file, plant_second_name):
        kept.unlink(missing_ok=True)
        victim.write_bytes(b"kept")
        victim.chmod(0o600)
        plant()
        partial = PartialFile(target, keep=True)
        partial.open(10, durable=False)
        partial.write(b"0123456789", 0)
        partial.close()
        assert (victim.read_bytes(), kept.read_bytes(), mode(kept)) == (b"kept", b"0123456789", 0o600)


def test_one_download_at_a_time_uses_a_kept_partial_file(tmp_path: Path) -> None:
    """A second one is told to wait; once the first has finished, its file is not the second's."""
    first, second = (PartialFile(tmp_path / "file", keep=True) for _ in range(2))
    first.open(3, durable=False)
    with pytest.raises(BlockingIOError, match="another download"):
        second.open(3, durable=False)
    first.write(b"one", 0)
    first.commit(durable=False)
    second.open(3, durable=False)
    second.write(b"two", 0)
    assert (tmp_path / "file").read_bytes() == b"one"
    second.close(discard=True)
    assert names_in(tmp_path) == ["file"]


def test_targets_that_are_no_files_are_refused(tmp_path: Path) -> None:
    """A directory, a link to one and a pipe are told before anything is transferred."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for target, code in ((tmp_path, errno.EISDIR), (tmp_path / "link", errno.EISDIR)):
        with pytest.raises(IsADirectoryError) as caught:
            files.check_target(target)
        assert caught.value.errno == code
    with pytest.raises(OSError, match="neither a regular file nor a link"):
        files.check_target(tmp_path / "pipe")
    files.check_target(tmp_path / "not there")


def test_paths_that_name_no_file_are_mistakes() -> None:
    """Empty, ending in a slash, with NUL, or bytes."""
    for path in ("", "folder/", "a\0b"):
        with pytest.raises(ValueError, match="names no file"):
            files.check_path(path)
    with pytest.raises(TypeError, match="not bytes"):
        files.check_path(b"file")  # type: ignore[arg-type]
    assert files.check_path(Path("a/b")) == Path("a/b")


def test_system_errors_become_local_file_errors() -> None:
    """With errno, its name, the path and what to do; other exceptions pass; pickling keeps it all."""
    for code, remedy in (
        (errno.ENOSPC, "Free space"),
        (errno.EACCES, "Let this process write"),
        (errno.EIO, ""),
    ):
        with pytest.raises(S3LocalFileError) as caught, files.local_errors("write", "/data/x", key="k"):
            raise OSError(code, os.strerror(code))
        error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # made one line above
        assert (error.errno, error.key, error.retryable) == (code, "k", False)
        assert f"cannot write '/data/x': {os.strerror(code)} ({errno.errorcode[code]})" in str(error)
        assert remedy in str(error)
    with pytest.raises(LookupError), files.local_errors("write", "/data/x"):
        raise LookupError


def test_sweeping_removes_only_what_killed_downloads_left(tmp_path: Path) -> None:
    """Old files of exactly that form go; young ones, other names, links and folders stay."""
    old = tmp_path / f".report.pdf.{'0a' * 8}.part"
    stay = [f".young.{'0b' * 8}.part", ".kept.resume.part", f"report.{'0a' * 8}.part", ".x.0123.part"]
    for name in (old.name, *stay):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / stay[0])
    (tmp_path / f".folder.{'0c' * 8}.part").mkdir()
    (tmp_path / f".link.{'0d' * 8}.part").symlink_to(tmp_path / stay[1])
    assert files.sweep_partial_files(tmp_path, 3600) == [old]
    assert len(names_in(tmp_path)) == 6


def test_a_journal_says_what_was_noted(tmp_path: Path) -> None:
    """Header and parts come back; 0600; removed when done."""
    path = tmp_path / "made" / "journal"
    journal = Journal(path, SOURCE, {0: 7})
    journal.start()
    journal.add(2, 2**64 - 1)
    journal.close(remove=False)
    again = Journal.read(path)
    assert again is not None
    assert (again.source, again.parts, mode(path)) == (SOURCE, {0: 7, 2: 2**64 - 1}, 0o600)
    again.close(remove=True)
    assert not path.exists()
    assert Journal.read(path) is None


def test_a_journal_survives_a_torn_line(tmp_path: Path) -> None:
    """What a kill cut short, and what is no part of the object, is left out."""
    path = tmp_path / "journal"
    journal = Journal(path, SOURCE, {1: 5})
    journal.start()
    journal.close(remove=False)
    whole = path.read_bytes()
    for torn in (b"[2, 12", b"[3, 1]\n[-1, 1]\n", b"[2]\n", b'{"a": 1}\n', b"\xff\n", b"[2.0, 1]\n"):
        path.write_bytes(whole + torn)
        again = Journal.read(path)
        assert again is not None
        assert again.parts == {1: 5}


def test_what_is_no_journal_is_not_overwritten(tmp_path: Path) -> None:
    """A file of the user's under that name is refused; an empty one is none."""
    path = tmp_path / "precious.csv"
    for text in (
        b"a,b\n1,2\n",
        b"{}\n",
        b'{"format": "greenlang-download-1"}\n',
        b"[1, 2]\n",
        b"\0" * 50_000,
    ):
        path.write_bytes(text)
        with pytest.raises(FileExistsError, match="not the journal"):
            Journal.read(path)
        assert path.read_bytes() == text
    path.write_bytes(b"")
    assert Journal.read(path) is None


@pytest.mark.asyncio
async def test_a_cancelled_thread_is_waited_for() -> None:
    """The cancel comes out only when the thread is done, so its file may be closed."""
    entered, go = threading.Event(), threading.Event()
    done = []

    def work() -> None:
        entered.set()
        go.wait()
        done.append(True)

    task = asyncio.create_task(files.in_thread(work))
    await asyncio.to_thread(entered.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


@pytest.mark.asyncio
async def test_work_that_did_not_begin_is_dropped() -> None:
    """A cancel before the thread starts leaves no thread at work later."""
    loop = asyncio.get_running_loop()
    handed: list[Callable[[], object]] = []
    future: asyncio.Future[object] = loop.create_future()

    class Loop:
        def run_in_executor(self, _executor: None, function: Callable[[], object]) -> asyncio.Future[object]:
            handed.append(function)
            return future

    done: list[bool] = []
    original, asyncio.get_running_loop = asyncio.get_running_loop, lambda: Loop()  # type: ignore[assignment,return-value]
    try:
        task = loop.create_task(files.in_thread(lambda: done.append(True)))
        await asyncio.sleep(0)
    finally:
        asyncio.get_running_loop = original
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError, match="dropped"):
        handed[0]()
    assert not done
    future.cancel()
