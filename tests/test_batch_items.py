"""What a batch takes for items, what its failures keep alive, and who owns a local path; nothing is sent."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import Bucket, S3InvalidRequestError, UploadItem
from greenlang_async_storage._batch._paths import LocalTree
from tests.support.scripted import scripted_connection


class Payload(bytearray):
    """Bytes whose end can be watched."""


class Slow(dict[str, str]):
    """A dictionary during whose look-ups other threads get their turn."""

    def get(self, key: str, default: Any = None) -> Any:
        """What is there, a moment later."""
        found = super().get(key, default)
        time.sleep(0.01)
        return found


def bucket() -> Bucket:
    """A bucket whose every request fails."""
    return Bucket(scripted_connection(), "some-bucket")


Call = Callable[[Bucket, Path], Coroutine[Any, Any, object]]
CALLS: dict[str, Call] = {
    "delete_many": lambda lake, _path: lake.delete_many("a.txt"),
    "download_many": lambda lake, path: lake.download_many("a.txt", path),
    "upload_many": lambda lake, _path: lake.upload_many(b"a.txt"),  # type: ignore[arg-type]  # the mistake
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CALLS)
async def test_one_string_is_not_a_batch_of_characters(name: str, tmp_path: Path) -> None:
    """`delete_many("a.txt")` would delete the keys `a`, `.`, `t` and `x`: it is refused."""
    with pytest.raises(TypeError, match="pass a list"):
        await CALLS[name](bucket(), tmp_path)


@pytest.mark.asyncio
async def test_failed_items_keep_no_data_alive() -> None:
    """A report of failures is small, however large the items were: no traceback holds their bytes."""
    watched: list[weakref.ref[Payload]] = []

    async def items() -> AsyncIterator[UploadItem]:
        for number in range(3):
            data = Payload(1000)
            watched.append(weakref.ref(data))
            yield UploadItem(f"key-{number}", data)
            del data

    report = await bucket().upload_many(items())
    assert len(report.failed) == 3
    gc.collect()
    assert [each() for each in watched] == [None, None, None]


@pytest.mark.asyncio
async def test_a_failing_source_is_found_by_its_note() -> None:
    """The exception of an item's source is the cause, with a note that says where it was raised."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"1"
        raise KeyError("mine")

    report = await bucket().upload_many([UploadItem("key", broken())])
    error = report.failed[0].error
    assert isinstance(error, S3InvalidRequestError)
    assert isinstance(error.__cause__, KeyError)
    assert "in broken" in "".join(error.__cause__.__notes__)


@pytest.mark.asyncio
async def test_two_threads_never_take_one_path(tmp_path: Path) -> None:
    """Of keys that differ only in case one gets the file, also when all ask at the same moment."""
    tree = LocalTree(tmp_path, remember=True)
    tree._taken = Slow()
    keys = ["a/b", "A/b", "a/B", "A/B"]
    places = [tree.place(key, key) for key in keys]
    found = await asyncio.gather(
        *(asyncio.to_thread(place.enter) for place in places), return_exceptions=True
    )
    for place in places:
        place.close()
    assert sum(each is None for each in found) == 1
    assert sum(isinstance(each, S3InvalidRequestError) for each in found) == 3
