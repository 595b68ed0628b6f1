"""The headers that say who is calling: kept until what they are made of changes."""

from __future__ import annotations

import os
import random
from typing import Any
from urllib.parse import quote

from botocore.context import ClientContext, get_context, reset_context, set_context
from botocore.useragent import register_feature_id

_MAX_AGENTS = 64
_NOT_VERSION = ~((0xF << 76) | (0x3 << 62))
_VERSION_4 = (0x4 << 76) | (0x2 << 62)
# No secret, so no system call for each; a forked child must not repeat its parent.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)
_NO_FEATURES: frozenset[str] = frozenset()
_TRACE_SAFE = "-=;:+&[]{}\"',"


class UserAgent:
    """A client's user agent by the features in use; built by botocore, once per set of them."""

    __slots__ = ("_agents",)

    def __init__(self) -> None:
        self._agents: dict[tuple[frozenset[str], frozenset[str], object], str] = {}

    def header(self, creator: Any, config: Any, features: frozenset[str]) -> str:
        """The header's value for a call that uses *features* within the features of the current context."""
        context = get_context()
        outer = frozenset(context.features) if context is not None and context.features else _NO_FEATURES
        key = (outer, features, config.user_agent_extra)
        found = self._agents.get(key)
        if found is None:
            found = self._build(creator, outer, features)
            if len(self._agents) >= _MAX_AGENTS:
                self._agents.clear()
            self._agents[key] = found
        return found

    @staticmethod
    def _build(creator: Any, outer: frozenset[str], features: frozenset[str]) -> str:
        token = set_context(ClientContext(features=set(outer)))
        try:
            for name in features:
                register_feature_id(name)
            agent: str = creator.to_string()
            return agent
        finally:
            reset_context(token)


def trace_id() -> str | None:
    """The value of `X-Amzn-Trace-Id` inside a Lambda function that is traced."""
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
        return None
    trace = os.environ.get("_X_AMZN_TRACE_ID")
    return quote(trace, safe=_TRACE_SAFE) if trace else None


def invocation_id() -> str:
    """A random UUID, version 4 (RFC 9562)."""
    bits = _random.getrandbits(128) & _NOT_VERSION | _VERSION_4
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
