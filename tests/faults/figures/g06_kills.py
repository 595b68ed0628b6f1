"""G6: processes killed at any request or byte leave whole objects, whole files, and nothing after a sweep."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, get_args

from greenlang_async_storage.testing import Fault, MemoryS3
from tests.faults.figures import Figure, Scale
from tests.support.child_jobs import MIB, Kind, content
from tests.support.children import Nursery
from tests.support.faults import BUCKET, PART
from tests.support.killing import Ending, Scene, kill

PATHS = (True, False)
MINUTES = 1.2
FULL_MINUTES = 25.0

KILLS: Final = 200
KILLS_FULL: Final = 2_000
"""Half of them by each path."""
AT_ONCE: Final = 2
FIRST_SEED: Final = 6_000_000
UPLOAD_SIZE: Final = 2 * PART + 12_345
DOWNLOAD_SIZE: Final = 5 * MIB + 77
SMALL_SIZE: Final = 40_000
BATCH: Final = 24
OLD: Final = b"what was there before"
_SENT: Final = ("request_head", "request_body", "unforwarded", "withheld", "reply_head", "idle")
_FETCHED: Final = ("request_head", "unforwarded", "withheld", "reply_body", "reply_body", "idle")


@dataclass
class Tally:
    """What the kills left."""

    kills: int = 0
    missed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    partial: list[str] = field(default_factory=list)
    """Objects and files that are neither old nor whole, with the seed."""
    orphans: int = 0
    unfinished: int = 0
    left: list[str] = field(default_factory=list)
    """What the sweeps left, with the seed."""
    resumed: int = 0
    not_resumed: list[str] = field(default_factory=list)


async def measure(scale: Scale) -> list[Figure]:
    """200 kills (nightly 2,000), two at a time: uploads in parts, batches, downloads; some with journals."""
    wanted, tally = (KILLS_FULL if scale.full else KILLS) // 2, Tally()
    first = FIRST_SEED + scale.seed + (0 if scale.fast_path else 10 * wanted)
    seeds = iter(range(first, first + 10 * wanted))
    with Nursery(scale.folder) as nursery:
        # Which of the two draws a seed depends on speed; what a seed does depends on nothing else.
        works = [_work(scale, nursery, seeds, tally, wanted) for _ in range(AT_ONCE)]
        await asyncio.gather(*works)
    return _figures(tally, wanted, f"from {first}, one for each kill")


async def _work(scale: Scale, nursery: Nursery, seeds: Iterator[int], tally: Tally, wanted: int) -> None:
    while tally.kills < wanted:
        seed = next(seeds)
        trial = Trial(seed, Scene(nursery, scale.folder / str(seed), scale.fast_path, _store(seed)))
        if await trial.run():
            await trial.judge(tally)
            tally.kills += 1
            if tally.kills % 50 == 0:
                scale.progress(f"{tally.kills} of {wanted} kills")
        else:
            tally.missed += 1
        await asyncio.to_thread(trial.remove)


def _store(seed: int) -> MemoryS3:
    return MemoryS3(behaviour=("aws", "minio", "moto")[seed % 3])


def _figures(tally: Tally, wanted: int, seeds: str) -> list[Figure]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kinds.items()))
    kills = Figure(
        "G6",
        "SIGKILLs",
        f"{2 * wanted}, half by each path",
        f"{tally.kills}",
        tally.kills >= wanted,
        seeds,
        (kinds,),
    )
    partial = Figure(
        "G6",
        "objects and files neither old nor whole",
        "0",
        f"{len(tally.partial)}",
        not tally.partial,
        seeds,
        tuple(tally.partial),
    )
    swept = Figure(
        "G6",
        "uploads and files left after the sweep",
        "0",
        f"{len(tally.left)}",
        not tally.left,
        seeds,
        (f"swept: {tally.orphans} uploads, {tally.unfinished} files", *tally.left),
    )
    resumed = Figure(
        "G6",
        "transfers with a journal that the next process finished",
        "all",
        f"{tally.resumed} of {tally.resumed + len(tally.not_resumed)}",
        not tally.not_resumed,
        seeds,
        tuple(tally.not_resumed),
    )
    return [kills, partial, swept, resumed]


class Trial:
    """One process, killed once; everything about it is drawn from *seed*."""

    def __init__(self, seed: int, scene: Scene) -> None:
        self.seed, self.scene = seed, scene
        draw = self._draw = random.Random(seed)
        self.kind: Kind = draw.choice(get_args(Kind))
        self.fetches = self.kind.startswith("fetch")
        self.old = draw.choice((OLD, None))
        self.contents = dict(self._contents())
        self.places = {key: scene.folder / key for key in self.contents}

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        if self.kind.endswith("many"):
            for number in range(BATCH):
                yield f"key-{number:02}", content(self.seed * 100 + number, SMALL_SIZE)
            if self.kind == "many":
                yield "key-large", content(self.seed, UPLOAD_SIZE)
        else:
            yield "key", content(self.seed, DOWNLOAD_SIZE if self.fetches else UPLOAD_SIZE)

    def fault(self) -> Fault:
        """When it is killed."""
        draw = self._draw
        if self.fetches:
            nth = draw.randint(1, BATCH if self.kind == "fetch-many" else 3)
            size = SMALL_SIZE if self.kind == "fetch-many" else DOWNLOAD_SIZE
            return kill("GetObject", nth, draw.choice(_FETCHED), draw.randrange(size))
        choices = [("CreateMultipartUpload", 1), ("CompleteMultipartUpload", 1)]
        choices += [("UploadPart", nth) for nth in (1, 2, 3)]
        if self.kind == "many":
            choices += [("PutObject", draw.randint(1, BATCH)) for _ in choices]
        operation, nth = draw.choice(choices)
        size = {"UploadPart": PART, "PutObject": SMALL_SIZE}.get(operation, 1)
        return kill(operation, nth, draw.choice(_SENT), draw.randrange(size))

    async def run(self) -> bool:
        """Whether the child was killed: it may have ended before the request that was meant."""
        await asyncio.to_thread(self._prepare)
        return (await self._transfer(self.fault())).code == -9

    async def _transfer(self, *faults: Fault) -> Ending:
        options: dict[str, int] = {}
        if self.fetches and self.kind != "fetch-many":
            options = {"part_size": MIB, "concurrency": 3}
        places = {key: str(path) for key, path in self.places.items()}
        return await self.scene.run(*faults, kind=self.kind, places=places, options=options)

    def _prepare(self) -> None:
        for key, data in self.contents.items():
            if self.fetches:
                self.scene.store.put(BUCKET, key, data)
                if self.old is not None:
                    self.places[key].write_bytes(self.old)
            else:
                self.places[key].write_bytes(data)
                if self.old is not None:
                    self.scene.store.put(BUCKET, key, self.old)

    def _there(self, key: str) -> bytes | None:
        path = self.places[key]
        if self.fetches:
            return path.read_bytes() if path.exists() else None
        return self.scene.store.get(BUCKET, key)

    async def judge(self, tally: Tally) -> None:
        """Count what is there now, let the next process go on with its journal, sweep and look again."""
        tally.kinds[self.kind] += 1
        await asyncio.to_thread(self._look, tally)
        if self.kind.endswith("journal"):
            again = await self._transfer()
            done = again.heard == ["done"] and self._there("key") == self.contents["key"]
            if done:
                tally.resumed += 1
            else:
                tally.not_resumed.append(f"seed {self.seed}: {again.heard}")
        tally.orphans += await self.scene.swept()
        tally.unfinished += len(await self.scene.sweep_files())
        await asyncio.to_thread(self._look, tally)
        extra = set(self.scene.folder.iterdir()) - set(self.places.values())
        left = [*self.scene.store.open_uploads(BUCKET), *sorted(path.name for path in extra)]
        tally.left += [f"seed {self.seed}: {what}" for what in left]

    def _look(self, tally: Tally) -> None:
        for key, data in self.contents.items():
            if self._there(key) not in (self.old, data):
                tally.partial.append(f"seed {self.seed}: {self.kind} {key}")

    def remove(self) -> None:
        """Its folder, with everything in it."""
        shutil.rmtree(self.scene.folder)
