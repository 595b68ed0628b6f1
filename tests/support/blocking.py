"""Fails a test in which the package blocks the event loop, even when something swallows the error."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import blockbuster.blockbuster
from blockbuster import BlockBuster, BlockBusterFunction

PACKAGE = "greenlang_async_storage"
# Its servers are started and stopped by blocking calls, and say so.
_NOT_WATCHED = ("greenlang_async_storage.testing",)
_ALSO_WATCHED = (
    "builtins.open",
    "io.open",
    "os.fdatasync",
    "os.fsync",
    "os.ftruncate",
    "os.open",
    "os.pread",
    "os.preadv",
    "os.pwrite",
    "os.pwritev",
    "os.scandir",
)
_IMPORTING = [("<frozen importlib._bootstrap>", {"_find_and_load"})]


def _caller() -> str:
    """The innermost line of the package on the stack."""
    frames = traceback.extract_stack()
    lines = [
        f"{frame.filename}:{frame.lineno} ({frame.line})" for frame in frames if PACKAGE in frame.filename
    ]
    return lines[-1] if lines else "a line outside the package"


class BlockingCalls:
    """Finds file, socket, lock and sleep calls made by the package on a thread whose event loop runs."""

    def __init__(self) -> None:
        self._detector = BlockBuster([PACKAGE], excluded_modules=list(_NOT_WATCHED))
        # What a log handler does with an event is the application's choice, here pytest's.
        for name, function in self._detector.functions.items():
            if name.startswith("io."):
                function.can_block_in("logging/__init__.py", {"handle"})
        for name in _ALSO_WATCHED:
            self._detector.functions.setdefault(
                name,
                BlockBusterFunction(
                    None,
                    name,
                    scanned_modules=[PACKAGE],
                    excluded_modules=list(_NOT_WATCHED),
                    can_block_functions=list(_IMPORTING),
                ),
            )

    @contextmanager
    def refused(self) -> Iterator[list[str]]:
        """Raise in whoever blocks; the list says what and where, for when the error was swallowed."""
        found: list[str] = []

        class RecordedError(blockbuster.BlockingError):
            def __init__(self, call: str) -> None:
                super().__init__(call)
                found.append(f"{call} by {_caller()}")

        original = blockbuster.blockbuster.BlockingError
        blockbuster.blockbuster.BlockingError = RecordedError  # type: ignore[misc,assignment]
        self._detector.activate()
        try:
            yield found
        finally:
            self._detector.deactivate()
            blockbuster.blockbuster.BlockingError = original  # type: ignore[misc]
