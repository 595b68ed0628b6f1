from __future__ import annotations

import asyncio
from typing import Any

import pytest

from greenlang_async_storage import S3Error
from greenlang_async_storage._concurrency import task_group, wait_through_cancels
from tests.support.cancel import CancelAt


class ItemError(Exception):
    """What a task or block raises."""


class OtherError(Exception):
    """What something else raises."""


async def fail(error: Exception) -> None:
    """A task that fails after a turn of the loop."""
    await asyncio.sleep(0)
    raise error


async def clean_up_badly() -> None:
    """A task that fails when it is cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        raise OtherError("in clean-up")


@pytest.mark.asyncio
@pytest.mark.parametrize("waits", ["in the block", "after it", "in a group inside"])
async def test_one_failure_is_raised_as_itself(waits: str) -> None:
    """One failed task gives its own exception, with its own context, and leaves no cancel behind."""
    error = ItemError()
    error.__context__ = context = OtherError()
    with pytest.raises(ItemError) as caught:  # noqa: PT012  # the block is under test
        async with task_group() as group:
            if waits == "in a group inside":
                async with asyncio.TaskGroup() as inside:
                    inside.create_task(fail(error))
            else:
                group.create_task(fail(error))
            if waits == "in the block":
                await asyncio.Event().wait()
    assert caught.value is error
    assert error.__context__ is context
    assert not hasattr(error, "__notes__")
    task = asyncio.current_task()
    assert task is not None
    # The group inside is asyncio's own; on Python 3.11 it leaves a cancel counted.
    assert task.cancelling() == 0 or waits == "in a group inside"
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_several_failures() -> None:
    """Of several failures the first is raised, with a note that counts the others."""
    error = ItemError()
    with pytest.raises(ItemError) as caught:  # noqa: PT012  # the block is under test
        async with task_group() as group:
            group.create_task(clean_up_badly())
            group.create_task(fail(error))
            group.create_task(clean_up_badly())
    assert caught.value is error
    assert "2 more" in error.__notes__[0]


@pytest.mark.asyncio
async def test_the_block_fails_first() -> None:
    """What the block raised goes before what its tasks raise as they are cancelled."""
    error = ItemError()
    with pytest.raises(ItemError) as caught:  # noqa: PT012  # the block is under test
        async with task_group() as group:
            group.create_task(clean_up_badly())
            await asyncio.sleep(0)
            raise error
    assert caught.value is error
    assert "1 more" in error.__notes__[0]


@pytest.mark.asyncio
async def test_a_cancel_is_not_lost_to_a_failing_block() -> None:
    """A caller cancelled while the tasks of a failed block end gets CancelledError, too."""
    ending = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            for _ in range(3):
                await asyncio.sleep(0)

    async def work() -> None:
        async with task_group() as group:
            group.create_task(slow_to_end())
            await asyncio.sleep(0)
            raise ItemError

    task = asyncio.create_task(work())
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ItemError)


@pytest.mark.asyncio
async def test_a_cancel_is_not_lost_to_a_failure() -> None:
    """A cancelled caller gets CancelledError even when a task fails as it ends; the failure is the cause."""
    reached = []

    async def work() -> None:
        async with task_group() as group:
            group.create_task(clean_up_badly())
            await asyncio.sleep(0)
        reached.append(1)

    for point in (1, 2):
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.create_task(_awaited(CancelAt(work(), point)))
        assert isinstance(caught.value.__cause__, OtherError)
    assert reached == []


async def _awaited(work: Any) -> None:
    await work


@pytest.mark.asyncio
@pytest.mark.parametrize("cancels", [0, 1, 5])
async def test_waiting_through_cancels(cancels: int) -> None:
    """The wait ends when the future is done, not before, and tells whether it was cancelled meanwhile."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(wait_through_cancels(future))
    for _ in range(cancels):
        await asyncio.sleep(0)
        task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    future.set_result(None)
    assert await task == bool(cancels)


@pytest.mark.asyncio
async def test_waiting_through_cancels_ends_at_its_deadline() -> None:
    """A future that is never done is waited for no longer than was asked, and is left as it is."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert await wait_through_cancels(future, timeout=0.01) is False
    assert not future.done()


@pytest.mark.asyncio
@pytest.mark.parametrize("waits", ["in the block", "after it"])
async def test_a_task_cancelled_alone_fails_the_group(waits: str) -> None:
    """The standard group takes it for done: its work would be missing, and nobody would know."""
    async with asyncio.timeout(10):
        with pytest.raises(S3Error, match="cancelled from outside") as caught:  # noqa: PT012  # the block is under test
            async with task_group() as group:
                other = group.create_task(asyncio.Event().wait())
                alone = group.create_task(asyncio.Event().wait(), name="part 2")
                asyncio.get_running_loop().call_soon(alone.cancel)
                if waits == "in the block":
                    await group.wait()
    assert "part 2" in str(caught.value)
    assert other.cancelled()


@pytest.mark.asyncio
async def test_a_cancelled_future_fails_the_group() -> None:
    """A thread pool that is shut down cancels what it had not begun: who waited for that has not done it."""
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await waited_for

    with pytest.raises(S3Error, match="cancelled from outside"):  # noqa: PT012  # the block is under test
        async with task_group() as group:
            group.create_task(wait())
            waited_for.cancel()


@pytest.mark.asyncio
async def test_tasks_the_group_cancels_do_not_count() -> None:
    """What failed is raised without a word about the tasks that were ended because of it."""
    with pytest.raises(ItemError) as caught:  # noqa: PT012  # the block is under test
        async with task_group() as group:
            group.create_task(asyncio.Event().wait())
            group.create_task(fail(ItemError()))
            await group.wait()
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.asyncio
async def test_a_cancelled_owner_stays_cancelled() -> None:
    """A loop that shuts down cancels owner and tasks at once: that is a cancel, not a failure."""
    children: list[asyncio.Task[Any]] = []

    async def own() -> None:
        async with task_group() as group:
            children.append(group.create_task(asyncio.Event().wait()))

    owner = asyncio.create_task(own())
    while not children:  # noqa: ASYNC110  # one turn of the loop
        await asyncio.sleep(0)
    for task in (children[0], owner):
        task.cancel()
    await asyncio.wait([owner])
    assert owner.cancelled()
