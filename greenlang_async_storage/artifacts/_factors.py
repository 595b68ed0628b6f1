"""Emission factors of outside sources, cached in the store for a limited time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, cast

from greenlang_async_storage import Bucket, ObjectInfo, S3IntegrityError, S3NotFoundError

from ._flight import SingleFlight
from ._freshness import SUSPICIOUS, Lifetime, StoreTime
from ._json import JsonObject, damaged, decoded, encoded
from ._keys import factors_key, factors_prefix
from ._log import warn
from ._objects import check_hash, read
from ._policy import ArtifactPolicy
from ._segments import check_segment
from ._threads import WORTH_A_THREAD, in_thread, sha256_of
from ._times import Clock, in_utc, read_time, utc_now
from ._versions import in_order

LATEST: Final = "latest"
_SOURCES: Final = "cache/emission-factors/"


@dataclass(frozen=True, slots=True)
class StoredFactors:
    """A table of emission factors in the cache."""

    bucket: str
    key: str
    source: str
    version: str
    cached_at: datetime
    expires_at: datetime
    size: int
    fresh: bool = True
    """Whether `get` gives it."""


class EmissionFactorCache:
    """
    Tables of emission factors by source and version, each alive for *ttl* after it was stored.

    A table is stale when its `expires-at` has passed, or when by the store's own clock it is older than the
    life it was stored with: neither a wrong clock of its writer nor one that was set back keeps it alive.
    Damaged and half-written tables are misses, and logged. Holds one table in memory, twice while parsing.
    """

    def __init__(
        self,
        bucket: Bucket,
        ttl: timedelta = timedelta(hours=24),
        *,
        tags: bool = False,
        policy: ArtifactPolicy | None = None,
        clock: Clock = utc_now,
    ) -> None:
        if ttl <= timedelta(0):
            raise ValueError(f"ttl is {ttl}; pass a positive timedelta, such as timedelta(hours=24)")
        self._bucket = bucket
        self._ttl = ttl
        self._policy = (policy or ArtifactPolicy()).tagged(tags=tags)
        self._clock = clock
        self._time = StoreTime(lambda: in_utc("clock()", clock()))
        self._reads: SingleFlight[bytes | None] = SingleFlight()
        self._fills: SingleFlight[bytes] = SingleFlight()

    async def put(
        self, source: str, factors: Mapping[str, object], *, version: str | None = None
    ) -> StoredFactors:
        """
        Store *factors* as *version* of *source*, over what was there; left out, it is the time in UTC
        (`%Y%m%d%H%M%S`).

        Raises:
            S3InvalidRequestError: a source or version that is no safe segment, or the version `latest`.
            TypeError, ValueError: factors that are no mapping, or hold what JSON does not have.
        """
        stored, _ = await self._put(source, factors, version)
        return stored

    async def get(self, source: str, version: str = LATEST) -> JsonObject | None:
        """
        The factors, or `None` when they are missing, stale or damaged; each caller gets its own dict.

        `latest` is the highest version there is (PEP 440, else digit runs as numbers), whether or not it is
        alive. Callers who ask while a load runs share it; one that is cancelled does not disturb the others.

        Raises:
            S3NotFoundError: no such bucket; other subclasses of `S3Error` when the store cannot be asked.
        """
        check_segment("source", source)
        check_segment("version", version)
        data = await self._reads.load((source, version), partial(self._load, source, version))
        return None if data is None else await self._parsed(data)

    async def get_or_load(
        self,
        source: str,
        load: Callable[[], Awaitable[Mapping[str, object]]],
        *,
        version: str | None = None,
    ) -> JsonObject:
        """
        What `get` gives, or what *load* fetches, which is stored first.

        However many callers miss at the same time, *load* is called once; its failure is everybody's.
        """
        found = await self.get(source, version or LATEST)
        if found is not None:
            return found
        data = await self._fills.load((source, version), partial(self._fill, source, load, version))
        return await self._parsed(data)

    async def info(self, source: str, version: str = LATEST) -> StoredFactors | None:
        """What is known of a table without reading it, also when it is stale; `None` when there is none."""
        check_segment("source", source)
        check_segment("version", version)
        for candidate in await self._candidates(source, version):
            key = factors_key(source, candidate)
            try:
                found = await self._bucket.head(key)
            except S3NotFoundError as error:
                _require_bucket(error)
                continue
            life = self._lifetime(key, found)
            cached_at = life.expires_at - life.length
            return StoredFactors(
                self._bucket.name,
                key,
                source,
                candidate,
                cached_at,
                life.expires_at,
                found.size,
                self._time.fresh(life),
            )
        return None

    async def versions(self, source: str) -> list[str]:
        """The versions of a source in ascending order, stale ones too; one listing."""
        prefix = factors_prefix(source)
        found = [name async for name in self._bucket.list_prefixes(prefix)]
        names = (name.removeprefix(prefix).rstrip("/") for name in found)
        return in_order(name for name in names if _is_segment(name))

    async def sources(self) -> list[str]:
        """The sources that have a version, sorted."""
        found = [name async for name in self._bucket.list_prefixes(_SOURCES)]
        return sorted(name.removeprefix(_SOURCES).rstrip("/") for name in found)

    async def _put(
        self, source: str, factors: Mapping[str, object], version: str | None
    ) -> tuple[StoredFactors, bytes]:
        if not isinstance(factors, Mapping):
            raise TypeError(f"factors must be a mapping, not {type(factors).__name__}")
        now = in_utc("clock()", self._clock())
        chosen = _writable(version) if version is not None else f"{now.year:04}{now:%m%d%H%M%S}"
        key = factors_key(source, chosen)
        data = await encoded(factors, "factors")
        expires_at = now + self._ttl
        metadata = {
            "source": source,
            "version": chosen,
            "cached-at": now.isoformat(),
            "expires-at": expires_at.isoformat(),
            "content-hash": await sha256_of(data),
        }
        options = self._policy.options(self._bucket.name, metadata, application="common", created_at=now)
        options["content_type"] = "application/json"
        options["cache_control"] = f"max-age={int(self._ttl.total_seconds())}"
        with self._policy.explained():
            result = await self._bucket.upload_bytes(key, data, **options)
        self._time.wrote((key, result.etag, now.isoformat()))
        return StoredFactors(self._bucket.name, key, source, chosen, now, expires_at, result.size), data

    async def _fill(
        self,
        source: str,
        load: Callable[[], Awaitable[Mapping[str, object]]],
        version: str | None,
    ) -> bytes:
        # Another fill may have ended between this caller's miss and now.
        found = await self._load(source, version or LATEST)
        if found is not None:
            return found
        _, data = await self._put(source, await load(), version)
        return data

    async def _load(self, source: str, version: str) -> bytes | None:
        """The bytes of a table that is fresh and whole."""
        for candidate in await self._candidates(source, version):
            key = factors_key(source, candidate)
            try:
                return await self._read(key)
            except S3NotFoundError as error:
                # Deleted since it was listed, or a folder without a table: the next one is the latest.
                _require_bucket(error)
            except S3IntegrityError as error:
                warn("storage.factors_damaged", bucket=self._bucket.name, key=key, error=error.message)
                return None
        return None

    async def _read(self, key: str) -> bytes | None:
        info, data = await read(self._bucket, key)
        if expected := info.metadata.get("content-hash"):
            await check_hash(self._bucket, key, data, expected)
        if not isinstance(await decoded(data, self._bucket.name, key), dict):
            raise damaged(self._bucket.name, key, "is no JSON object")
        return data if self._time.fresh(self._lifetime(key, info)) else None

    def _lifetime(self, key: str, info: ObjectInfo) -> Lifetime:
        stored = info.last_modified or self._time.now()
        cached_text = info.metadata.get("cached-at", "")
        behind = self._time.saw((key, info.etag, cached_text), stored)
        if behind is not None and abs(behind) > SUSPICIOUS:
            warn("storage.clock_differs", bucket=self._bucket.name, seconds_behind=behind.total_seconds())
        try:
            cached_at = read_time(cached_text) if cached_text else stored
            expires_text = info.metadata.get("expires-at")
            expires_at = read_time(expires_text) if expires_text else cached_at + self._ttl
        except ValueError as error:
            raise damaged(self._bucket.name, key, f"has a time nobody can read: {error}") from error
        return Lifetime(stored, expires_at, expires_at - cached_at)

    async def _candidates(self, source: str, version: str) -> list[str]:
        if version != LATEST:
            return [version]
        return (await self.versions(source))[::-1]

    async def _parsed(self, data: bytes) -> JsonObject:
        # Parsed for each caller: a dict that many share is changed by one of them sooner or later.
        if len(data) < WORTH_A_THREAD:
            return cast("JsonObject", json.loads(data))
        return cast("JsonObject", await in_thread(lambda: json.loads(data)))


def _writable(version: str) -> str:
    if version == LATEST:
        raise ValueError("version 'latest' stands for the highest one; store under another name")
    return version


def _is_segment(name: str) -> bool:
    try:
        check_segment("version", name)
    except ValueError:
        return False
    return True


def _require_bucket(error: S3NotFoundError) -> None:
    """A missing table is a miss; a missing bucket is a mistake."""
    if error.code == "NoSuchBucket":
        raise error
