from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from greenlang_async_storage import _chunks as chunks
from greenlang_async_storage._chunks import _thread, open_source
from greenlang_async_storage._types import ByteSource
from tests.support.cancel import cancel_everywhere

pytestmark = pytest.mark.asyncio


class OwnError(Exception):
    """What a user's code raises."""


async def read(source: object, **options: int) -> None:
    """Read *source* to its end, in parts."""
    async with open_source(cast("ByteSource", source), **options) as pieces:
        async for _ in chunks.assemble(pieces, chunks.PartPlan(1000)):
            pass


async def source_threads_end() -> None:
    """Wait for the threads of sources; fail when one goes on."""
    for thread in threading.enumerate():
        if thread.name == "greenlang-storage-source":
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()


class Watched:
    """Generators that note their start and their closing."""

    def __init__(self) -> None:
        self.started = 0
        self.closed = 0

    def plain(self) -> Iterator[bytes]:
        self.started += 1
        try:
            while True:
                yield bytes(_thread.BATCH_BYTES)
        finally:
            self.closed += 1

    async def asynchronous(self) -> AsyncIterator[bytes]:
        self.started += 1
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.closed += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
async def test_generators_are_closed(kind: str) -> None:
    """A generator is closed when the block is left early, by a failure, or by a cancel at any await."""
    watched = Watched()

    async def use(*, fail: bool = False) -> None:
        async with open_source(getattr(watched, kind)()) as pieces:
            for _ in range(3):
                await anext(pieces)
            if fail:
                raise OwnError

    await use()
    assert watched.closed == watched.started == 1
    with pytest.raises(OwnError):
        await use(fail=True)
    assert watched.closed == watched.started == 2

    async def check() -> None:
        await source_threads_end()
        assert watched.closed == watched.started

    for again_after in (0, 1):
        tried = await cancel_everywhere(use, check, again_after=again_after)
        assert tried >= 3
    assert watched.started > 6


async def test_a_failing_close_does_not_hide_the_failure() -> None:
    """What a generator raises while it is closed is a note on the failure, or the failure itself."""

    def produce() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(_thread.BATCH_BYTES)
        finally:
            raise ValueError("cannot close")

    async def use(*, fail: bool) -> None:
        async with open_source(produce()) as pieces:
            await anext(pieces)
            if fail:
                raise OwnError

    with pytest.raises(OwnError) as caught:
        await use(fail=True)
    assert "cannot close" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="cannot close"):
        await use(fail=False)


async def test_a_generator_that_blocks_for_ever_delays_no_cancel() -> None:
    """A cancel is raised while the source's thread is still blocked; the thread then closes the generator."""
    blocked, released, closed = threading.Event(), threading.Event(), threading.Event()

    def produce() -> Iterator[bytes]:
        try:
            blocked.set()
            released.wait()
            yield b""
        finally:
            closed.set()

    task = asyncio.create_task(read(produce()))
    assert await asyncio.to_thread(blocked.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed.is_set()
    released.set()
    assert await asyncio.to_thread(closed.wait, 30)


async def test_a_generator_that_blocks_for_ever_delays_no_exit() -> None:
    """A program whose source is blocked for ever ends when its main coroutine does."""
    program = """
import asyncio, threading
from greenlang_async_storage._chunks import open_source
blocked = threading.Event()
def produce():
    blocked.set()
    threading.Event().wait()
    yield b""
async def read():
    async with open_source(produce()) as pieces:
        await anext(pieces)
async def main():
    task = asyncio.create_task(read())
    await asyncio.to_thread(blocked.wait)
    task.cancel()
    await asyncio.wait([task])
    print("done", task.cancelled())
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done True\n", "")


class Reader:
    """A plain reader that stays open."""

    def __init__(self) -> None:
        self._left = 5

    def read(self, size: int) -> bytes:
        self._left -= 1
        return bytes(min(size, 1000)) if self._left >= 0 else b""


@pytest.mark.parametrize("kind", ["reader", "generator", "list"])
async def test_cancelled_reading_leaves_nothing(kind: str) -> None:
    """Cancelled at any await, once or twice, reading leaves no thread and no task."""

    def source() -> object:
        pieces = (bytes(1000) for _ in range(5))
        return {"reader": Reader(), "generator": pieces, "list": list(pieces)}[kind]

    for again_after in (0, 1):
        await cancel_everywhere(lambda: read(source()), source_threads_end, again_after=again_after)


async def test_a_cancelled_path_is_closed(tmp_path: Path) -> None:
    """A file the SDK opened is closed when the reading is cancelled at any await."""
    path = tmp_path / "data"
    path.write_bytes(bytes(10_000))

    async def check() -> None:
        await source_threads_end()
        entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
        assert path not in [entry.readlink() for entry in entries]

    assert await cancel_everywhere(lambda: read(path, read_size=_thread.BATCH_BYTES), check) >= 1
