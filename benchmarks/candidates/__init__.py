"""
What is compared: one adapter per library, each driven through its best public API.

An adapter imports its library in `load`, so that every one of them can be imported where only some are
installed. What a library cannot do its adapter does not define; the report leaves the cell empty.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, cast, runtime_checkable

MIB: Final = 1024 * 1024
PART_SIZE: Final = 8 * MIB
FILE_PARTS: Final = 6
"""Parts of a file in memory at once, for libraries that let one choose."""
STREAM_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """The server everybody works on, and how many connections they may hold."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str
    bucket: str
    connections: int = 256


class Candidate(Protocol):
    """One library with one open client."""

    def load(self) -> None:
        """Import the library: what an application does before its event loop runs."""

    async def open(self, target: Target) -> None:
        """Make the client."""

    async def close(self) -> None:
        """Close it."""

    async def put(self, key: str, data: bytes) -> None:
        """Store *data*."""

    async def get(self, key: str) -> int:
        """Read the object into memory; how many bytes came."""

    async def head(self, key: str) -> int:
        """The object's size, by HEAD."""


@runtime_checkable
class Lists(Protocol):
    """It lists."""

    async def list_keys(self, prefix: str) -> int:
        """How many keys start with *prefix*, each of them seen in Python."""


@runtime_checkable
class MovesFiles(Protocol):
    """It moves files, in parts of `PART_SIZE` with `FILE_PARTS` in flight where that can be said."""

    async def upload_file(self, key: str, path: Path) -> None:
        """Store the file."""

    async def download_file(self, key: str, path: Path) -> None:
        """Write the object to *path*."""


@runtime_checkable
class Streams(Protocol):
    """It stores a stream of unknown length."""

    async def upload_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what *chunks* gives, in parts of `PART_SIZE` with `STREAM_PARTS` in flight."""


@runtime_checkable
class Batches(Protocol):
    """It takes a batch of any length."""

    async def batch(self, items: AsyncIterator[tuple[str, bytes]]) -> int:
        """Store every item; how many were stored."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate by name: which adapter, with which options, on which event loop."""

    name: str
    label: str
    adapter: str
    """`module:Class` below `benchmarks.candidates`."""
    options: Mapping[str, bool] = field(default_factory=dict)
    uvloop: bool = False
    own: bool = False
    max_in_flight: int | None = None
    """Few at a time for those that would take minutes otherwise."""
    loop: bool = True
    """It works on the event loop, so its stalls count."""

    def make(self) -> Candidate:
        """A new adapter; nothing is imported but the adapter's own module."""
        module, _, name = self.adapter.partition(":")
        return cast(
            "Candidate",
            getattr(importlib.import_module(f"benchmarks.candidates.{module}"), name)(**self.options),
        )

    def can(self, call: type) -> bool:
        """Whether its library has what the protocol *call* asks for."""
        return isinstance(self.make(), call)

    def environment(self) -> dict[str, str]:
        """
        Variables of its process.

        Peers run as `pip install` leaves them: awscrt, which our environment has, would switch botocore's
        signer to it.
        """
        return {} if self.own else {"BOTO_DISABLE_CRT": "true"}


OURS: Final = "bucket"
ENABLED: Final = "enable"
BASELINE: Final = "aioboto3"
RUST: Final = "obstore"

ENTRIES: Final = (
    Entry(OURS, "Bucket", "ours:Ours", {"fast_path": True}, own=True),
    Entry("bucket-uvloop", "Bucket, uvloop", "ours:Ours", {"fast_path": True}, uvloop=True, own=True),
    Entry("bucket-plain", "Bucket, fast path off", "ours:Ours", {"fast_path": False}, own=True),
    Entry(
        "bucket-plain-uvloop",
        "Bucket, fast path off, uvloop",
        "ours:Ours",
        {"fast_path": False},
        uvloop=True,
        own=True,
    ),
    Entry(
        ENABLED, "aioboto3 + fastpath.enable()", "aioboto3_shared:SharedClient", {"enabled": True}, own=True
    ),
    Entry(
        "enable-uvloop",
        "aioboto3 + fastpath.enable(), uvloop",
        "aioboto3_shared:SharedClient",
        {"enabled": True},
        uvloop=True,
        own=True,
    ),
    Entry(BASELINE, "aioboto3, one shared client", "aioboto3_shared:SharedClient"),
    Entry(
        "aioboto3-per-call",
        "aioboto3, a client per call",
        "aioboto3_per_call:ClientPerCall",
        max_in_flight=4,
    ),
    Entry("boto3", "boto3 in 64 threads", "boto3_threads:Threads", loop=False),
    Entry("s3fs", "s3fs (async)", "s3fs_async:FileSystem"),
    Entry("miniopy", "miniopy-async", "miniopy:Miniopy"),
    Entry("aiohttp-s3", "aiohttp-s3-client", "aiohttp_s3:AiohttpS3"),
    Entry(RUST, "obstore (Rust)", "obstore_rust:Obstore"),
)
BY_NAME: Final = {entry.name: entry for entry in ENTRIES}
