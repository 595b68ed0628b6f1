"""What a public operation is to the table: its call, and what store and disk hold before and after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from greenlang_async_storage import Bucket, MultipartUpload, S3Error, UploadedPart

SMALL: Final = bytes(range(256)) * 4 + b"new"
OLD: Final = b"old" * 341 + b"only"
RIVAL: Final = b"another writer".ljust(len(SMALL), b"!")
"""As long as `SMALL`: a mixture of the two has the right length."""


@dataclass(frozen=True)
class Thing:
    """An object as anybody may see it."""

    data: bytes
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the user; the SDK's own entries are left out."""


State = Mapping[str, Thing | None]


@dataclass
class Stage:
    """What one call works with."""

    lake: Bucket
    folder: Path
    part: int
    """Bytes of a part."""
    timeout: float
    etags: Mapping[str, str]
    upload: MultipartUpload | None = None
    """An open upload of `PARTS` parts under `key`, where the scenario asks for one."""
    parts: list[UploadedPart] = field(default_factory=list)

    @property
    def large(self) -> bytes:
        return large(self.part)


@lru_cache(maxsize=8)
def large(part: int, salt: bytes = b"tail") -> bytes:
    """Two parts and a bit, no two of them alike."""
    block = bytes(range(251)) * (part // 251 + 1)
    return block[:part] + block[7 : part + 7] + salt


Truth = Callable[["Scenario", object, S3Error | None], Iterator[tuple[str, S3Error | None]]]


def all_alike(
    scenario: Scenario, _result: object, error: S3Error | None
) -> Iterator[tuple[str, S3Error | None]]:
    for name in (*scenario.after(1), *scenario.files(1)):
        yield name, error


@dataclass(frozen=True)
class Scenario:
    """
    One public operation.

    `before` and `after` tell, for a part size, what the store holds; `gives` what a success returns;
    `files` what local files hold, before and after. `rival` is what another writer may store under `key`
    meanwhile, `rival_gives` what a read of that returns. `truth` says which keys and files a result or an
    error speaks of.
    """

    name: str
    call: Callable[[Stage], Awaitable[object]]
    before: Callable[[int], State] = lambda _: {}
    after: Callable[[int], State] = lambda _: {}
    gives: Callable[[int], object] = lambda _: None
    files: Callable[[int], Mapping[str, tuple[bytes | None, bytes]]] = lambda _: {}
    """Name to content before and after; the same twice for a source."""
    rival: Callable[[int], bytes] | None = None
    rival_gives: Callable[[int], object] = lambda _: None
    truth: Truth = all_alike
    key: str | None = "key"
    """What an error must name; `None` where the operation has no single key."""
    upload: bool = False
    """Whether an open upload is prepared; what becomes of it is the caller's business."""
    versioning: bool = False
    checked: bool = True
    """Whether a flipped byte of a reply can be told: S3 has no checksum for a range of an object."""
    restarts: bool = True
    """Whether bytes found wrong are asked for again: a stream has given them away."""
    missing: object = "an error"
    """What it returns when the store says that there is no such object."""
    believes: frozenset[str] = frozenset()
    """Operations whose 404 means that the work is done already: a store that says so untruly is believed."""
    timed: bool = True
    """Whether the call takes `timeout=`; the others have the deadlines of their requests."""
