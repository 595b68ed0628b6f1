"""One case of the table: run, timed, and judged by what the store and the disk hold afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from greenlang_async_storage import S3Error
from greenlang_async_storage.testing import WireRequest
from tests.faults._scenarios import SCENARIOS
from tests.faults._table import OVERWRITE, Case, Request
from tests.faults._table_judge import (
    Identity,
    Seen,
    Verdict,
    count_repeated,
    fields,
    identity_of,
    noticed,
    told_equal,
    told_truly,
)
from tests.faults._table_scene import RIVAL, Scenario, Stage
from tests.faults._table_watch import OWNER, Owner, Watch
from tests.faults._table_world import CALL, World, refill_budget

TIMEOUT: Final = 2.0
"""Of a call with one fault: enough for every attempt."""
LASTING_TIMEOUT: Final = 0.7
"""Of a call whose faults do not end: less than all attempts take."""
HANGS: Final = 15.0
"""Seconds after which a call is said to hang."""
SETTLES: Final = 0.5


@dataclass
class Clean:
    """A run without faults: what it sent."""

    requests: list[Request]
    identities: Counter[Identity]


class Runner:
    """Runs cases on one world, one after the other, in a folder of its own."""

    def __init__(
        self, world: World, folder: Path, watch: Watch, clean: dict[str, Clean] | None = None
    ) -> None:
        self._world = world
        self._folder = folder
        self._watch = watch
        self._clean = clean if clean is not None else {}
        """Shared by all that run the same cases."""

    async def clean(self, name: str) -> Clean:
        """A run without a fault, which has to succeed; run once."""
        if name not in self._clean:
            sizes: dict[tuple[str, str, str | None], int] = {}
            with _recorded(self._world, sizes):
                verdict, requests = await self._run(Case(name, ()), Counter())
            if verdict.problems or verdict.ended != "success":
                raise AssertionError(f"{name} without a fault: {verdict.ended}, {verdict.problems}")
            found = [
                Request(
                    one.operation,
                    one.nth,
                    one.size,
                    sizes.get((one.method, one.target, one.headers.get("range")), 0),
                )
                for one in requests
            ]
            self._clean[name] = Clean(found, Counter(identity_of(one) for one in requests))
        return self._clean[name]

    async def run(self, case: Case) -> Verdict:
        """The verdict on *case*."""
        clean = await self.clean(case.scenario)
        verdict, _ = await self._run(case, clean.identities)
        return verdict

    async def _run(self, case: Case, expected: Counter[Identity]) -> tuple[Verdict, list[WireRequest]]:
        world, scenario = self._world, SCENARIOS[case.scenario]
        stage = self._prepared(case, scenario)
        verdict = Verdict(case, deadline=self._deadline(case, scenario))
        before = world.session.statistics().possible_orphans
        owner, loop = Owner(), asyncio.get_running_loop()
        result, error = None, None
        token = OWNER.set(owner)
        started = loop.time()
        task = asyncio.ensure_future(_called(scenario.call(stage)))
        OWNER.reset(token)
        done, _ = await asyncio.wait({task}, timeout=HANGS * world.pace)
        verdict.seconds = loop.time() - started
        requests, world.faults.requests = world.faults.requests, []
        world.faults.plan()
        if not done:
            verdict.problems.append("hangs")
            task.cancel()
            await asyncio.wait({task})
        elif isinstance(caught := task.exception(), S3Error):
            error, verdict.ended = caught, type(caught).__name__
        elif caught is not None:
            verdict.ended = type(caught).__name__
            verdict.problems.append(f"untyped: {caught!r}")
        else:
            result = task.result()
        if not verdict.problems:
            files = {path.name: path.read_bytes() for path in self._folder.iterdir()}
            seen = Seen(world.part, world.state(), files)
            if error is None:
                verdict.problems += told_equal(case, world.part, result)
            verdict.problems += told_truly(case, seen, result, error)
            verdict.problems += fields(case, world.bucket, result, error)
            verdict.problems += noticed(case, result, error)
        doubled = sum(
            one.operation == "CreateMultipartUpload" and any(fault.action == "twice" for fault in one.faults)
            for one in requests
        )
        orphans = doubled + world.session.statistics().possible_orphans - before
        verdict.problems += await self._at_rest(stage, owner, orphans)
        count_repeated(verdict, requests, expected)
        if self._watch.uncaught:
            verdict.problems.append(f"nobody could catch: {self._watch.uncaught}")
            self._watch.uncaught.clear()
        verdict.held_up = self._watch.held_up(started)
        return verdict, requests

    def _prepared(self, case: Case, scenario: Scenario) -> Stage:
        world, part = self._world, self._world.part
        for left in self._folder.iterdir():
            left.unlink()
        for name, (old, _) in scenario.files(part).items():
            if old is not None:
                (self._folder / name).write_bytes(old)
        etags = world.reset(scenario.before(part), versioning=scenario.versioning)
        timeout = world.pace * (LASTING_TIMEOUT if case.lasting else TIMEOUT)
        stage = Stage(world.session.data_lake, self._folder, part, timeout, etags)
        if scenario.upload:
            whole = stage.large
            stage.upload, stage.parts = world.open_upload("key", whole[:part], whole[part:])
        refill_budget(world.session)
        rival = scenario.rival(part) if scenario.rival else RIVAL
        world.faults.hooks[OVERWRITE] = lambda: world.overwrite("key", rival)
        world.faults.requests.clear()
        world.faults.plan(*case.faults)
        return stage

    def _deadline(self, case: Case, scenario: Scenario) -> float | None:
        pace = self._world.pace
        if scenario.timed:
            return pace * (LASTING_TIMEOUT if case.lasting else TIMEOUT)
        clean = self._clean.get(scenario.name)
        # The call has no total deadline: each of its requests has one, and its body the stall limit.
        return None if clean is None else pace * CALL * (len(clean.requests) + 1)

    async def _at_rest(self, stage: Stage, owner: Owner, orphans: int) -> list[str]:
        """No slot, body, clean-up, task or upload of the call is left."""
        world = self._world
        until = asyncio.get_running_loop().time() + SETTLES
        while left := self._held(owner):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(0.005)
        known = stage.upload.upload_id if stage.upload is not None else None
        uploads = [one for one in world.uploads() if one[1] != known]
        if len(uploads) > orphans:
            left.append(f"uploads left open, {orphans} told of: {uploads}")
        for key, upload_id in world.uploads():
            world.drop_upload(key, upload_id)
        return left

    def _held(self, owner: Owner) -> list[str]:
        counted = self._world.session.statistics()
        held = counted.in_flight, counted.pool_waiting, counted.cleanups_pending
        left = owner.left()
        if held != (0, 0, 0):
            left.append(f"in flight, waiting, cleaning up: {held}")
        if self._world.open_bodies():
            left.append("a body was neither read nor closed")
        return left


async def _called(work: Any) -> object:
    return await work


@contextmanager
def _recorded(world: World, sizes: dict[tuple[str, str, str | None], int]) -> Iterator[None]:
    """Note how long replies are: at the in-memory store, or where a proxy hears the server."""
    store: Any = getattr(world, "store", None)
    if store is not None:
        with _noted_in_memory(store, sizes):
            yield
        return
    upstream: Any = getattr(world, "proxy")._upstream  # noqa: B009  # only worlds with a server have one
    exchange = upstream.exchange

    async def exchanged(head: Any, body: bytes) -> Any:
        reply, data = await exchange(head, body)
        method, target, _ = head.first.decode().split(" ")
        sizes[method, target, head.headers().get("range")] = len(data)
        return reply, data

    upstream.exchange = exchanged
    try:
        yield
    finally:
        del upstream.exchange


@contextmanager
def _noted_in_memory(store: Any, sizes: dict[tuple[str, str, str | None], int]) -> Iterator[None]:
    handle: Callable[..., Any] = store.handle

    def handled(method: str, target: str, headers: Any, body: bytes) -> Any:
        reply = handle(method, target, headers, body)
        sizes[method, target, headers.get("range")] = len(reply.body)
        return reply

    store.handle = handled
    try:
        yield
    finally:
        del store.handle
