"""Standard input and output, and signals: what a shell does to a program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage.cli._errors import ExitCode
from greenlang_async_storage.testing import StorageServer
from tests.cli.conftest import PROGRAM, Cli, content, fill, keys
from tests.support.tampering import Fault, TamperingProxy

MIB = 1024 * 1024
PART = ("--part-size", "5MiB", "-j", "2")


def open_uploads(observer: Any, bucket: str, key: str) -> int:
    """Uploads of exactly *key*, as MinIO lists them."""
    return len(observer.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", []))


def feed_until_open(process: subprocess.Popen[bytes], observer: Any, bucket: str, key: str) -> None:
    """Write until the store shows an open upload."""
    assert process.stdin is not None
    deadline = time.monotonic() + 40
    process.stdin.write(bytes(11 * MIB))
    process.stdin.flush()
    while not open_uploads(observer, bucket, key):
        assert time.monotonic() < deadline, "no upload was opened"
        assert process.poll() is None, process.communicate()


def test_ctrl_c_leaves_nothing_behind(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Ctrl-C while standard input is awaited ends at once with 130, aborts the upload, stores nothing."""
    with cli.start("put", "-", "data-lake:big", *PART) as process:
        feed_until_open(process, observer, bucket_name, "big")
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode() if process.stderr else ""
        assert process.wait(40) == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert "cleaning up" in err
    assert open_uploads(observer, bucket_name, "big") == 0
    assert keys(observer, bucket_name) == []


def test_an_impatient_ctrl_c_changes_nothing(cli: Cli, observer: Any, bucket_name: str) -> None:
    """A second and third signal do not break the clean-up."""
    with cli.start("put", "-", "data-lake:big", *PART) as process:
        feed_until_open(process, observer, bucket_name, "big")
        for number in (signal.SIGINT,) * 4:
            process.send_signal(number)
        err = process.stderr.read().decode() if process.stderr else ""
        assert process.wait(40) == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert open_uploads(observer, bucket_name, "big") == 0


def test_sigterm(cli: Cli, observer: Any, bucket_name: str) -> None:
    """SIGTERM cleans up like Ctrl-C and is 143."""
    with cli.start("put", "-", "data-lake:big", *PART) as process:
        feed_until_open(process, observer, bucket_name, "big")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(40) == ExitCode.TERMINATED, err
    assert open_uploads(observer, bucket_name, "big") == 0


def test_ctrl_c_leaves_no_half_file(cli: Cli, observer: Any, bucket_name: str) -> None:
    """An interrupted get leaves neither the file nor its temporary one."""
    fill(observer, bucket_name, ["big"], bytes(48 * MIB))
    with cli.start("get", "data-lake:big", "out/", "-j", "1") as process:
        folder = cli.folder / "out"
        deadline = time.monotonic() + 40
        while not (folder.is_dir() and list(folder.iterdir())):
            assert time.monotonic() < deadline
            if process.poll() is not None:
                break
        process.send_signal(signal.SIGINT)
        code = process.wait(40)
    left = sorted(path.name for path in folder.iterdir())
    assert (code, left) in [(130, []), (0, ["big"])]


def test_ctrl_c_while_nobody_reads(cli: Cli, observer: Any, bucket_name: str) -> None:
    """A reader that does not read blocks neither the program nor its Ctrl-C."""
    fill(observer, bucket_name, ["big"], bytes(8 * MIB))
    with cli.start("cat", "data-lake:big") as process:
        assert process.stdout is not None
        assert process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == ExitCode.INTERRUPTED
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_a_reader_that_leaves(cli: Cli, observer: Any, bucket_name: str) -> None:
    """`cat | head` and `ls | head` end silently with 141, as other programs do."""
    fill(observer, bucket_name, ["big"], bytes(8 * MIB))
    for command in (["cat", "data-lake:big"], ["ls", "-r", "data-lake:", "--debug"]):
        read, write = os.pipe()
        os.close(read)
        with cli.start(*command, stdout=write) as process:
            os.close(write)
            assert process.stderr is not None
            err = process.stderr.read()
            assert process.wait(40) == ExitCode.BROKEN_PIPE, err
        assert b"Traceback" not in err


def test_closed_streams(cli: Cli, observer: Any, bucket_name: str) -> None:
    """A program without standard input or output says so, instead of storing nothing or crashing."""
    fill(observer, bucket_name, ["k"], b"data")
    program = " ".join(PROGRAM)
    options: dict[str, Any] = {
        "shell": True,
        "cwd": cli.folder,
        "env": cli.environment(),
        "capture_output": True,
        "text": True,
        "timeout": 50,
    }
    done = subprocess.run(f"{program} put - data-lake:new <&-", check=False, **options)
    assert done.returncode == 1
    assert "standard input is closed" in done.stderr or "Bad file descriptor" in done.stderr
    assert keys(observer, bucket_name) == ["k"]
    done = subprocess.run(f"{program} cat data-lake:k >&-", check=False, **options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_named_pipes_and_devices(cli: Cli, observer: Any, bucket_name: str) -> None:
    """`put <(command)` works: what is no plain file is streamed."""
    pipe = cli.folder / "fifo"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: Path(pipe).write_bytes(b"through a pipe"))
    writer.start()
    cli.ok("put", "fifo", "data-lake:k")
    writer.join()
    assert content(observer, bucket_name, "k") == b"through a pipe"
    cli.ok("put", "/dev/null", "data-lake:empty")
    assert content(observer, bucket_name, "empty") == b""


@pytest.mark.asyncio
async def test_bytes_that_do_not_match(
    cli: Cli, observer: Any, bucket_name: str, server: StorageServer
) -> None:
    """Cat ends with 6 after the last byte where bytes and checksum disagree; get writes no file."""
    await asyncio.to_thread(cli.write, "f", b"0123456789")
    await asyncio.to_thread(cli.run, "put", "f", "data-lake:k")
    async with TamperingProxy("127.0.0.1", server.port) as proxy:
        env = {"GREENLANG_STORAGE_ENDPOINT_URL": proxy.url}
        for command in (("cat", "data-lake:k"), ("get", "data-lake:k", "out")):
            proxy.faults.extend([Fault(flip_at=3)] * 3)
            done = await asyncio.to_thread(cli.run, *command, env=env)
            assert done.code == ExitCode.INTEGRITY, done
            proxy.faults.clear()
    assert [path.name for path in cli.folder.iterdir()] == ["f"]
