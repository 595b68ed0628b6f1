"""Warnings on the stdlib logger of the package, in its form: readable text, and facts in `record.storage`."""

from __future__ import annotations

import logging

_LOGGER = logging.getLogger("greenlang_async_storage")


def warn(event: str, **facts: object) -> None:
    """A warning, when somebody listens; *facts* hold no secrets."""
    if _LOGGER.isEnabledFor(logging.WARNING):
        text = " ".join([event, *(f"{name}={value!r}" for name, value in facts.items())])
        _LOGGER.warning(text, extra={"storage": {"event": event, **facts}})
