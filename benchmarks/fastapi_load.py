"""
The download route of a FastAPI service under load, beside the same route on plain aioboto3.

    python -m benchmarks.fastapi_load     # 60 s each, 64 clients; needs wrk (Debian: apt-get install wrk)

uvicorn with one process, MinIO behind it, wrk in front, all on this machine. Writes
benchmarks/results/fastapi.json and the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.environment import ROOT
from benchmarks.fastapi_apps import KEY
from benchmarks.publish import FILES, fill
from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.testing import MinioServer
from greenlang_async_storage.testing._process import LOOPBACK, free_port

ROUTES: Final = {
    "sdk": "`object_response`",
    "shared": "aioboto3, one client",
    "guide": "aioboto3, a client per request",
}
BUCKET: Final = "fastapi-load"
RESULTS: Final = ROOT / "benchmarks" / "results" / "fastapi.json"


@dataclass(frozen=True, slots=True)
class Load:
    """What one route did under load."""

    route: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failures: int
    cpu_ms_per_request: float
    rss_mib: list[float]
    """Resident set of the service, once a second, from the first second of load on."""

    def row(self) -> str:
        """A line of the table."""
        third = max(1, len(self.rss_mib) // 3)
        early, late = max(self.rss_mib[:third]), max(self.rss_mib[-third:])
        cells = [
            ROUTES[self.route],
            f"{self.requests_per_second:,.0f}",
            f"{self.p50_ms:,.0f}",
            f"{self.p99_ms:,.0f}",
            f"{self.cpu_ms_per_request:.2f}",
            f"{early:.0f} → {late:.0f}",
            str(self.failures),
        ]
        return f"| {' | '.join(cells)} |"


def load(route: str, environment: dict[str, str], clients: int, seconds: int) -> Load:
    """Start the service with *route*, and load it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", f"benchmarks.fastapi_apps:{route}"]
    command += ["--host", LOOPBACK, "--port", str(port), "--log-level", "warning", "--no-access-log"]
    service = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        url = f"http://{LOOPBACK}:{port}/download"
        _until_answered(url)
        used, rss, over = _cpu(service.pid), list[float](), threading.Event()
        watch = threading.Thread(target=_watch, args=(service.pid, rss, over))
        watch.start()
        try:
            told = _wrk(url, clients, seconds)
        finally:
            over.set()
            watch.join()
        spent = _cpu(service.pid) - used
    finally:
        service.terminate()
        service.wait(30)
    requests = int(_number(r"(\d+) requests in", told))
    failed = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    return Load(
        route,
        _number(r"Requests/sec:\s+([\d.]+)", told),
        _milliseconds("50%", told),
        _milliseconds("99%", told),
        sum(map(int, failed.groups() if failed else ())) + int(refused[1] if refused else 0),
        spent * 1000 / max(requests, 1),
        rss,
    )


def _wrk(url: str, clients: int, seconds: int) -> str:
    command = [
        "wrk",
        "-t",
        "1",
        "-c",
        str(clients),
        "-d",
        f"{seconds}s",
        "--timeout",
        "30s",
        "--latency",
        url,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _until_answered(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _cpu(process: int) -> float:
    """Seconds of user and system time."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _watch(process: int, rss: list[float], over: threading.Event) -> None:
    while not over.wait(1):
        status = Path(f"/proc/{process}/status").read_text()
        rss.append(_number(r"VmRSS:\s+(\d+) kB", status) / 1024)


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def _milliseconds(which: str, text: str) -> float:
    found = re.search(rf"{re.escape(which)}\s+([\d.]+)(us|ms|s|m)\b", text)
    assert found is not None, text
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]


def table(loads: list[Load], size: int, clients: int, seconds: int) -> str:
    """The block of the documentation."""
    when = f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()['cores']} cores"
    what = f"an object of {size // 1024} KiB, {clients} clients, {seconds} s each"
    return "\n".join(
        [
            f"{when}: {what}; uvicorn, MinIO and wrk share the machine.",
            "",
            "| route | requests/s | p50, ms | p99, ms | CPU, ms a request | RSS, MiB | failures |",
            "|---|---|---|---|---|---|---|",
            *(found.row() for found in loads),
            "",
            "RSS: the largest in the first third of the time → in the last third.",
        ]
    )


async def prepare(server: MinioServer, size: int) -> None:
    """The object that is downloaded."""
    settings = StorageSettings(**server.settings_kwargs(), data_lake_bucket=BUCKET, encryption="none")
    async with StorageSession(settings) as session:
        await session.ensure_buckets()
        await session.data_lake.upload_bytes(KEY, bytes(range(256)) * (size // 256))


def main() -> int:
    """The exit code: 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fastapi_load", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--size", type=int, default=256 * 1024, help="bytes of the object (default 262144)")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/performance.md")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk was not found: apt-get install wrk", file=sys.stderr)
        return 1
    with MinioServer.start(kms=False) as server:
        asyncio.run(prepare(server, arguments.size))
        environment = {**os.environ, **server.env(), "GREENLANG_DATA_LAKE_BUCKET": BUCKET}
        loads = [load(route, environment, arguments.clients, arguments.seconds) for route in ROUTES]
    block = table(loads, arguments.size, arguments.clients, arguments.seconds)
    print(block)
    if arguments.publish:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps([asdict(found) for found in loads], indent=2) + "\n")
        for path in FILES:
            path.write_text(fill(path.read_text(), {"fastapi": block}))
    return 1 if any(found.failures for found in loads) else 0


if __name__ == "__main__":
    sys.exit(main())
