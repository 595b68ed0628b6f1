"""A session serves one event loop at a time."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from greenlang_async_storage.fastpath.transport import HTTPSession
from tests.fastpath.transport.wire import Server, get, reply


async def once(session: HTTPSession) -> None:
    """One request to a server of its own."""
    async with Server() as server:
        server.answers(reply(b"hello"))
        assert await get(session, server) == (200, b"hello")


def test_a_session_outlives_its_loop() -> None:
    """When its loop was closed, the connections with it, a session serves the next loop."""
    session = HTTPSession(timeout=(5, 5))

    async def then() -> None:
        await once(session)
        await session.close()

    with warnings.catch_warnings():
        # asyncio's own, about the transport that went down with its loop.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(once(session))
        asyncio.run(then())
        gc.collect()


def test_a_session_is_closed_after_its_loop() -> None:
    """Closing a session whose loop is gone already drops its connections without an error."""
    session = HTTPSession(timeout=(5, 5))
    with warnings.catch_warnings():
        # asyncio's own, about the transport that went down with its loop.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(once(session))
        asyncio.run(session.close())
        gc.collect()
    assert session.statistics().idle == 0


def test_a_session_with_connections_refuses_another_loop() -> None:
    """A session whose connections live on a running loop says so on any other."""
    session = HTTPSession(timeout=(5, 5))
    loop = asyncio.new_event_loop()
    try:

        async def hold() -> None:
            async with Server() as scripted:
                scripted.answers(reply(b"hello"))
                await get(session, scripted)
                with pytest.raises(RuntimeError, match="one session per loop"):
                    await asyncio.to_thread(asyncio.run, once(session))
                await session.close()

        loop.run_until_complete(hold())
    finally:
        loop.close()
