"""The steps of the main job; each tells what it did as one line of the closing table."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlang_async_storage import Progress, StorageSession, UploadItem

from . import factors as inputs

APPLICATION = "cbam"
SOURCE = "our-world-in-data"

Hook = Callable[[Progress], None]


@dataclass(slots=True)
class Step:
    """One line of the closing table."""

    name: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    retries: int = 0


class Job:
    """Ingests the tables, computes results from them, and reads everything back."""

    def __init__(self, session: StorageSession, folder: Path) -> None:
        self.session = session
        self.steps: list[Step] = []
        self._folder = folder
        self._day = datetime.now(UTC).strftime("%Y/%m/%d")
        self._results: list[dict[str, Any]] = []
        self._sha256 = ""

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """Times a step and counts its retries."""
        step = Step(name)
        started, before = time.perf_counter(), self.session.statistics().retries
        yield step
        step.seconds = time.perf_counter() - started
        step.retries = self.session.statistics().retries - before
        self.steps.append(step)

    async def store_factors(self) -> dict[str, inputs.Factors]:
        """Every table under its source and version."""
        tables = await asyncio.to_thread(inputs.load_factors, inputs.data_folder())
        async with self.step("emission factors stored") as step:
            for source, table in tables.items():
                key = f"cache/emission-factors/{source}/{inputs.tables_version()}/factors.json"
                stored = await self.session.cache.upload_json(
                    key, table, metadata={"source": source, "version": inputs.tables_version()}
                )
                step.objects += 1
                step.bytes += stored.size
        return tables

    async def upload_results(
        self, table: inputs.Factors, cpus: list[inputs.Cpu], count: int, hook: Hook
    ) -> None:
        """A batch of calculation results; the bar follows its progress events."""
        self._results = list(inputs.results(table, cpus, count, SOURCE))
        async with self.step("calculation results uploaded") as step:
            items = [UploadItem(self._key(result), _encode(result)) for result in self._results]
            report = await self.session.data_lake.upload_many(items, on_progress=hook)
            report.raise_for_errors()
            step.objects, step.bytes = len(report.succeeded), report.bytes

    async def upload_report(self) -> str:
        """Totals by region as CSV; the key of the report."""
        totals: Counter[str] = Counter()
        for result in self._results:
            totals[result["region"]] += result["emissions_kg_co2e"]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["region", "emissions_kg_co2e"])
        writer.writerows((region, round(total, 3)) for region, total in totals.most_common())
        data = text.getvalue().encode()
        digest = hashlib.sha256(data).hexdigest()
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}_{digest[:8]}.csv"
        key = f"reports/emissions/{self._day[:7]}/tenant-0/{name}"
        async with self.step("report uploaded") as step:
            await self.session.reports.upload_bytes(key, data, metadata={"report-type": "emissions"})
            step.objects, step.bytes = 1, len(data)
        return key

    async def stream_table(self, table: inputs.Factors, cpus: list[inputs.Cpu], hook: Hook) -> str:
        """The whole table as one object, streamed from an async generator of unknown length."""
        digest = hashlib.sha256()

        async def pieces() -> AsyncIterator[bytes]:
            for piece in inputs.rows(table, cpus):
                digest.update(piece)
                yield piece
                await asyncio.sleep(0)

        key = f"bronze/{APPLICATION}/{self._day}/tenant-0/cpu-emissions.csv"
        async with self.step("table streamed in parts") as step:
            stored = await self.session.data_lake.upload_stream(key, pieces(), on_progress=hook)
            step.objects, step.bytes = 1, stored.size
        self._sha256 = digest.hexdigest()
        return key

    async def list_results(self) -> None:
        """What is there now is what was uploaded."""
        prefix = f"silver/{APPLICATION}/calculations/{self._day}/"
        async with self.step("objects listed") as step:
            keys = set()
            async for found in self.session.data_lake.list_objects(prefix):
                keys.add(found.key)
                step.bytes += found.size
            step.objects = len(keys)
        missing = {self._key(result) for result in self._results} - keys
        if missing:
            raise SystemExit(f"{len(missing)} results are missing from the listing, such as {min(missing)}")

    async def download_table(self, key: str, hook: Hook) -> Path:
        """The streamed object as a file, verified by its checksum, and by SHA-256 against the source."""
        target = self._folder / "cpu-emissions.csv"
        async with self.step("table downloaded, verified") as step:
            info = await self.session.data_lake.download_file(key, target, on_progress=hook)
            step.objects, step.bytes = 1, info.size
        if await asyncio.to_thread(_sha256_of, target) != self._sha256:
            raise SystemExit(f"{target} differs from what was uploaded")
        return target

    async def fetch_link(self, key: str) -> str:
        """A presigned link, fetched over plain HTTP without credentials; its file name."""
        async with self.step("presigned link fetched") as step:
            link = await self.session.reports.presign_download(
                key, expires_in=600, filename="Emissions Zürich.csv"
            )
            size, disposition = await asyncio.to_thread(_fetch, link)
            step.objects, step.bytes = 1, size
        return disposition

    def _key(self, result: dict[str, Any]) -> str:
        tenant, name = result["tenant_id"], result["calculation_id"]
        return f"silver/{APPLICATION}/calculations/{self._day}/{tenant}/{name}.json"


def _encode(result: dict[str, Any]) -> bytes:
    return json.dumps(result, separators=(",", ":")).encode()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(link: str) -> tuple[int, str]:
    with urllib.request.urlopen(link, timeout=30) as reply:  # a link this program has signed
        return len(reply.read()), reply.headers["Content-Disposition"]
