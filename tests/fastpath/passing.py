"""How tests see that a call was passed on, and that nothing differs for its caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._conditions import Reason
from tests.fastpath.recorders import Twins, outcome

HEAD = {"Bucket": "bucket", "Key": "key"}
HTTP: dict[str, Any] = {"endpoint_url": "http://localhost:9000"}


async def passed_on(pair: Twins, operation: str, parameters: Mapping[str, Any]) -> set[str]:
    """The reasons counted for one call, which must have had the plain client's outcome and requests."""
    before = fastpath.statistics()
    pair.expect()
    plain = await outcome(pair.plain, operation, parameters)
    fast = await outcome(pair.fast, operation, parameters)
    assert fast == plain
    assert pair.fast_session.sent == pair.plain_session.sent
    after = fastpath.statistics()
    return {reason for reason, count in after.passed_on.items() if count > before.passed_on.get(reason, 0)}


async def is_compiled(pair: Twins) -> bool:
    """Whether a plain HEAD takes the fast path."""
    before = fastpath.statistics().compiled
    assert await passed_on(pair, "HeadObject", HEAD) <= set(Reason)
    return fastpath.statistics().compiled == before + 1
