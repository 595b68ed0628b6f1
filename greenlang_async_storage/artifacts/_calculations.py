"""Calculation results: one JSON object each, by application, day and tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import TypeVar, overload

from greenlang_async_storage import Bucket, S3InvalidRequestError, S3NotFoundError

from ._json import JsonValue, decoded, encoded, restored
from ._keys import calculation_key, calculation_prefix, parse_calculation_key
from ._objects import ListedArtifact, StoredArtifact, check_hash, read
from ._policy import ArtifactPolicy
from ._segments import check_segment
from ._threads import sha256_of
from ._times import Clock, in_utc, utc_now

T = TypeVar("T")


class CalculationStore:
    """
    The calculation results of one application; a tenant's are never read or listed as another's.

    Results are plain JSON: decimals, times and UUIDs come back as text unless a `model=` says what they were.
    """

    def __init__(
        self,
        bucket: Bucket,
        application: str = "cbam",
        *,
        tags: bool = False,
        policy: ArtifactPolicy | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._bucket = bucket
        self._application = check_segment("application", application)
        self._policy = (policy or ArtifactPolicy()).tagged(tags=tags)
        self._clock = clock

    async def save(
        self,
        tenant_id: str,
        calculation_id: str,
        result: object,
        *,
        calculated_at: datetime | None = None,
        if_none_match: bool = False,
    ) -> StoredArtifact:
        """
        Store *result* under the day of *calculated_at* (now, if left out), over an earlier one of that day.

        *result* is what JSON holds, with `Decimal`, dates, times, UUIDs and paths as `str()` gives them;
        pydantic models and dataclasses become objects. *if_none_match* creates only.

        Raises:
            S3InvalidRequestError: an id that is no safe segment, or a time without a zone; nothing was sent.
            TypeError, ValueError: a result JSON cannot hold.
            S3PreconditionFailedError: *if_none_match*, and the result exists.
        """
        moment = in_utc("calculated_at", self._clock() if calculated_at is None else calculated_at)
        key = calculation_key(self._application, tenant_id, calculation_id, moment)
        data = await encoded(result, "result")
        digest = await sha256_of(data)
        metadata = {
            "tenant-id": tenant_id,
            "calculation-id": calculation_id,
            "application": self._application,
            "calculated-at": moment.isoformat(),
            "content-hash": digest,
        }
        options = self._policy.options(
            self._bucket.name,
            metadata,
            application=self._application,
            created_at=moment,
            tenant_id=tenant_id,
        )
        options["content_type"] = "application/json"
        options["if_none_match"] = if_none_match
        with self._policy.explained():
            stored = await self._bucket.upload_bytes(key, data, **options)
        return StoredArtifact(self._bucket.name, key, digest, stored.size, stored.etag, stored.version_id)

    @overload
    async def load(
        self, tenant_id: str, calculation_id: str, day: date | None = None, *, model: None = None
    ) -> JsonValue: ...

    @overload
    async def load(
        self, tenant_id: str, calculation_id: str, day: date | None = None, *, model: type[T]
    ) -> T: ...

    async def load(
        self,
        tenant_id: str,
        calculation_id: str,
        day: date | None = None,
        *,
        model: type[T] | None = None,
    ) -> T | JsonValue:
        """
        The result as plain JSON, or as *model*: any type pydantic knows, which restores decimals and times.

        *day* is the day it was saved under, in UTC (a datetime counts by its UTC day); left out, today's
        result or, where there is none, yesterday's. In memory twice while it is parsed.

        Raises:
            S3NotFoundError: no such result on that day.
            S3IntegrityError: the bytes are not what was saved, are no JSON, or do not fit *model*.
        """
        if day is not None:
            return await self._load(calculation_key(self._application, tenant_id, calculation_id, day), model)
        today = in_utc("clock()", self._clock()).date()
        with suppress(S3NotFoundError):
            key = calculation_key(self._application, tenant_id, calculation_id, today)
            return await self._load(key, model)
        yesterday = today - timedelta(days=1)
        return await self._load(
            calculation_key(self._application, tenant_id, calculation_id, yesterday), model
        )

    def list(self, tenant_id: str, day: date) -> AsyncIterator[ListedArtifact]:
        """
        The results of one tenant and one day (UTC), by id: `async for`; one page of 1,000 in memory.

        Objects under other keys are left out.
        """
        return self._listed(calculation_prefix(self._application, tenant_id, day))

    async def _listed(self, prefix: str) -> AsyncIterator[ListedArtifact]:
        async for entry in self._bucket.list_objects(prefix):
            try:
                parsed = parse_calculation_key(entry.key)
            except S3InvalidRequestError:
                continue
            yield ListedArtifact(
                entry.key,
                parsed.tenant_id,
                parsed.calculation_id,
                parsed.day,
                entry.size,
                entry.etag,
                entry.last_modified,
            )

    async def _load(self, key: str, model: type[T] | None) -> T | JsonValue:
        info, data = await read(self._bucket, key)
        if expected := info.metadata.get("content-hash"):
            await check_hash(self._bucket, key, data, expected)
        if model is None:
            return await decoded(data, self._bucket.name, key)
        return await restored(data, model, self._bucket.name, key)
