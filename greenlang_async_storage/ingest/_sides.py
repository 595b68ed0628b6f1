"""The two sides of a plan, each a stream of what it holds, in the order of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

from greenlang_async_storage import Bucket, S3AccessDeniedError, S3Error, S3NotFoundError

from ._digests import FileDigests, evidence
from ._entries import Entry, Found, Obstacle
from ._globs import PathFilter
from ._threads import SerialThread
from ._walk import Walk

WALK_BATCH: Final = 256

Fault = Callable[[str], S3Error | None]


class Side(Protocol):
    """Where entries come from, and what can be told of their content."""

    @property
    def skipped(self) -> int:
        """Entries left out by rule, so far."""
        ...

    def entries(self) -> AsyncGenerator[Found, None]:
        """Everything on this side, in order; to be closed by the reader."""
        ...

    async def evidence(self, entry: Entry, wanted: str | None) -> dict[str, str] | None:
        """Checksums of *entry* by algorithm, of a file the *wanted* one; `None` when it is another now."""
        ...


class BucketSide:
    """The objects under a prefix; *fault* tells which keys cannot be carried over."""

    def __init__(self, view: Bucket, accept: PathFilter, fault: Fault = lambda _key: None) -> None:
        self.skipped = 0
        self.view = view
        self._accept = accept
        self._fault = fault

    async def entries(self) -> AsyncGenerator[Found, None]:
        """One page of the listing in memory."""
        last = ""
        listing = self.view.list_objects()
        async with aclosing(listing):  # type: ignore[type-var]  # it is a generator
            async for info in listing:
                key = info.key
                if key < last:
                    raise _disordered(self.view, last, key)
                last = key
                # A key that ends in "/" marks a folder for consoles; folders need no marks here.
                if not key or key.endswith("/") or not self._accept.accepts(key):
                    self.skipped += 1
                elif error := self._fault(key):
                    yield Obstacle(key, error, failure=True)
                else:
                    yield Entry(key, info.size, info.etag)

    async def evidence(self, entry: Entry, wanted: str | None) -> dict[str, str] | None:  # noqa: ARG002  # a HEAD tells all
        """What a HEAD tells; nothing where this role may not ask."""
        try:
            info = await self.view.head(entry.key)
        except S3NotFoundError:
            return None
        except S3AccessDeniedError:
            return {}
        return evidence(info) if info.etag == entry.state else None


class FolderSide:
    """The files below a directory, walked in a thread; *missing_ok* takes a missing one for empty."""

    def __init__(
        self,
        root: Path,
        accept: PathFilter,
        *,
        follow: bool = False,
        own: frozenset[str] = frozenset(),
        missing_ok: bool = False,
    ) -> None:
        self.root = root
        self.digests = FileDigests(root)
        self._walk = Walk(root, accept, follow=follow, own=own)
        self._missing_ok = missing_ok

    @property
    def skipped(self) -> int:
        """Entries left out by rule, so far."""
        return self._walk.skipped

    async def entries(self) -> AsyncGenerator[Found, None]:
        """`WALK_BATCH` entries in memory."""
        thread = SerialThread("ingest-walk")
        try:
            if self._missing_ok and not await thread.call(self.root.exists):
                return
            while batch := await thread.call(self._walk.batch, WALK_BATCH):
                for found in batch:
                    yield found
        finally:
            await thread.aclose(self._walk.close)

    async def evidence(self, entry: Entry, wanted: str | None) -> dict[str, str] | None:
        """The *wanted* checksum, computed."""
        assert wanted is not None  # noqa: S101  # a file has whatever is asked for
        value = await self.digests.of(entry, wanted)
        return None if value is None else {wanted: value}


def _disordered(view: Bucket, last: str, key: str) -> S3Error:
    return S3Error(
        f"the store lists {key!r} after {last!r}; a plan needs keys in the order of their UTF-8 bytes",
        operation="ListObjectsV2",
        bucket=view.name,
        remedy="Use a general purpose bucket; directory buckets list in no order.",
    )
