"""What a test must not leave behind: tasks, sockets, files in the temporary folder."""

from __future__ import annotations

import asyncio
import gc
import shutil
from pathlib import Path

_FD_FOLDER = Path("/proc/self/fd")
_TURNS = 20


def open_sockets() -> set[tuple[int, str]]:
    """Descriptor and inode of every open socket of this process; empty where the system does not tell."""
    if not _FD_FOLDER.is_dir():
        return set()
    found = set()
    for entry in _FD_FOLDER.iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add((int(entry.name), target))
    return found


def new_sockets(before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Sockets opened since *before* and still open; what only waits for the collector does not count."""
    if open_sockets() <= before:
        return set()
    gc.collect()
    return open_sockets() - before


def cleared(folder: Path) -> list[str]:
    """Names of what was in *folder*, which is empty afterwards: only the test that left it fails."""
    found = sorted(folder.iterdir())
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in found]


async def tasks_left(before: set[asyncio.Task[object]]) -> list[str]:
    """Tasks that are neither in *before* nor done after the loop had a few turns, as text."""
    for _ in range(_TURNS):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0)
    return sorted(repr(task) for task in asyncio.all_tasks() - before - {asyncio.current_task()})
