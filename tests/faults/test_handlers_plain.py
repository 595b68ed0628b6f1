"""What aiohttp does by itself below the plain path, over sockets: nothing that the SDK does not know of."""

from __future__ import annotations

from typing import Any

import pytest

from greenlang_async_storage import S3ConnectionError
from greenlang_async_storage.testing import Fault
from tests.support.faults import laboratory

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("phase", ["withheld", "reply_head"])
@pytest.mark.parametrize("action", ["reset", "close"])
async def test_f03_the_echo_of_a_conditional_write(phase: Any, action: Any) -> None:
    """A create-only PUT whose reply was lost has succeeded: the 412 of the second try is our own echo."""
    async with laboratory("served", fast_path=False) as lab:
        lab.plan(Fault("PutObject", 1, phase, action))
        result = await lab.lake.upload_bytes("key", b"data", if_none_match=True)
        assert (result.size, lab.check.content("key")) == (4, b"data")


@pytest.mark.parametrize("fast_path", [True, False])
async def test_f10_every_try_is_counted(fast_path: bool) -> None:
    """As many requests on the wire as attempts that are told: no second layer tries again."""
    async with laboratory("served", fast_path=fast_path) as lab:
        lab.plan(Fault("PutObject", 0, "unforwarded", "reset"))
        with pytest.raises(S3ConnectionError) as caught:
            await lab.lake.upload_bytes("key", b"data")
        assert caught.value.attempts == lab.count("PutObject") == lab.session.statistics().attempts == 3
