"""A store in a process of its own, behind a proxy that breaks requests at random."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from greenlang_async_storage import StorageSettings
from greenlang_async_storage.testing import Fault, FaultPlan, FaultProxy, MemoryS3

BUCKET: Final = "lake"
REPLY_SECONDS: Final = 60.0
LINE_BYTES: Final = 16 * 1024 * 1024
"""The longest answer is the list of what is stored."""

BUSY: Final = (
    Fault("*", 0, "unforwarded", "replace", status=503, code="SlowDown"),
    Fault("*", 0, "unforwarded", "replace", status=503, code="ServiceUnavailable"),
)
RESETS: Final = (
    Fault("*", 0, "connect", "reset"),
    Fault("*", 0, "unforwarded", "reset"),
    Fault("*", 0, "withheld", "reset"),
    Fault("*", 0, "reply_body", "reset"),
)
DENIED: Final = Fault("*", 0, "unforwarded", "replace", status=403, code="AccessDenied")
KINDS: Final[Mapping[str, Sequence[Fault]]] = {"mixed": BUSY + RESETS, "busy": BUSY, "resets": RESETS[:1]}
"""`mixed`: a third are refusals, the rest broken connections, before the store acted and after."""


class RandomFaults(FaultPlan):
    """
    Breaks a *share* of all requests, drawn from *seed* as they arrive, and counts instead of keeping a log.

    Keys that end in one of *denied* are refused for good.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.broken = 0
        self.aim(0.0, 0, "mixed", ())

    def aim(self, share: float, seed: int, kind: str, denied: Sequence[str]) -> None:
        """What happens from now on."""
        self._share, self._draw, self._faults = share, random.Random(seed), KINDS[kind]
        self._denied = tuple(denied)

    def begin(self, method: str, target: str, headers: Mapping[str, str]) -> Any:
        """A request whose head arrived."""
        exchange = super().begin(method, target, headers)
        request = self.requests.pop()
        self.counts[request.operation] += 1
        if self._denied and (request.key or "").endswith(self._denied):
            request.faults.append(DENIED)
        elif self._draw.random() < self._share:
            self.broken += 1
            request.faults.append(self._draw.choice(self._faults))
        return exchange


class ServedStore:
    """The other end, for whoever measures: `url`, what to break, and what came."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url = url
        self._process = process

    def settings(self, **options: Any) -> StorageSettings:
        """Of a session on this store."""
        return StorageSettings(
            endpoint_url=self.url,
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
            kms_key_id="key",
            **options,
        )

    async def aim(
        self, share: float, *, seed: int = 0, kind: str = "mixed", denied: Sequence[str] = ()
    ) -> None:
        """Break *share* of the requests from now on."""
        await self._ask(aim=[share, seed, kind, list(denied)])

    async def counts(self) -> tuple[dict[str, int], int]:
        """Requests by operation since the last question, and how many of them were broken."""
        found = await self._ask(counts=True)
        return found["counts"], found["broken"]

    async def stored(self) -> dict[str, int]:
        """Every key and the size of its object."""
        sizes: dict[str, int] = await self._ask(stored=True)
        return sizes

    async def _ask(self, **question: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(REPLY_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the store's process ended; its traceback is above")
        return json.loads(line)


@asynccontextmanager
async def served_store() -> AsyncIterator[ServedStore]:
    """A store with the bucket `BUCKET`, in a process that ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(REPLY_SECONDS):
            url = (await process.stdout.readline()).decode().strip()
        yield ServedStore(process, url)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _serve() -> None:
    store, plan = MemoryS3(), RandomFaults()
    store.create_bucket(BUCKET)
    async with FaultProxy(store, plan) as proxy:
        _tell(proxy.url)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _tell(json.dumps(_answer(store, plan, json.loads(line))))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _answer(store: MemoryS3, plan: RandomFaults, question: Mapping[str, Any]) -> object:
    if "aim" in question:
        plan.aim(*question["aim"])
    elif "counts" in question:
        counts, broken = dict(plan.counts), plan.broken
        plan.counts.clear()
        plan.broken = 0
        return {"counts": counts, "broken": broken}
    elif "stored" in question:
        return {key: len(store.get(BUCKET, key) or b"") for key in store.keys(BUCKET)}
    return True


if __name__ == "__main__":
    asyncio.run(_serve())
