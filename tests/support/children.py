"""
Children to be killed, starved of disk and descriptors, or told to stop: `Nursery` makes them, `Child` is one.

A process that has imported the SDK forks itself for every job, which takes milliseconds instead of the half
second of a new interpreter. Between child and test stands a keeper, the child's parent: it passes on signals,
so none ever hits a process id that was given to somebody else, and ends the child when the test ends.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeAlias

Tell: TypeAlias = Callable[[object], None]
"""Sends a JSON value from the child to `Child.told`."""
Job: TypeAlias = Callable[..., Awaitable[None]]
"""A module-level coroutine function: `job(tell, **arguments)`, arguments being JSON values."""

ROOT: Final = Path(__file__).resolve().parents[2]
JOBS: Final = "tests.support.child_jobs"
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_LINE: Final = 1 << 20


class Nursery:
    """Forks children on demand, any number at a time; a context manager. *folder* is for its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exit = ExitStack()
        self._address = ""

    def __enter__(self) -> Self:
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with ExitStack() as stack:
            # Of its own: the address of such a socket has 108 bytes at most.
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="nursery-"))
            self._address = f"{place}/s"
            log = stack.enter_context((self._folder / "nursery.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.children", self._address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**kept, "HOME": str(self._folder), "TMPDIR": str(self._folder)},
            )
            stack.callback(process.communicate)  # the end of its input is the end of it
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", self.output()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def output(self) -> str:
        """What the process and all its children printed."""
        return (self._folder / "nursery.log").read_text(errors="replace")

    def child(self) -> Child:
        """A child that has nothing to do yet: `async with nursery.child() as child`."""
        return Child(self._address)


class Child:
    """One job in a process of its own; the end of the block kills what still runs."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.heard: list[Any] = []
        """All the child has told so far."""
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._reading: asyncio.Task[int] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_unix_connection(self._address, limit=_LINE)
        self._reading = asyncio.create_task(self._read(reader), name="child")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        assert self._reading is not None
        self._writer.write_eof()
        await asyncio.wait([self._reading])
        self._writer.close()
        await self._writer.wait_closed()
        failure = self._reading.exception()
        if failure is not None and error is None:
            raise failure

    async def begin(self, job: Job, **arguments: object) -> None:
        """Fork, and let the child do *job*."""
        self._send(json.dumps([job.__module__, job.__name__, arguments]).encode() + b"\n")

    async def told(self) -> Any:
        """The next value the child told; AssertionError when it ended without another one."""
        heard = await self._waiting.get()
        assert heard is not None, f"the child ended with {await self.ended()} and told nothing more"
        return heard

    def signal(self, number: signal.Signals) -> None:
        """Send the child a signal; nothing happens when it has ended."""
        self._send(bytes([number]))

    async def kill(self) -> None:
        """SIGKILL; returns when the child is dead. Made to be a hook of a fault plan."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended; negative: the signal. AssertionError with what it raised."""
        assert self._reading is not None
        return await asyncio.shield(self._reading)

    def _send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    async def _read(self, reader: asyncio.StreamReader) -> int:
        code: int | None = None
        failure = None
        while line := await reader.readline():
            [(kind, value)] = json.loads(line).items()
            if kind == "told":
                self.heard.append(value)
                self._waiting.put_nowait(value)
            elif kind == "failed":
                failure = value
            else:
                code = value
        self._waiting.put_nowait(None)
        assert failure is None, f"the child failed:\n{failure}"
        assert code is not None, "the child never began"
        return code


def _serve(address: str) -> None:
    """Fork a keeper for each connection, until standard input ends."""
    jobs = importlib.import_module(JOBS)
    asyncio.run(jobs.warm_up())
    assert threading.active_count() == 1, "threads do not survive a fork"
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)  # noqa: T201
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection)
            connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Fork the child, pass signals on to it, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    received = b""
    while b"\n" not in received:
        data = connection.recv(_LINE)
        if not data:
            os._exit(0)
        received += data
    request, _, signals = received.partition(b"\n")
    life, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(life)
        _work(connection, *json.loads(request))
    os.close(end)
    for number in signals:
        os.kill(pid, number)
    watched: list[Any] = [life, connection]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if life in ready:
            break
        numbers = connection.recv(64)
        if not numbers:
            watched.remove(connection)
        for number in numbers or bytes([signal.SIGKILL]):
            os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    _say(connection, "ended", os.waitstatus_to_exitcode(status))
    os._exit(0)


def _work(connection: socket.socket, module: str, name: str, arguments: dict[str, Any]) -> NoReturn:
    """The child."""
    code = 1
    random.seed()  # the same in all children otherwise
    try:
        job: Job = getattr(importlib.import_module(module), name)

        async def run() -> None:
            await job(lambda value: _say(connection, "told", value), **arguments)

        asyncio.run(run())
        code = 0
    except SystemExit as told:
        code = told.code if isinstance(told.code, int) else 1
    except BaseException:  # noqa: BLE001  # the test raises it
        _say(connection, "failed", traceback.format_exc())
    finally:
        os._exit(code)


def _say(connection: socket.socket, kind: str, value: object) -> None:
    try:
        connection.sendall(json.dumps({kind: value}).encode() + b"\n")
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    _serve(sys.argv[1])
