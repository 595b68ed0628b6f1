"""How much of a range is asked of the transport at once: more while it comes quickly, little after stalls."""

from __future__ import annotations

from typing import Any, cast

import pytest

from greenlang_async_storage import S3TimeoutError, StorageSettings
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._ranges import STEP, Pin, RangeReader
from greenlang_async_storage._ranges import _reader as reader

pytestmark = pytest.mark.asyncio

SIZE = 8 * STEP
PIN = Pin("bucket", "key", "etag", SIZE, None, None)


class Replies:
    """A body that brings what is asked of it, and stalls at the reads named in *stalls*."""

    def __init__(self, *stalls: int) -> None:
        self.response = {"ContentRange": f"bytes 0-{SIZE - 1}/{SIZE}", "ETag": '"etag"'}
        self.received = 0
        self.asked: list[int] = []
        self._stalls = stalls

    async def readinto(self, view: memoryview) -> int:
        """All of *view*."""
        self.asked.append(len(view))
        if len(self.asked) in self._stalls:
            raise S3TimeoutError("stalled", code="Stalled", retryable=True)
        self.received += len(view)
        return len(view)

    def close(self) -> None:
        """Nothing is held."""


def reading(body: Replies, **options: int) -> RangeReader:
    """A reader of all of the object, on *body*."""
    connection: Any = type("Connection", (), {"settings": StorageSettings(_env_file=None)})()
    return RangeReader(cast("Connection", connection), PIN, 0, SIZE, cast("Any", body), **options)


async def test_quick_steps_grow() -> None:
    """Each step that came within a second doubles the next; the view is filled to its end."""
    body = Replies()
    found = reading(body)
    await found.readinto(memoryview(bytearray(SIZE)))
    assert body.asked == [STEP, 2 * STEP, 4 * STEP, STEP]
    assert (found.position, found.step) == (SIZE, 8 * STEP)


async def test_a_reader_begins_with_the_step_it_is_given() -> None:
    """What one reader found good is asked for by the next at once."""
    body = Replies()
    await reading(body, step=8 * STEP).readinto(memoryview(bytearray(SIZE)))
    assert body.asked == [SIZE]


async def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quick it is, no step is longer than the longest."""
    monkeypatch.setattr(reader, "LONGEST_STEP", 2 * STEP)
    body = Replies()
    await reading(body).readinto(memoryview(bytearray(SIZE)))
    assert body.asked == [STEP, 2 * STEP, 2 * STEP, 2 * STEP, STEP]


async def test_slow_steps_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step takes long, a stall must not cost more than one of the shortest."""
    monkeypatch.setattr(reader, "QUICK_SECONDS", -1.0)
    body = Replies()
    await reading(body, step=4 * STEP).readinto(memoryview(bytearray(SIZE)))
    assert body.asked == [4 * STEP, *[STEP] * 4]


async def test_a_stall_makes_steps_small_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection after a stall begins like the first one."""
    body = Replies(1)

    async def opened(*_: object) -> Replies:
        return body

    monkeypatch.setattr(reader, "open_body", opened)
    await reading(body, step=8 * STEP).readinto(memoryview(bytearray(SIZE)))
    assert body.asked == [SIZE, STEP, 2 * STEP, 4 * STEP, STEP]
