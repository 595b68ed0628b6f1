"""What a soak does all the time: reads, writes, lists, transfers in parts, cancels, failures; all checked."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from greenlang_async_storage import (
    Bucket,
    S3NotFoundError,
    S3PreconditionFailedError,
    UploadItem,
)

MIB: Final = 1024 * 1024
PART: Final = 5 * MIB
LARGE_SIZE: Final = 2 * PART + 4321
KEYS: Final = 2_000
"""Few enough for a store whose own size stays the same; a multiple of 20."""
SMALLEST, SPREAD = 256, 16_000
LARGE_AT_ONCE: Final = 2
LONGEST_WAIT: Final = 0.02
"""Seconds until a call is cancelled, at most."""

WEIGHTS: Final[dict[str, int]] = {
    "get": 300,
    "put": 250,
    "head": 100,
    "missing": 50,
    "refused": 30,
    "cancelled": 100,
    "abandoned": 40,
    "list": 40,
    "batch": 8,
    "multipart": 3,
    "file": 6,
}
"""How often each kind of call is made, in proportion."""


class WrongContentError(Exception):
    """A read gave other bytes than were written."""


class Load:
    """
    Callers on one bucket, each doing one thing after the other, drawn from *seed*.

    Whatever is read is compared with what every writer of that key writes. Memory stays the same: nothing is
    kept of a call but its count.
    """

    def __init__(self, lake: Bucket, folder: Path, *, callers: int, keys: int = KEYS, seed: int = 0) -> None:
        self._lake, self._folder, self._callers, self._keys = lake, folder, callers, keys
        self._draw = random.Random(seed)
        self._noise = random.Random(7).randbytes(LARGE_SIZE + keys)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self.done: Counter[str] = Counter()
        self.stopping = False

    async def prepare(self) -> None:
        """Every key there once, and the large object that is downloaded."""
        items = [UploadItem(self.key(number), self.content(number)) for number in range(self._keys)]
        (await self._lake.upload_many(items, concurrency=16)).raise_for_errors()
        await self._lake.upload_bytes("large", self._noise[:LARGE_SIZE])

    async def run(self) -> None:
        """Every caller until `stopping`; raises what was not expected."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._caller(number), name=f"soak-{number}")

    async def _caller(self, number: int) -> None:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not self.stopping:
            [kind] = self._draw.choices(kinds, weights)
            await self._do(kind, number)
            self.done[kind] += 1

    def _do(self, kind: str, caller: int) -> Awaitable[None]:
        calls: dict[str, Callable[[], Awaitable[None]]] = {
            "get": self._get,
            "put": self._put,
            "head": self._head,
            "missing": self._missing,
            "refused": self._refused,
            "cancelled": lambda: self._cancelled(caller),
            "abandoned": self._abandoned,
            "list": self._list,
            "batch": self._batch,
            "multipart": lambda: self._multipart(caller),
            "file": lambda: self._file(caller),
        }
        return calls[kind]()

    @staticmethod
    def key(number: int) -> str:
        """Spread over twenty prefixes."""
        return f"{number % 20:02}/{number:05}"

    def content(self, number: int) -> bytes:
        """What is always written under that key."""
        return self._noise[number : number + SMALLEST + number * 7919 % SPREAD]

    def _number(self) -> int:
        return self._draw.randrange(self._keys)

    def _require(self, same: bool, key: str) -> None:  # noqa: FBT001  # a condition
        if not same:
            raise WrongContentError(key)

    async def _get(self) -> None:
        number = self._number()
        data = await self._lake.download_bytes(self.key(number))
        self._require(data == self.content(number), self.key(number))

    async def _put(self) -> None:
        number = self._number()
        await self._lake.upload_bytes(self.key(number), self.content(number))

    async def _head(self) -> None:
        number = self._number()
        info = await self._lake.head(self.key(number))
        self._require(info.size == len(self.content(number)), info.key)

    async def _missing(self) -> None:
        try:
            await self._lake.download_bytes("nothing/here")
        except S3NotFoundError:
            return
        raise WrongContentError("nothing/here")

    async def _refused(self) -> None:
        number = self._number()
        try:
            await self._lake.upload_bytes(self.key(number), b"other", if_none_match=True)
        except S3PreconditionFailedError:
            return
        raise WrongContentError(self.key(number))

    async def _abandoned(self) -> None:
        """The beginning of a large object."""
        async with self._lake.open_download("large") as body:
            async for piece in body:
                self._require(bytes(piece) == self._noise[: len(piece)], "large")
                break

    async def _list(self) -> None:
        prefix = f"{self._draw.randrange(20):02}/"
        found = [entry.key async for entry in self._lake.list_objects(prefix)]
        self._require(len(found) == self._keys // 20, prefix)

    async def _batch(self) -> None:
        numbers = [self._number() for _ in range(10)]
        items = [UploadItem(self.key(number), self.content(number)) for number in numbers]
        (await self._lake.upload_many(items, concurrency=4)).raise_for_errors()

    async def _multipart(self, caller: int) -> None:
        async with self._large:
            await self._lake.upload_stream(f"parts/{caller}", self._pieces(), part_size=PART, concurrency=2)

    async def _pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, LARGE_SIZE, MIB):
            yield self._noise[start : min(start + MIB, LARGE_SIZE)]

    async def _file(self, caller: int) -> None:
        path = self._folder / f"file-{caller}"
        async with self._large:
            await self._lake.download_file("large", path, part_size=MIB, concurrency=3, durable=False)
            self._require(path.stat().st_size == LARGE_SIZE, "large")

    async def _cancelled(self, caller: int) -> None:
        """Any other call, ended wherever it is."""
        kinds = [kind for kind in WEIGHTS if kind != "cancelled"]
        task = asyncio.ensure_future(self._do(self._draw.choice(kinds), caller))
        await asyncio.wait([task], timeout=self._draw.uniform(0, LONGEST_WAIT))
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
