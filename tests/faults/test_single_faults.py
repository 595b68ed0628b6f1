"""The table of single faults: a thinned one holds, and whoever runs it sees what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from greenlang_async_storage import S3ObjectChangedError, _retry, _verify
from greenlang_async_storage._multipart import _abort
from greenlang_async_storage.testing import Fault, MemoryS3
from greenlang_async_storage.testing._memory._wire import Reply
from tests.faults import _table_run
from tests.faults._scenarios import SCENARIOS
from tests.faults._table import STATUSES, Case, Request, faults_of, pairs_of
from tests.faults._table_judge import Verdict
from tests.faults._table_run import Runner
from tests.faults._table_scene import SMALL, Scenario
from tests.faults._table_watch import watched
from tests.faults._table_worker import Plan, in_memory, plan, run_plan
from tests.faults._table_world import memory_world, small_parts
from tests.support.faults import BUCKET, Door, laboratory

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

STEP = 17
"""Every how manieth case: prime, so that each phase and each action has its turn."""


@pytest.fixture(autouse=True)
def parts_are_small() -> Any:
    """As in the whole table."""
    with small_parts():
        yield


async def verdicts(cases: list[Case], door: Door, folder: Path) -> list[Verdict]:
    """Those of *cases*, one after the other."""
    found: list[Verdict] = []
    await run_plan(Plan(in_memory(door), door == "served", cases, {}), folder, found.append, slots=1)
    return found


async def problems(name: str, folder: Path, fault: Fault, door: Door = "direct") -> str:
    """What is wrong with one case, as one text."""
    (verdict,) = await verdicts([Case(name, (fault,))], door, folder)
    return "; ".join(verdict.problems)


@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("block", range(2))
async def test_every_operation_holds(tmp_path: Path, door: Door, block: int) -> None:
    """Old or new, told truly, typed and at rest: every public operation under a part of its faults."""
    (tmp_path / "clean").mkdir()
    whole = await plan(in_memory(door), tmp_path / "clean", list(SCENARIOS)[block::2], wire=door == "served")
    bad: list[str] = []
    ran: set[str] = set()

    def see(verdict: Verdict) -> None:
        ran.add(verdict.case.scenario)
        if verdict.problems:
            bad.append(f"{verdict.case}: {'; '.join(verdict.problems)}")

    await run_plan(whole.part(0, STEP), tmp_path, see, slots=6)
    assert bad == []
    assert ran == {*list(SCENARIOS)[block::2]}


@pytest.mark.parametrize("name", ["upload_bytes, create only", "upload_bytes, if_match"])
async def test_a_conditional_put_that_a_proxy_doubled(tmp_path: Path, name: str) -> None:
    """The object that refused it is its own: success."""
    assert await problems(name, tmp_path, Fault("PutObject", 1, "withheld", "twice")) == ""


async def test_every_phase_and_action_is_there() -> None:
    """A request with bodies both ways meets every phase, action, refusal and place."""
    found = list(faults_of(Request("UploadPart", 2, 1000, 500), wire=True, rival=True))
    assert len(found) == len({str(fault.to_dict()) for fault in found})
    assert {fault.phase for fault in found} == {
        *("connect", "request_head", "request_body", "unforwarded"),
        *("withheld", "reply_head", "reply_body", "idle"),
    }
    actions = {fault.action for fault in found}
    assert actions == {"reset", "close", "stall", "drip", "flip", "replace", "twice", "delay", "hook"}
    assert {fault.status for fault in found if fault.status} == {*STATUSES, 200}
    breaks = {fault.at for fault in found if fault.phase == "request_body" and fault.action == "reset"}
    assert breaks == {0, 1, 500, 999}
    assert all((fault.operation, fault.nth) == ("UploadPart", 2) for fault in found)


async def test_pairs_are_of_different_requests() -> None:
    """Every fault of one request with every fault of each other one."""
    first, second = Request("UploadPart", 1, 9, 0), Request("UploadPart", 2, 0, 0)
    found = list(pairs_of("upload_stream", [first, second], wire=False))
    ones, others = list(faults_of(first, wire=False)), list(faults_of(second, wire=False))
    assert len(found) == len(ones) * len(others)
    assert all(one.nth != other.nth for one, other in (case.faults for case in found))


def losing(operation: str) -> Callable[..., Reply]:
    """A store that acknowledges *operation* and does nothing."""
    handle = MemoryS3.handle

    def lost(self: MemoryS3, method: str, target: str, headers: Any, body: bytes) -> Reply:
        before = {key: list(kept) for key, kept in self._store.buckets[BUCKET].versions.items()}
        reply = handle(self, method, target, headers, body)
        if self.faults.requests and self.faults.requests[-1].operation == operation:
            self._store.buckets[BUCKET].versions = before
        return reply

    return lost


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("upload_bytes", "PutObject"),
        ("upload_file, in parts", "CompleteMultipartUpload"),
        ("copy", "CopyObject"),
    ],
)
async def test_a_lost_write_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    """Acknowledged and not there: said so, even in a run without a fault."""
    with watched() as watch:
        async with memory_world("direct") as world:
            runner = Runner(world, tmp_path, watch)
            await runner.clean(name)
            monkeypatch.setattr(MemoryS3, "handle", losing(operation))
            found = await runner.run(Case(name, ()))
    assert any("acknowledged, and not there" in problem for problem in found.problems)


DAMAGED = {
    "another object": lambda world: world.store.put(BUCKET, "stranger", b"x"),
    "half an object": lambda world: world.store.put(BUCKET, "key", SMALL[:100]),
    "its metadata": lambda world: world.store.put(BUCKET, "key", SMALL, x_amz_tagging="a=1"),
}


@pytest.mark.parametrize("what", DAMAGED)
async def test_what_else_changed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Bytes, tags and metadata of every key count, those the call never named too."""
    with watched() as watch:
        async with memory_world("direct") as world:
            runner = Runner(world, tmp_path, watch)
            await runner.clean("upload_bytes")
            state = world.state

            def damaged() -> Any:
                DAMAGED[what](world)
                return state()

            monkeypatch.setattr(world, "state", damaged)
            found = await runner.run(Case("upload_bytes", ()))
    assert any("neither the old nor the new" in problem for problem in found.problems)


async def test_what_is_left_behind_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task, a file, an exception nobody caught, and a call that ends too late."""
    scenario = SCENARIOS["head"]
    forever = asyncio.Event()

    async def careless(stage: Any) -> object:
        stage.kept = asyncio.create_task(forever.wait(), name="careless")
        (stage.folder / "part.tmp").write_bytes(b"")
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        return await scenario.call(stage)

    monkeypatch.setattr(_table_run, "SETTLES", 0.0)
    with watched() as watch:
        async with memory_world("direct") as world:
            runner = Runner(world, tmp_path, watch)
            await runner.clean("head")
            changed = type(scenario)(**{**vars(scenario), "call": careless})
            monkeypatch.setitem(cast("dict[str, Scenario]", SCENARIOS), "head", changed)
            found = await runner.run(Case("head", ()))
            forever.set()
    told = "; ".join(found.problems)
    assert "careless" in told
    assert "part.tmp was left behind" in told
    assert "division by zero" in told
    assert not Verdict(Case("head", ()), seconds=0.9, deadline=0.7).late
    assert Verdict(Case("head", ()), seconds=1.0, deadline=0.7).late


Patch = tuple[object, str, object]


async def _none(*_: object, **__: object) -> None:
    return None


WITHOUT: dict[str, tuple[tuple[Patch, ...], str, Fault]] = {
    "retries": (
        ((_retry.RetryPolicy, "again", lambda *_: False),),
        "upload_bytes",
        Fault("PutObject", 1, "unforwarded", "replace", status=503, code="SlowDown"),
    ),
    "a refusal's last word": (
        ((_retry.RetryPolicy, "again", lambda *_: True),),
        "head",
        Fault("HeadObject", 1, "unforwarded", "replace", status=403, code="AccessDenied"),
    ),
    "aborts": (
        ((_abort, "_abort_twice", _none),),
        "upload_stream, in parts",
        Fault("UploadPart", 0, "unforwarded", "replace", status=403, code="AccessDenied"),
    ),
    "checksums of reads": (
        (
            (_verify, "matches_at_once", lambda *_: True),
            (_verify.Check, "matches", lambda *_: True),
            (_verify.Verifier, "demand", lambda *_: None),
        ),
        "download_file",
        Fault("GetObject", 1, "reply_body", "flip", at=5),
    ),
}


@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("what", WITHOUT)
async def test_a_protection_that_is_gone_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, door: Door
) -> None:
    """With it the case is good, without it the case is not."""
    patches, name, fault = WITHOUT[what]
    with watched() as watch:
        async with memory_world(door) as world:
            runner = Runner(world, tmp_path, watch)
            good = await runner.run(Case(name, (fault,)))
            for target, attribute, value in patches:
                monkeypatch.setattr(target, attribute, value)
            bad = await runner.run(Case(name, (fault,)))
    assert good.problems == []
    assert bad.problems != []


async def test_a_refused_copy_says_how_often_it_was_asked_for() -> None:
    """The error of a source that is gone carries status, code, request and attempts of the refusal."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "source", SMALL)
        lab.plan(Fault("CopyObject", 1, "unforwarded", "replace", status=412, code="PreconditionFailed"))
        with pytest.raises(S3ObjectChangedError) as caught:
            await lab.lake.copy("source", "key")
    error = caught.value
    assert (error.attempts, error.status, error.code) == (1, 412, "PreconditionFailed")


async def test_damage_to_a_signed_body_is_told_from_bad_xml() -> None:
    """The in-memory store compares the payload hash of every request, so a damaged one is sent again."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "key", SMALL)
        lab.plan(Fault("PutObjectTagging", 1, "request_body", "flip", at=3))
        await lab.lake.set_tags("key", {"a": "1"})
        assert lab.count("PutObjectTagging") == 2
