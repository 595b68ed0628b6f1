"""What this folder claims about itself."""

import asyncio

import pytest
import uvloop

pytestmark = pytest.mark.asyncio


async def test_the_loop_is_uvloop() -> None:
    """The tests beside this one run on uvloop."""
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
