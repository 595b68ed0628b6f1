"""One library in this process: its requests, their faults, and its score as JSON on the last line."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from greenlang_async_storage.testing import Fault, FaultProxy, MemoryS3
from tests.faults._table import Request, faults_of, told
from tests.faults.peers._libraries import BUCKET, LIBRARIES, MIB, PART, Library
from tests.faults.peers._rules import LIMIT, Observed, Score, broken, counts

SLOTS: Final = 8
THREADS: Final = 512
CONFIRMING: Final = 4
"""Slots in which findings are looked at again."""
SETTLES: Final = 0.5
SMALL: Final = bytes(range(256)) * 4 + b"small"
LARGE: Final = hashlib.shake_128(b"large").digest(PART + MIB // 4)
OLD: Final = b"old" * 1000
LISTED: Final = [f"list/{number}" for number in range(5)]
DISTRIBUTIONS: Final = {"boto3 in threads": "boto3"}


@dataclass(frozen=True)
class Operation:
    """One call any library has."""

    call: Callable[[Library, Path], Awaitable[object]]
    before: Mapping[str, bytes]
    new: bytes | None
    """Under `key` afterwards."""
    gives: object = None
    source: bytes | None = None
    new_file: bytes | None = None
    """Where `OLD` was."""


def _file(folder: Path) -> Path:
    return folder / "file"


OPERATIONS: Final[Mapping[str, Operation]] = {
    "put": Operation(lambda it, _: it.put("key", SMALL), {"key": OLD}, SMALL),
    "put a file in parts": Operation(
        lambda it, folder: it.put_file("key", _file(folder)), {"key": OLD}, LARGE, source=LARGE
    ),
    "get": Operation(lambda it, _: it.get("key"), {"key": SMALL}, SMALL, gives=SMALL),
    "get to a file": Operation(
        lambda it, folder: it.get_file("key", _file(folder)), {"key": LARGE}, LARGE, new_file=LARGE
    ),
    "list": Operation(lambda it, _: it.list("list/"), dict.fromkeys(LISTED, SMALL), None, gives=LISTED),
    "copy": Operation(lambda it, _: it.copy("source", "key"), {"source": SMALL, "key": OLD}, SMALL),
    "delete": Operation(lambda it, _: it.delete("key"), {"key": OLD}, None),
}


class Slot:
    """One store behind one proxy, and one client of it."""

    def __init__(self, make: Callable[[], Library], folder: Path) -> None:
        self._make = make
        self._folder = folder
        self.store = MemoryS3()
        self.store.create_bucket(BUCKET)
        self.proxy = FaultProxy(self.store)
        self.library = make()

    async def open(self) -> None:
        await self.proxy.__aenter__()
        await self.library.open(self.proxy.url)

    async def close(self) -> None:
        await self.library.close()
        await self.proxy.__aexit__(None, None, None)

    async def renew(self) -> None:
        """A new client, in place of one that hangs."""
        self.library = self._make()
        await self.library.open(self.proxy.url)

    def reset(self, operation: Operation) -> None:
        """The store and the folder as they are before *operation*."""
        self.store._store.buckets.clear()
        self.store.create_bucket(BUCKET)
        for key, data in operation.before.items():
            crc = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
            self.store.put(BUCKET, key, data, x_amz_checksum_crc32=crc)
        for left in self._folder.iterdir():
            left.unlink()
        if operation.source is not None:
            _file(self._folder).write_bytes(operation.source)
        elif operation.new_file is not None:
            _file(self._folder).write_bytes(OLD)

    async def requests(self, operation: Operation) -> list[Request]:
        """What a clean run sends."""
        self.reset(operation)
        sizes: dict[tuple[str, str, str | None], int] = {}
        handle = self.store.handle

        def handled(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Any:
            reply = handle(method, target, headers, body)
            sizes[method, target, headers.get("range")] = len(reply.body)
            return reply

        self.store.handle = handled  # type: ignore[method-assign]
        self.proxy.faults.requests.clear()
        self.proxy.faults.plan()
        seen = await self.observe(operation)
        del self.store.handle
        if list(broken(seen, Fault("*", 0, "idle", "close"), ())) or seen.error is not None:
            raise AssertionError(f"it fails without a fault: {seen.error!r}, {seen.result_right}")
        return [
            Request(
                one.operation,
                one.nth,
                one.size,
                sizes.get((one.method, one.target, one.headers.get("range")), 0),
            )
            for one in self.proxy.faults.requests
        ]

    async def observe(self, operation: Operation) -> Observed:
        """Call, and look."""
        task = asyncio.ensure_future(_awaited(operation.call(self.library, self._folder)))
        done, _ = await asyncio.wait({task}, timeout=LIMIT)
        error = result = None
        if done:
            error = task.exception()
            result = None if error is not None else task.result()
        self.proxy.faults.plan()
        uploads = await self._settled_uploads()
        path = _file(self._folder)
        seen = Observed(
            ended=bool(done),
            error=error,
            result_right=operation.gives is None or result == operation.gives,
            stored=self.store.get(BUCKET, "key"),
            old=operation.before.get("key"),
            new=operation.new,
            file=path.read_bytes() if path.exists() else None,
            old_file=OLD if operation.new_file is not None else operation.source,
            new_file=operation.new_file if operation.new_file is not None else operation.source,
            uploads=uploads,
            creates=self.proxy.faults.count("CreateMultipartUpload"),
        )
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
            await self.renew()
        return seen

    async def _settled_uploads(self) -> int:
        """Uploads that are still open when whoever cleans up had time to."""
        until = asyncio.get_running_loop().time() + SETTLES
        while self.store.open_uploads(BUCKET) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.02)
        return len(self.store.open_uploads(BUCKET))


async def _awaited(work: Awaitable[object]) -> object:
    return await work


async def score(name: str, step: int, folder: Path) -> Score:
    """Every *step*-th case of one library."""
    make = LIBRARIES[name]
    slots = []
    for number in range(SLOTS):
        own = folder / str(number)
        own.mkdir()
        slots.append(Slot(make, own))
        await slots[-1].open()
    cases = [
        (what, fault)
        for what, operation in OPERATIONS.items()
        for request in await slots[0].requests(operation)
        for fault in faults_of(request, wire=True)
        if counts(fault)
    ]
    made = Score(name, version(DISTRIBUTIONS.get(name, name.partition(",")[0])))
    suspicious: list[Found] = []
    await _all(slots, cases[::step], made.add, suspicious)
    # On a busy machine a time-out may come too early: what a case has broken counts when it breaks it again.
    confirmed: list[Found] = []
    await _all(slots[:CONFIRMING], [one.case for one in suspicious], made.add, confirmed)
    for one in confirmed:
        made.add(one.name, one.seen, one.kinds)
    return made


@dataclass(frozen=True)
class Found:
    """A case that broke something."""

    case: tuple[str, Fault]
    seen: Observed
    kinds: list[str]

    @property
    def name(self) -> str:
        return f"{self.case[0]}: {told(self.case[1])}"


async def _all(
    slots: list[Slot],
    cases: list[tuple[str, Fault]],
    passed: Callable[[str, Observed, list[str]], None],
    suspicious: list[Found],
) -> None:
    """Run *cases* in *slots*: those that hold are counted, the others kept."""
    left = iter(cases)

    async def work(slot: Slot) -> None:
        errors = slot.library.errors()
        for what, fault in left:
            slot.reset(OPERATIONS[what])
            slot.proxy.faults.requests.clear()
            slot.proxy.faults.plan(fault)
            seen = await slot.observe(OPERATIONS[what])
            found = Found((what, fault), seen, list(broken(seen, fault, errors)))
            if found.kinds:
                suspicious.append(found)
            else:
                passed(found.name, seen, [])

    await asyncio.gather(*(work(slot) for slot in slots))


def main() -> None:
    """Score one library."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=list(LIBRARIES))
    parser.add_argument("--step", type=int, default=1)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        made = asyncio.run(_scored(given.library, given.step, Path(folder)))
        sys.stdout.write("\n" + json.dumps(asdict(made)) + "\n")
        sys.stdout.flush()
    # Threads of calls that hang would be waited for.
    os._exit(0)


async def _scored(name: str, step: int, folder: Path) -> Score:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    # A thread whose call hangs is lost: the next call must not wait for it.
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    return await score(name, step, folder)


if __name__ == "__main__":
    main()
