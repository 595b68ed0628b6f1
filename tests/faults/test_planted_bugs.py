"""Protections taken away one by one: the row that guards each of them notices, every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults._planted import HOLDS_WITHIN, PLANTED, Planted, notices, run
from tests.support.faults import Door

pytestmark = pytest.mark.asyncio


def door_of(planted: Planted) -> Door:
    """In memory, unless what is taken away is only there on sockets."""
    return "served" if planted.fast_only else "direct"


@pytest.mark.parametrize("name", PLANTED)
async def test_the_row_holds(tmp_path: Path, name: str) -> None:
    """With the protection in place the row passes: it does not fail for another reason."""
    await run(PLANTED[name], tmp_path, door_of(PLANTED[name]), HOLDS_WITHIN)


@pytest.mark.allow_blocking("without its protection a listing never lets the loop go")
@pytest.mark.parametrize("name", PLANTED)
async def test_the_row_notices(tmp_path: Path, name: str) -> None:
    """Without the protection the row fails, or hangs."""
    assert await notices(PLANTED[name], tmp_path, door_of(PLANTED[name]))
