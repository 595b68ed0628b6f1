"""G17: every row of docs/security.md has its test; hostile keys, hostile pickles and canaries, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from greenlang_async_storage import S3Error
from greenlang_async_storage._names import validate_key
from greenlang_async_storage.artifacts import ModelStore
from tests.faults.figures._figure import Figure, Scale
from tests.security import _canaries
from tests.security._keys import hostile_keys
from tests.security._pickles import payloads
from tests.support.faults import BUCKET, Lab, laboratory

PATHS: Final = (True,)
"""Rows, keys and pickles know no path; the canaries go through both in one run."""
MINUTES: Final = 0.7

ROWS: Final = 20
KEYS: Final = 5_000
PICKLES: Final = 100
SEED: Final = 20260101
TESTS: Final = Path(__file__).parents[2]
_NAMED: Final = re.compile(r"^ *(?:async )?def test_s(\d\d)_", re.MULTILINE)


async def measure(scale: Scale) -> list[Figure]:
    """The four counts; with *full* ten times the keys, and another seed."""
    figures = [_rows()]
    scale.progress("hostile keys")
    figures.append(await _keys(scale))
    scale.progress("hostile pickles")
    figures.append(await _pickles(scale))
    scale.progress("canaries")
    figures.append(await _secrets())
    return figures


def _rows() -> Figure:
    named = Counter(
        int(row) for path in TESTS.rglob("test_*.py") for row in _NAMED.findall(path.read_text("utf-8"))
    )
    covered = [row for row in range(1, ROWS + 1) if named[row]]
    missing = [f"S{row}" for row in range(1, ROWS + 1) if not named[row]]
    return Figure(
        "G17",
        "rows of the security matrix with a named test",
        f"{ROWS} of {ROWS}",
        f"{len(covered)} of {ROWS}, by {sum(named.values())} tests"
        + (f"; no {', '.join(missing)}" if missing else ""),
        not missing,
    )


async def _keys(scale: Scale) -> Figure:
    count, seed = (10 * KEYS, SEED + 1) if scale.full else (KEYS, SEED)
    keys = hostile_keys(count, seed)
    root = scale.folder / "dir"
    outside = scale.folder / "outside"
    for folder in (root, outside, scale.folder / "dir-evil"):
        folder.mkdir()
    (outside / "file").write_bytes(b"untouched")
    (root / "link").symlink_to(outside)
    (root / "out").symlink_to(outside / "file")
    before = _beside(scale.folder, root)
    async with _holding(keys) as lab:
        report = await lab.lake.download_many(keys, root)
    changed = _beside(scale.folder, root).symmetric_difference(before)
    untouched = (outside / "file").read_bytes() == b"untouched"
    escapes = len(changed) + (not untouched)
    return Figure(
        "G17",
        f"{count:,} hostile keys downloaded: files outside the directory",
        "0",
        f"{escapes}; {len(report.succeeded):,} inside, {len(report.failed):,} refused",
        escapes == 0 and len(report.succeeded) > 0,
        seeds=str(seed),
    )


@asynccontextmanager
async def _holding(keys: list[str]) -> AsyncIterator[Lab]:
    """A store with an object under each key that one could have."""
    async with laboratory() as lab:
        for key in keys:
            with suppress(ValueError):
                lab.store.put(BUCKET, quote(validate_key(key)), b"data of a stranger")
        yield lab


def _beside(folder: Path, root: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if root not in path.parents}


async def _pickles(scale: Scale) -> Figure:
    canary = scale.folder / "canary"
    files = payloads(canary)
    refused = 0
    async with laboratory() as lab:
        store = ModelStore(lab.lake)
        trusted = await store.save("trusted", "1", {"weights": [1.0]})
        for number, data in enumerate(files):
            await store.save("hostile", str(number), data, format=("pkl", "joblib")[number % 2])
            lab.store.put(BUCKET, trusted.key, data)
            for name, version, trust in (("hostile", str(number), False), ("trusted", "1", True)):
                try:
                    await store.load(name, version, trust=trust)
                except S3Error:
                    refused += 1
    ran = canary.exists()
    return Figure(
        "G17",
        f"{len(files)} files that run code when loaded, untrusted or in the place of a trusted model: runs",
        "0",
        f"{int(ran)}; {refused} of {2 * len(files)} refused",
        not ran and refused == 2 * len(files) and len(files) >= PICKLES,
    )


async def _secrets() -> Figure:
    hits: list[str] = []
    lines = 0
    for door in ("direct", "served"):
        told = await _canaries.run(door)
        hits += told.hits()
        lines += told.log.getvalue().count("\n") + sum(text.count("\n") + 1 for text in told.text)
    return Figure(
        "G17",
        "secrets in DEBUG logs, errors with all locals, pickles and reprs, of ten calls and their failures",
        "0",
        f"{len(hits)} in {lines:,} lines",
        not hits and lines > 1_000,
        notes=tuple(hits[:3]),
    )
