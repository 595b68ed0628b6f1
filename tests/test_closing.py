"""What closing waits for, what it lets finish, and where it refuses: its races with everything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from greenlang_async_storage import S3SessionClosedError, S3WrongLoopError, StorageSession, StorageSettings
from greenlang_async_storage._connection import Connection
from tests.support.scripted import Script, scripted_connection


class Stream:
    """A body of no bytes."""

    async def read(self, _size: int) -> bytes:
        """The end."""
        return b""

    def close(self) -> None:
        """Nothing to close."""


def unreachable() -> StorageSettings:
    """A store nobody needs to reach."""
    return StorageSettings(
        endpoint_url="http://127.0.0.1:1",
        access_key_id="a",
        secret_access_key="x",  # no secret
        region="us-east-1",
    )


def opened() -> Any:
    """A reply whose body has nothing in it."""
    return {"Body": Stream(), "ContentLength": 0}


@pytest.mark.asyncio
async def test_closing_waits_for_a_body_that_is_being_opened() -> None:
    """The session is not closed under a download whose first reply is still on its way."""
    conn = scripted_connection()
    go, asked = asyncio.Event(), asyncio.Event()

    async def send(_client: object) -> Any:
        asked.set()
        await go.wait()
        return opened()

    async def download() -> str:
        async with conn.open_body(send, bucket="b", key="k"):
            return "opened"

    task = asyncio.create_task(download())
    await asked.wait()
    closing = asyncio.create_task(conn.aclose(10))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not closing.done()
    go.set()
    assert await task == "opened"
    await closing
    assert conn.statistics().in_flight == 0


@pytest.mark.asyncio
async def test_closing_ends_a_body_that_never_opens() -> None:
    """Past the patience the download is told so, and its slot is back."""
    conn = scripted_connection()
    asked = asyncio.Event()

    async def send(_client: object) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async def download() -> None:
        async with conn.open_body(send, bucket="b", key="k"):
            pass

    task = asyncio.create_task(download())
    await asked.wait()
    await conn.aclose(0)
    with pytest.raises(S3SessionClosedError) as caught:
        await task
    assert caught.value.outcome == "not_applied"
    assert conn.statistics().in_flight == 0


@pytest.mark.asyncio
async def test_a_body_may_be_opened_again_while_closing_waits() -> None:
    """A download in flight resumes on a new connection; a new call is refused at the same moment."""
    conn = scripted_connection()
    hold = asyncio.Event()

    async def transfer() -> None:
        with conn.within(None, "GetObject", "b", "k"):
            await hold.wait()
            async with conn.open_body(_send_opened, bucket="b", key="k"):
                pass

    task = asyncio.create_task(transfer())
    await asyncio.sleep(0)
    closing = asyncio.create_task(conn.aclose(10))
    await asyncio.sleep(0)
    with pytest.raises(S3SessionClosedError), conn.within(None, "GetObject", "b", "k"):
        pass
    hold.set()
    await asyncio.gather(task, closing)


async def _send_opened(_client: object) -> Any:
    return opened()


async def _hanging_upload(conn: Connection, started: asyncio.Event, abort: Script) -> None:
    """A call that has something to abort when it is ended."""

    async def clean() -> None:
        await asyncio.sleep(0)
        await conn.call("AbortMultipartUpload", abort, bucket="b", key="k")

    with conn.within(None, "PutObject", "b", "k"):
        try:
            started.set()
            await asyncio.Event().wait()
        except BaseException:
            await conn.clean_up("AbortMultipartUpload", clean)
            raise


@pytest.mark.asyncio
@pytest.mark.parametrize("cancels", [0, 1, 2])
async def test_a_cancelled_closing_still_lets_clean_ups_send(cancels: int) -> None:
    """However often `aclose` is cancelled, what it ends is aborted in the store before it returns."""
    conn, started, abort = scripted_connection(), asyncio.Event(), Script("aborted")
    upload = asyncio.create_task(_hanging_upload(conn, started, abort))
    await started.wait()
    closing = asyncio.create_task(conn.aclose(30 if cancels else 0))
    for _ in range(cancels):
        await asyncio.sleep(0)
        closing.cancel()
    results = await asyncio.gather(upload, closing, return_exceptions=True)
    assert abort.sent == 1
    assert isinstance(results[0], S3SessionClosedError)
    assert isinstance(results[1], asyncio.CancelledError) is bool(cancels)
    with pytest.raises(S3SessionClosedError):
        await conn.call("HeadObject", Script(), bucket="b")


@pytest.mark.asyncio
async def test_closing_from_inside_a_call_ends() -> None:
    """A producer that closes its own session gets its call ended, and nothing waits for ever."""
    conn = scripted_connection(cleanup_timeout=0.05)

    async def call() -> None:
        with conn.within(None, "PutObject", "b", "k"):
            await conn.aclose(0)
            await asyncio.Event().wait()

    with pytest.raises(S3SessionClosedError):
        await call()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_session_closed_while_it_opens_does_not_open() -> None:
    """`aclose` wins over an opening under way, whose connections are closed again."""
    session = StorageSession(unreachable())
    opening = asyncio.create_task(session.__aenter__())
    await asyncio.sleep(0)
    await session.aclose()
    with pytest.raises(S3SessionClosedError, match="while it was opening"):
        await opening
    with pytest.raises(S3SessionClosedError):
        session.bucket("some-bucket")


@pytest.mark.asyncio
async def test_a_cancelled_closing_closes_the_connections() -> None:
    """A session whose `aclose` is cancelled is closed all the same; closing again does nothing."""
    session = StorageSession(unreachable())
    await session.__aenter__()
    closing = asyncio.create_task(session.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await session.aclose()
    assert repr(session).startswith("StorageSession(closed")


def test_closing_in_another_loop_is_refused() -> None:
    """A session is closed where it was opened: anything else would cancel tasks across threads."""
    session = StorageSession(unreachable())

    async def close_elsewhere() -> None:
        with pytest.raises(S3WrongLoopError, match="another event loop"):
            await session.aclose()

    async def use() -> None:
        async with session:
            await asyncio.to_thread(asyncio.run, close_elsewhere())
            assert session.bucket("some-bucket").name == "some-bucket"

    asyncio.run(use())
