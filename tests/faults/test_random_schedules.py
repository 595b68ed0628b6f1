"""Random faults on small lives: every promise holds behind every door, and a seed is run again exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenlang_async_storage import _multipart, _retry
from greenlang_async_storage._chunks import _plan as part_sizes
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._uploads import _put
from greenlang_async_storage._verify import Verifier
from greenlang_async_storage.testing import Schedule
from tests.faults import _memory_lives, _simulated, replay
from tests.faults._life import Plan
from tests.faults._played import Played
from tests.faults._worlds import memory_plan

REAL_PAUSE = _retry.RetryPolicy.pause
IN_VIRTUAL_TIME = 400
IN_MEMORY = 40
ON_THE_WIRE = 60
REGRESSIONS: list[str] = []
"""Schedules that once broke a promise, as `Schedule.to_json` prints them; their seed says which life."""


@pytest.fixture(autouse=True)
def seams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What lives lower for their process is as before after a test; retries wait, in virtual time."""
    monkeypatch.setattr(part_sizes, "MIN_PART_BYTES", part_sizes.MIN_PART_BYTES)
    monkeypatch.setattr(_retry.RetryPolicy, "pause", REAL_PAUSE)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("block", range(4))
def test_random_faults_in_virtual_time(block: int) -> None:
    """T0: nothing lost, mixed, half visible or left behind, no untyped error, no hang."""
    first = block * IN_VIRTUAL_TIME
    found = _simulated.play(first, first + IN_VIRTUAL_TIME)
    assert found.failures == []
    assert (found.schedules, found.faults > IN_VIRTUAL_TIME // 2) == (IN_VIRTUAL_TIME, True)


@pytest.mark.parametrize("block", range(2))
def test_random_faults_in_memory(block: int) -> None:
    """T1: the same with real signing, parsing and files."""
    first = block * IN_MEMORY
    found = _memory_lives.play_direct(first, first + IN_MEMORY)
    assert found.failures == []
    assert found.faults


def test_random_faults_on_the_wire() -> None:
    """T1 through sockets, with the fast path."""
    found = _memory_lives.play_served(100_000, 100_000 + ON_THE_WIRE)
    assert found.failures == []
    assert found.faults


def test_schedules_that_once_failed() -> None:
    """They do not any more."""
    for text in REGRESSIONS:
        schedule = Schedule.from_json(text)
        life = _simulated.plan_for(schedule.seed)
        _simulated.run_one(Plan(life.seed, life.scenes, schedule))


def test_a_seed_is_run_again_exactly() -> None:
    """The same seed, the same requests in the same order with the same replies and results."""
    for seed in range(40):
        life = _simulated.plan_for(seed)
        assert _simulated.run_one(life) == _simulated.run_one(life)
    for seed in range(2):
        # Of two threads that write a file the system chooses the first.
        life = memory_plan(seed, waits=True, scenes=_simulated.WITHOUT_FILES)
        assert _memory_lives.run_one(life, served=False) == _memory_lives.run_one(life, served=False)


async def _nothing(*_: object, **__: object) -> None:
    return None


async def _unsettled(_conn: object, _written: object, failure: Exception) -> None:
    raise failure


async def _verified(*_: object, **__: object) -> bool:
    return True


async def _slot_kept(connection: Any, operation: str, send: Any, **told: Any) -> Any:
    engine = connection._engine
    job = engine.job(operation, send, told["bucket"], told.get("key"), 0)
    return await engine.run(job)


PLANTED: dict[str, tuple[object, str, Callable[..., Any], str]] = {
    "no abort": (_multipart._abort, "_abort_twice", _nothing, "uploads left"),
    "a refusal is not settled": (_put, "_settle", _unsettled, "said not to be applied"),
    "bytes not verified": (Verifier, "data", _verified, "never written"),
    "a slot kept": (Connection, "call", _slot_kept, "in flight"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_broken_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A protection taken away shows within a few hundred lives, shrunk and ready to be run again."""
    place, attribute, broken, why = PLANTED[name]
    monkeypatch.setattr(place, attribute, broken)
    found = Played()
    for first in range(0, 4000, 200):
        found.add(_simulated.play(first, first + 200))
        if any(why in text for text in found.failures):
            break
    [text, *_] = [text for text in found.failures if why in text]
    schedule = Schedule.from_json(text[text.index("{") :])
    life = _simulated.plan_for(schedule.seed)
    again = Plan(life.seed, life.scenes, schedule)
    with pytest.raises(BaseException, match=why):
        _simulated.run_one(again)
    assert len(schedule.entries) <= len(life.schedule.entries)


def test_a_failure_can_be_run_again_by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed, or the schedule a failure printed, gives the trace, or what was broken, and the exit code."""
    assert replay.main(["t0", "7"]) == 0
    schedule, *trace = capsys.readouterr().out.splitlines()
    assert trace == _simulated.run_one(_simulated.plan_for(7))
    assert replay.main(["t1", schedule]) == 0
    monkeypatch.setattr(Connection, "call", _slot_kept)
    assert replay.main(["t0", schedule]) == 1
    assert "in flight" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        replay.main(["t0", "{}"])
