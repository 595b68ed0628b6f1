"""Work that would hold up the event loop, done in a thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from greenlang_async_storage import Buffer

from ._flight import ended

T = TypeVar("T")

WORTH_A_THREAD: Final = 128 * 1024
"""Bytes from which hashing or parsing takes longer than a change of threads."""


async def in_thread(call: Callable[[], T]) -> T:
    """What *call* gives; a cancelled caller waits for its end, for it may use files about to be removed."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await ended(task)
        raise


async def sha256_of(data: Buffer) -> str:
    """The SHA-256 of *data* in hex."""
    if isinstance(data, memoryview) and not data.c_contiguous:
        data = data.tobytes()
    if memoryview(data).nbytes < WORTH_A_THREAD:
        return hashlib.sha256(data).hexdigest()
    return await in_thread(lambda: hashlib.sha256(data).hexdigest())


async def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file in hex; holds 256 KiB of it."""

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await in_thread(digest)
