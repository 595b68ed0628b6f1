"""What a failure means to a shell: one line with the remedy, and an exit code that scripts can rely on."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PreconditionFailedError,
    S3SourceChangedError,
    S3ThrottlingError,
    S3TimeoutError,
    StorageSettingsError,
)


class ExitCode(IntEnum):
    """Documented in docs/cli.md and `--help`; never renumbered."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    ACCESS = 4
    CONFLICT = 5
    INTEGRITY = 6
    UNREACHABLE = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


_BY_TYPE: Final[tuple[tuple[type[S3Error], ExitCode], ...]] = (
    (S3NotFoundError, ExitCode.NOT_FOUND),
    (S3AccessDeniedError, ExitCode.ACCESS),
    (S3CredentialsError, ExitCode.ACCESS),
    (S3PreconditionFailedError, ExitCode.CONFLICT),
    (S3ObjectChangedError, ExitCode.CONFLICT),
    (S3SourceChangedError, ExitCode.CONFLICT),
    (S3IntegrityError, ExitCode.INTEGRITY),
    (S3TimeoutError, ExitCode.UNREACHABLE),
    (S3ConnectionError, ExitCode.UNREACHABLE),
    (S3ThrottlingError, ExitCode.UNREACHABLE),
)


class CommandError(Exception):
    """A command cannot go on; the text says why and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CommandError):
    """The command was given what it cannot work with; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that stands for *error*."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, StorageSettingsError):
        return ExitCode.USAGE
    if isinstance(error, S3LocalFileError | OSError):
        return ExitCode.NOT_FOUND if error.errno == errno.ENOENT else ExitCode.FAILURE
    if isinstance(error, S3InvalidRequestError) and error.status is None:
        return ExitCode.USAGE
    return next((code for kind, code in _BY_TYPE if isinstance(error, kind)), ExitCode.FAILURE)


def common_code(codes: Iterable[ExitCode]) -> ExitCode:
    """The code of many failures: their own where they agree, else 1; 0 without any."""
    found = set(codes)
    if not found:
        return ExitCode.OK
    return found.pop() if len(found) == 1 else ExitCode.FAILURE


def text_of(error: BaseException) -> str:
    """*error* for a person, on one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    if isinstance(error, CommandError | S3Error | ValueError):
        return " ".join(str(error).split("\n"))
    return (
        f"unexpected {type(error).__name__}: {str(error).strip() or 'no details'}. "
        "This is a fault of the program: run it with --debug for the traceback, and report it."
    )


def facts_of(error: BaseException) -> dict[str, object]:
    """*error* for a machine."""
    facts: dict[str, object] = {
        "type": type(error).__name__,
        "message": text_of(error),
        "exit_code": int(exit_code(error)),
    }
    if isinstance(error, S3Error):
        names = ("operation", "bucket", "key", "code", "status", "request_id", "retryable", "outcome")
        facts |= {name: getattr(error, name) for name in names}
    return facts
