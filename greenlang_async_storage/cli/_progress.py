"""How far a transfer is, on stderr: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from greenlang_async_storage import Progress, StorageSession

from ._format import count_text, size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from greenlang_async_storage.ingest import IngestProgress

LINE_INTERVAL: Final = 5.0
"""Seconds between plain lines; a short transfer prints none."""
POLL_INTERVAL: Final = 0.2


class Meter:
    """One transfer or many; entered while it runs. `hook` is an `on_progress`, `watch` follows a session."""

    def __init__(self, verb: str, total: int | None = None) -> None:
        self._verb = verb
        self._total = total
        self._done = 0
        self._items = 0
        self._items_total: int | None = None
        self._started = self._said = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if _is_terminal():
            self._bar = _bar()
            self._task = self._bar.add_task(_short(self._verb), total=self._total, text="")
            self._bar.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def hook(self, progress: Progress) -> None:
        """An `on_progress` of one transfer."""
        self._total = progress.total
        self._show(progress.done)

    def ingest_hook(self, progress: IngestProgress) -> None:
        """An `on_progress` of a plan."""
        self._items, self._items_total = progress.items_done, progress.items_total
        self._total = progress.bytes_total
        self._show(progress.bytes_done)

    def expect(self, items: int, size: int | None = None) -> None:
        """How much there will be, where that is known."""
        self._items_total, self._total = items, size

    def item_done(self) -> None:
        """One more item is finished."""
        self._items += 1

    @asynccontextmanager
    async def watch(
        self, session: StorageSession, moved: Callable[[StorageSession], int] | None = None
    ) -> AsyncIterator[None]:
        """Follow the bytes of *session* while the block runs, from where they stand now."""
        measure = moved or _moved
        start = measure(session)

        async def poll() -> None:
            while True:
                await asyncio.sleep(POLL_INTERVAL)
                self._show(measure(session) - start)

        poller = asyncio.create_task(poll(), name="storage-meter")
        try:
            yield
            self._show(measure(session) - start)
        finally:
            poller.cancel()
            await asyncio.wait([poller])

    def say(self, text: str) -> bool:
        """Print *text* above the bar; `False` where there is none."""
        if self._bar is None:
            return False
        from rich.text import Text

        self._bar.console.print(Text.from_ansi(text), soft_wrap=True)
        return True

    def _show(self, done: int) -> None:
        self._done = done
        if self._bar is not None and self._task is not None:
            text = self._text(time.monotonic())
            self._bar.update(self._task, completed=done, total=self._total, text=text)
            return
        now = time.monotonic()
        if now - self._said >= LINE_INTERVAL:
            self._said = now
            self._line(now)

    def _line(self, now: float) -> None:
        try:
            sys.stderr.write(f"{self._verb}: {self._text(now)}\n")
            sys.stderr.flush()
        except (OSError, AttributeError):
            return

    def _text(self, now: float) -> str:
        """Amount, share, rate and items."""
        rate = self._done / max(now - self._started, 1e-9)
        text = size_text(self._done)
        if self._total:
            text += f" of {size_text(self._total)} ({100 * min(1, self._done / self._total):.0f} %)"
        text += f", {size_text(rate)}/s"
        items = self._items_text()
        return f"{text}, {items}" if items else text

    def _items_text(self) -> str:
        if self._items_total is not None:
            return f"{self._items:,} of {count_text(self._items_total, 'object')}"
        return count_text(self._items, "object") if self._items else ""


class NoMeter(Meter):
    """The same, silent."""

    def __init__(self) -> None:
        super().__init__("")

    def __enter__(self) -> Self:
        return self

    def _show(self, done: int) -> None:
        self._done = done


def _moved(session: StorageSession) -> int:
    found = session.statistics()
    return found.bytes_sent + found.bytes_received


def _short(text: str, most: int = 30) -> str:
    """*text*, its middle left out where it would push the bar off the line."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _bar() -> Bar:
    # rich costs 0.1 s to import: only where a bar is seen.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )
