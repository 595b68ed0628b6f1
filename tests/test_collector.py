"""The garbage collector while a session opens."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from greenlang_async_storage import _collector
from greenlang_async_storage._collector import collector_paused


@pytest.fixture(autouse=True)
def collector_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that opens its first session; the collector runs, and nothing stays frozen."""
    monkeypatch.setattr(_collector, "_pauses_left", 4)
    gc.enable()
    yield
    gc.unfreeze()
    gc.enable()


def generation_of(value: object) -> int | None:
    """Which of the collector's lists holds *value*."""
    for generation in range(3):
        if any(held is value for held in gc.get_objects(generation)):
            return generation
    return None


def test_nothing_is_collected_inside() -> None:
    """The collector is off inside the block, however blocks are nested, and on after the last."""
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_old_at_once() -> None:
    """Objects made inside count as long-lived, without a collection that looked at each of them."""
    full_collections = gc.get_stats()[2]["collections"]
    with collector_paused():
        loaded: list[list[int]] = [[] for _ in range(10)]
    assert generation_of(loaded[0]) == 2
    assert gc.get_stats()[2]["collections"] == full_collections
    assert gc.get_freeze_count() == 0


def test_later_openings_leave_their_objects_to_the_collector() -> None:
    """Objects it does not count would never make it look for closed sessions."""
    for _ in range(4):
        with collector_paused():
            pass
    with collector_paused():
        assert gc.isenabled()
        loaded: list[list[int]] = [[] for _ in range(10)]
    assert generation_of(loaded[0]) != 2


def test_closed_sessions_do_not_pile_up() -> None:
    """What sessions opened and closed in turn leave behind is collected without anybody asking for it."""
    script = (
        "import asyncio, gc\n"
        "from greenlang_async_storage import StorageSession, StorageSettings\n"
        "keys = {'access_key_id': 'a', 'secret_access_key': 'b'}\n"
        "settings = StorageSettings(endpoint_url='http://127.0.0.1:9', **keys)\n"
        "async def main():\n"
        "    for _ in range(24):\n"
        "        async with StorageSession(settings):\n"
        "            pass\n"
        "        print(len(gc.get_objects()))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    objects = [int(line) for line in done.stdout.split()]
    of_one_session = objects[1] - objects[0]
    assert of_one_session > 0
    assert max(objects) - objects[0] < 15 * of_one_session


def test_cycles_made_inside_are_still_collected() -> None:
    """Garbage that the block left is found by the next full collection."""
    gc.collect()
    with collector_paused():
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
    assert gc.collect() >= 1


def test_a_collector_that_was_off_stays_off() -> None:
    """An application that switched the collector off has not asked for it back."""
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()


def test_frozen_objects_stay_frozen() -> None:
    """What an application froze before a fork is not thawed."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    with collector_paused():
        pass
    assert gc.get_freeze_count() >= frozen - 1000 > 0
    assert gc.isenabled()


def test_a_failure_inside_brings_it_back() -> None:
    """An exception leaves the collector as it was."""
    with pytest.raises(OSError, match="no such model"), collector_paused():
        raise OSError("no such model")
    assert gc.isenabled()


def test_opening_collects_nothing_in_full() -> None:
    """A fresh process opens a session, and its loop never waits for a collection over all models."""
    script = (
        "import asyncio, gc\n"
        "from greenlang_async_storage import StorageSession, StorageSettings\n"
        "seen = []\n"
        "keys = {'access_key_id': 'a', 'secret_access_key': 'b'}\n"
        "settings = StorageSettings(endpoint_url='http://127.0.0.1:9', **keys)\n"
        "async def main():\n"
        "    gc.callbacks.append(lambda phase, info: seen.append(info['generation']))\n"
        "    async with StorageSession(settings):\n"
        "        pass\n"
        "    print(seen.count(2))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["0"]
