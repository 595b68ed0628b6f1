"""Events: built only for somebody who hears them."""

from __future__ import annotations

import logging
from unittest.mock import Mock

import pytest

from greenlang_async_storage import _log


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """What builds events, replaced: its calls are the events built."""
    bound = Mock()
    monkeypatch.setattr(_log, "_bound", bound)
    return bound


def alone(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """
    The package's logger, with no handler but the one that keeps it silent, and nobody above it.

    Not a fixture: pytest adds its own handlers after those.
    """
    logger = logging.getLogger(_log.LOGGER_NAME)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(logger, "propagate", False)
    return logger


def test_without_a_handler_nothing_is_built(built: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry in an application that does not log costs no rendering and no masking."""
    alone(monkeypatch)
    _log.log.warning("storage.request_retried", attempt=1)
    assert not built.mock_calls


@pytest.mark.parametrize("own", [True, False], ids=["its own handler", "the root's handler"])
def test_a_handler_anywhere_is_served(built: Mock, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    """Handlers of the package's logger and of the loggers above it count."""
    logger = alone(monkeypatch)
    logger.propagate = not own
    where = logger if own else logging.getLogger()
    monkeypatch.setattr(where, "handlers", [*where.handlers, logging.StreamHandler()])
    _log.log.warning("storage.request_retried", attempt=1)
    _log.log.debug("storage.request_completed", attempt=1)
    built.warning.assert_called_once_with("storage.request_retried", attempt=1)
    assert not built.debug.mock_calls, "the level decides as before"


def test_facts_named_like_secrets_and_signed_queries_are_masked() -> None:
    """A value is searched where it can hold a query; a name is looked at once."""
    event = {"session_token": "t", "url": "https://s/?X-Amz-Signature=abc&x=1", "key": "plain", "attempt": 2}
    for _ in range(2):
        assert _log.redact(event) == {
            "session_token": _log.REDACTED,
            "url": f"https://s/?X-Amz-Signature={_log.REDACTED}&x=1",
            "key": "plain",
            "attempt": 2,
        }
