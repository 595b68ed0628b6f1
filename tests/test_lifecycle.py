"""Open, draining, closed: what a session waits for, what it ends, and where it refuses to work."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import pytest

from greenlang_async_storage import (
    S3InvalidRequestError,
    S3SessionClosedError,
    S3TimeoutError,
    S3WrongLoopError,
)
from greenlang_async_storage._deadline import Deadlines, Scope, ScopeEndedError
from greenlang_async_storage._lifecycle import CallScope, Lifecycle
from tests.support.scripted import Script, scripted_connection


def scope(lifecycle: Lifecycle, timeout: float | None = None) -> CallScope:
    """A call in flight."""
    return CallScope(lifecycle, timeout, "GetObject", "b", "k")


async def _hang(lifecycle: Lifecycle) -> None:
    with scope(lifecycle, 10):
        await asyncio.Event().wait()


@pytest.mark.asyncio
async def test_closing_waits_for_calls_in_flight() -> None:
    """A call that ends by itself within the time is not disturbed."""
    lifecycle = Lifecycle()
    started, go = asyncio.Event(), asyncio.Event()

    async def call() -> str:
        with scope(lifecycle):
            started.set()
            await go.wait()
            return "done"

    task = asyncio.create_task(call())
    await started.wait()
    closing = asyncio.create_task(lifecycle.drain(10))
    await asyncio.sleep(0)
    with pytest.raises(S3SessionClosedError), scope(lifecycle):
        pass
    go.set()
    assert await task == "done"
    await closing
    assert lifecycle.phase == "draining"


@pytest.mark.asyncio
async def test_closing_ends_what_does_not_end() -> None:
    """A call that outlasts the patience raises S3SessionClosedError in its own task."""
    lifecycle = Lifecycle()
    started = asyncio.Event()

    async def call() -> None:
        with scope(lifecycle):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await started.wait()
    await lifecycle.drain(0)
    await lifecycle.end(1)
    with pytest.raises(S3SessionClosedError) as caught:
        await task
    assert caught.value.outcome == "not_applied"


@pytest.mark.asyncio
async def test_closing_twice_and_at_the_same_time_is_fine() -> None:
    """Draining is idempotent."""
    lifecycle = Lifecycle()
    await asyncio.gather(lifecycle.drain(1), lifecycle.drain(1))
    await lifecycle.end(1)
    lifecycle.close()
    await lifecycle.drain(1)
    lifecycle.close()
    assert lifecycle.phase == "closed"
    with pytest.raises(S3SessionClosedError):
        lifecycle.require_not_closed()


@pytest.mark.asyncio
async def test_a_deadline_is_a_timeout_and_a_cancel_stays_a_cancel() -> None:
    """`timeout=` raises S3TimeoutError; a cancel from elsewhere passes through."""
    lifecycle = Lifecycle()
    with pytest.raises(S3TimeoutError), scope(lifecycle, 0.01):
        await asyncio.Event().wait()

    async def call() -> None:
        with scope(lifecycle, 10):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
async def test_bad_timeouts_are_refused(timeout: float) -> None:
    """The message names the value and the remedy."""
    with pytest.raises(S3InvalidRequestError, match="timeout="):
        scope(Lifecycle(), timeout)


@pytest.mark.asyncio
async def test_a_users_own_timeout_around_a_call_works() -> None:
    """A user's deadline outside and our scope inside do not confuse each other."""
    lifecycle = Lifecycle()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_hang(lifecycle), 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.asyncio
async def test_nested_scopes_end_the_right_one() -> None:
    """An inner deadline does not look like the outer one."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    with Scope(deadlines, loop.time() + 10):
        with pytest.raises(ScopeEndedError), Scope(deadlines, loop.time() + 0.01):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


def test_another_loop_is_refused() -> None:
    """A session opened in one event loop says so in another."""

    async def make() -> Lifecycle:
        return Lifecycle()

    lifecycle = asyncio.run(make())

    async def use() -> None:
        lifecycle.require_usable()

    with pytest.raises(S3WrongLoopError, match="another event loop"):
        asyncio.run(use())
    with pytest.raises(S3WrongLoopError, match="outside"):
        lifecycle.require_usable()


@pytest.mark.asyncio
async def test_a_forked_process_is_refused() -> None:
    """After a fork the child is told to open its own, also where it inherited the running loop."""
    lifecycle = Lifecycle()
    child = os.fork()
    if child == 0:
        try:
            lifecycle.require_usable()
        except S3WrongLoopError as error:
            os._exit(0 if "after a fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.asyncio
async def test_one_timer_serves_all_deadlines() -> None:
    """Later deadlines set no timer of their own, an earlier one is still kept, and none stays behind."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    ended: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        with suppress(ScopeEndedError), Scope(deadlines, loop.time() + seconds):
            await asyncio.Event().wait()
        ended.append(name)

    async with asyncio.timeout(10):
        await asyncio.gather(wait("late", 0.03), wait("later", 0.06), wait("early", 0.001))
    assert ended == ["early", "late", "later"]
    deadlines.rest()
    with Scope(deadlines, loop.time() + 60):
        before = deadlines._timer
        with Scope(deadlines, loop.time() + 70):
            assert deadlines._timer is before
        deadlines.rest()
        assert deadlines._timer is before
    deadlines.rest()
    assert deadlines._timer is None


@pytest.mark.asyncio
async def test_a_task_that_outlives_its_call_has_no_deadline() -> None:
    """What a producer or hook starts for later is held to the deadline while the call runs, not after."""
    conn = scripted_connection()
    go = asyncio.Event()

    async def later() -> str:
        await go.wait()
        reply: str = await conn.call("HeadObject", Script(_soon), bucket="b", key="k")
        return reply

    with conn.within(0.02, "PutObject", "b", "k"):
        task = asyncio.create_task(later())
    await _soon()
    go.set()
    assert await task == "reply"


async def _soon() -> str:
    await asyncio.sleep(0.03)
    return "reply"
