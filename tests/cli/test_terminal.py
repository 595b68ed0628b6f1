"""What a person sees: bars, questions and width 80, on a pseudo terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from typing import Any

import pytest

from greenlang_async_storage import Progress
from greenlang_async_storage.cli import _progress
from tests.cli.conftest import Cli, fill, keys

MIB = 1024 * 1024


def on_terminal(
    cli: Cli, *arguments: str, answer: Callable[[bytes], bytes | None] = lambda _: None
) -> tuple[int, str]:
    """The exit code and everything on a terminal 80 wide; *answer* sees the output and may type."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {"TERM": "xterm-256color"}
    seen = b""
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    # A terminal of its own, so that Ctrl-C typed there becomes a signal.
    own: dict[str, Any] = {"start_new_session": True, "preexec_fn": lambda: ioctl(0, termios.TIOCSCTTY, 0)}
    process = cli.start(*arguments, env=env, **streams, **own)
    try:
        with process:
            os.close(slave)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if not select.select([master], [], [], 0.2)[0]:
                    continue
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
                if typed := answer(seen):
                    os.write(master, typed)
            if time.monotonic() >= deadline:
                process.kill()
            code = process.wait(30)
    finally:
        process.kill()
        os.close(master)
    return code, seen.decode(errors="replace")


def plain(text: str) -> str:
    """*text* without colours and cursor movements; what is drawn over counts as lines of its own."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def test_a_bar_on_a_terminal(cli: Cli) -> None:
    """A transfer shows a bar, which is gone in the end; the result stays, and fits 80 columns."""
    cli.write("big.bin", bytes(24 * MIB))
    code, text = on_terminal(cli, "put", "big.bin", "data-lake:big.bin")
    assert code == 0, text
    assert "upload big.bin" in text
    assert "\x1b[?25l" in text, "no bar"
    assert text.endswith("big.bin\r\n")
    assert max(len(line) for line in plain(text).split("\n")) <= 80


def test_the_question_before_a_delete(cli: Cli, observer: Any, bucket_name: str) -> None:
    """The question counts what would go; anything but yes keeps it all, and says so."""
    fill(observer, bucket_name, ["a/1", "a/2"])
    asked: list[bytes] = []

    def type_once(text: bytes) -> Callable[[bytes], bytes | None]:
        asked.clear()

        def answer(seen: bytes) -> bytes | None:
            if b"[y/N]" in seen and not asked:
                asked.append(seen)
                return text
            return None

        return answer

    code, text = on_terminal(cli, "rm", "-r", "data-lake:a", answer=type_once(b"n\n"))
    assert (code, "2 objects" in text, "nothing was deleted" in text) == (1, True, True)
    assert len(keys(observer, bucket_name)) == 2
    code, text = on_terminal(cli, "rm", "-r", "data-lake:a", answer=type_once(b"y\n"))
    assert (code, "deleted 2 objects" in text) == (0, True), text
    assert keys(observer, bucket_name) == []


def test_ctrl_c_at_the_question(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Ctrl-C typed at the question ends the program with 130; nothing is deleted."""
    fill(observer, bucket_name, ["a/1"])
    typed: list[bytes] = []

    def answer(seen: bytes) -> bytes | None:
        if b"[y/N]" in seen and not typed:
            typed.append(seen)
            return b"\x03"
        return None

    code, text = on_terminal(cli, "rm", "-r", "data-lake:a", answer=answer)
    assert code == 130, text
    assert "Traceback" not in text
    assert keys(observer, bucket_name) == ["a/1"]


def test_doctor_fits_its_terminal(cli: Cli) -> None:
    """Doctor is coloured and wrapped at 80 columns."""
    code, text = on_terminal(cli, "doctor")
    assert "\x1b[32mok" in text, text
    assert max(len(line) for line in plain(text).split("\n")) <= 80
    assert code in (0, 1)


def test_lines_where_there_is_no_terminal(
    cli: Cli, observer: Any, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere progress is plain lines on stderr with amount and rate; --quiet and --json have none."""
    monkeypatch.setattr(_progress, "LINE_INTERVAL", 0.0)
    cli.write("f", bytes(6 * MIB))
    done = cli.ok("put", "f", "data-lake:k")
    assert re.search(r"^upload f: 6\.0 MiB of 6\.0 MiB \(100 %\), .*/s$", done.err, re.MULTILINE), done.err
    assert "\x1b" not in done.err + done.out
    assert cli.ok("put", "f", "data-lake:k", "--quiet").err == ""
    assert cli.ok("put", "f", "data-lake:k", "--json").err == ""


def test_lines_are_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A short transfer prints no line at all."""
    with _progress.Meter("upload") as meter:
        for done in range(100):
            meter.hook(Progress(done=done, total=100, rate=1.0))
    assert capsys.readouterr().err == ""
