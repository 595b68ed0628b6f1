"""The command line on a server: as a process of its own, and in this one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from greenlang_async_storage.cli._app import NAME, app
from greenlang_async_storage.testing import StorageServer

PROGRAM = [sys.executable, "-m", "greenlang_async_storage.cli"]
SOURCES = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Its output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)


class Cli:
    """Commands with a bucket as `data-lake:` and `temp:`, in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a process: this one's, which the fixtures have cleaned, with *more*."""
        found = {**os.environ, "PYTHONPATH": str(SOURCES), **more}
        return {name: value for name, value in found.items() if value}

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """The real program, running."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            [*PROGRAM, *arguments], cwd=self.folder, env=self.environment(**(env or {})), **streams
        )

    def run(
        self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None, timeout: float = 50
    ) -> Done:
        """The real program, run to its end."""
        with self.start(*arguments, env=env) as process:
            out, err = process.communicate(stdin, timeout=timeout)
        return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def call(self, *arguments: str, stdin: bytes | None = None) -> Done:
        """The same command in this process."""
        with process_state_kept():
            result = CliRunner().invoke(app, list(arguments), input=stdin, prog_name=NAME)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str, stdin: bytes | None = None) -> Done:
        """The same, which must succeed."""
        done = self.call(*arguments, stdin=stdin)
        assert done.code == 0, f"{arguments}: {done}"
        return done

    def write(self, name: str, data: bytes = b"data") -> Path:
        """A file in the test's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Takes back what a command does to its own process, such as `--profile` and `--debug`."""
    environment, handlers = dict(os.environ), list(logging.root.handlers)
    logger = logging.getLogger("greenlang_async_storage")
    level = logger.level
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        logging.root.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def cli_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def offline(cli_folder: Path) -> Cli:
    """Commands without a store."""
    return Cli(cli_folder)


@pytest.fixture
def cli(server: StorageServer, bucket_name: str, cli_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Commands on `server`, whose empty bucket is `data-lake:` and `temp:`."""
    point_at(monkeypatch, server, bucket_name)
    return Cli(cli_folder)


def point_at(monkeypatch: pytest.MonkeyPatch, server: StorageServer, *buckets: str) -> None:
    """Let the environment name *server*, and *buckets* as data lake and temp."""
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    for purpose in ("DATA_LAKE", "TEMP"):
        monkeypatch.setenv(f"GREENLANG_{purpose}_BUCKET", buckets[0])
    monkeypatch.setenv("GREENLANG_STORAGE_CLEANUP_TIMEOUT", "30")


def keys(observer: Any, bucket: str, prefix: str = "") -> list[str]:
    """What the store holds, seen past the SDK."""
    pages = observer.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def content(observer: Any, bucket: str, key: str) -> bytes:
    """An object's bytes, seen past the SDK."""
    data: bytes = observer.get_object(Bucket=bucket, Key=key)["Body"].read()
    return data


def fill(observer: Any, bucket: str, names: Sequence[str], data: bytes = b"data") -> None:
    """Objects made past the SDK."""
    for name in names:
        observer.put_object(Bucket=bucket, Key=name, Body=data)
