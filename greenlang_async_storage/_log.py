"""Structured events on the stdlib logger `greenlang_async_storage`: silent until an application listens."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

LOGGER_NAME = "greenlang_async_storage"
_stdlib = logging.getLogger(LOGGER_NAME)
_stdlib.addHandler(logging.NullHandler())

_SECRET_NAME = re.compile(
    r"authori[sz]ation|signature|security.?token|session.?token|secret|password|policy|cookie|sse.?c",
    re.IGNORECASE,
)
_SECRET_QUERY = re.compile(
    r"(X-Amz-(?:Signature|Credential|Security-Token|Date|Expires|SignedHeaders|Algorithm)=)[^&\s\"']+",
    re.IGNORECASE,
)
# As headers, queries, JSON, XML and Python's own repr write them, in botocore's and aiohttp's messages too.
_SECRET_TEXT = re.compile(
    r"""
    (
      (?: x-amz-signature | \bsignature | (?:x-amz-)?security[-_]?token | (?:aws_)?session[-_]?token
        | secret[-_]?(?:access[-_]?)?key | client[-_]?secret | web[-_]?identity[-_]?token | access[-_]?token
        | refresh[-_]?token | id[-_]?token | password | \bpolicy
        | customer[-_]?key(?:[-_]?md5)? )
      (?: ["']? \s* [:=] \s* (?:b?["']|\(?SecretStr\()? | ["']?,\s*b?["'] | > )
    )
    [^\s"'&,;<>(){}\[\]]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_LINE = re.compile(
    r"((?:\bauthori[sz]ation|\b(?:set-)?cookie)[\"']?\s*(?:[:=]|,)\s*b?[\"']?)[^\"'\r\n]+", re.IGNORECASE
)
REDACTED = "[redacted]"


class SecretFilter(logging.Filter):
    """
    Masks credentials in what other libraries log: `handler.addFilter(SecretFilter())`.

    botocore's DEBUG messages hold session tokens, signatures, customer keys and what STS answered. Those,
    Authorization, cookies and POST policies become `[redacted]`, in tracebacks too. Add it to handlers: a
    filter of a logger does not see what its children log. This package's own events never hold such values.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: *record* stays, without its secrets."""
        record.msg, record.args = masked(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = masked(record.exc_text)
        if record.stack_info:
            record.stack_info = masked(record.stack_info)
        return True


def masked(text: str) -> str:
    """*text* without what `SecretFilter` hides."""
    return _SECRET_TEXT.sub(rf"\1{REDACTED}", _SECRET_LINE.sub(rf"\1{REDACTED}", text))


def redact(event: Mapping[str, object]) -> dict[str, object]:
    """The same facts with credentials, signatures and signed queries masked."""
    return {
        name: REDACTED if _names_a_secret(name) else _without_signature(value)
        for name, value in event.items()
    }


@lru_cache(maxsize=256)  # the package has some fifty names of facts
def _names_a_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _without_signature(value: object) -> object:
    return _SECRET_QUERY.sub(rf"\1{REDACTED}", value) if isinstance(value, str) and "=" in value else value


def _redact(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    return redact(event)


def _render(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> tuple[tuple[str], dict[str, object]]:
    """Readable text for plain handlers, the facts themselves under `record.storage` for structured ones."""
    facts = dict(event)
    exc_info = facts.pop("exc_info", None)
    name = str(facts.pop("event"))
    text = " ".join([name, *(f"{key}={value!r}" for key, value in facts.items())])
    extra = {"storage": {"event": name, **facts}}
    return (text,), {"exc_info": exc_info, "extra": extra}


# Imported with the package, though it is a tenth of that: the first event may come from a running loop.
_bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    _stdlib, processors=[_redact, _render], wrapper_class=structlog.stdlib.BoundLogger
)


def _heard(level: int) -> bool:
    """
    Whether somebody gets events of *level*: it is enabled, and a handler waits, here or further up.

    `Logger.hasHandlers` would count the `NullHandler` that keeps this logger silent.
    """
    if not _stdlib.isEnabledFor(level):
        return False
    logger: logging.Logger | None = _stdlib
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


class Log:
    """Events named `storage.<noun>_<past verb>`; whether anyone hears is asked before anything is built."""

    __slots__ = ()

    @property
    def debug_enabled(self) -> bool:
        """Whether per-request events are wanted; ask before computing facts for them."""
        return _heard(logging.DEBUG)

    def debug(self, event: str, **facts: object) -> None:
        """One event per request."""
        if _heard(logging.DEBUG):
            _bound.debug(event, **facts)

    def info(self, event: str, **facts: object) -> None:
        """Rare facts, such as a session opened."""
        if _heard(logging.INFO):
            _bound.info(event, **facts)

    def warning(self, event: str, **facts: object) -> None:
        """Something was retried, aborted or cleaned up with a failure."""
        if _heard(logging.WARNING):
            _bound.warning(event, **facts)


log = Log()
