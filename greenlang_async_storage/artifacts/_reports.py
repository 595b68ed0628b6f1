"""Reports: finished files with their hash and the name a reader saves them under."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from greenlang_async_storage import Bucket, Buffer, ObjectInfo, PresignedUrl, S3InvalidRequestError

from ._keys import ReportKey, parse_report_key, report_key, report_prefix
from ._objects import ListedArtifact, check_hash, read
from ._policy import ArtifactPolicy, as_header, from_header
from ._threads import sha256_of
from ._times import Clock, in_utc, utc_now

MAX_FILENAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was stored."""

    bucket: str
    key: str
    content_hash: str
    """SHA-256 in hex, all 64 digits."""
    size: int


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was read, and proved by its hash."""

    key: str
    report_type: str
    tenant_id: str
    generated_at: datetime
    format: str
    content_hash: str
    """SHA-256 in hex, all 64 digits, also where less was stored."""
    filename: str
    """The original name; the last segment of the key where none was stored."""
    data: bytes
    """The whole file."""


class ReportStore:
    """Reports by type, month and tenant; a tenant's are never read or listed as another's."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        application: str = "reports",
        tags: bool = False,
        policy: ArtifactPolicy | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._bucket = bucket
        self._application = application
        self._policy = (policy or ArtifactPolicy()).tagged(tags=tags)
        self._clock = clock

    async def store(
        self,
        tenant_id: str,
        report_type: str,
        data: Buffer,
        *,
        format: str = "pdf",
        filename: str | None = None,
        generated_at: datetime | None = None,
    ) -> StoredReport:
        """
        Store a report; its key carries the time and the first 8 digits of its hash.

        *format* is the extension, which also gives the content type. *filename*, any Unicode up to 255 bytes
        of UTF-8, is what `presign_download` offers it as.

        Raises:
            S3InvalidRequestError: a value that is no safe segment, a time without a zone, a name too long.
        """
        moment = in_utc("generated_at", self._clock() if generated_at is None else generated_at)
        digest = await sha256_of(data)
        key = report_key(report_type, tenant_id, moment, digest, format)
        metadata = {
            "tenant-id": tenant_id,
            "report-type": report_type,
            "generated-at": moment.isoformat(),
            "content-hash": digest,
        }
        if filename is not None:
            metadata["original-filename"] = as_header(_checked_filename(filename))
        options = self._policy.options(
            self._bucket.name,
            metadata,
            application=self._application,
            created_at=moment,
            tenant_id=tenant_id,
        )
        with self._policy.explained():
            stored = await self._bucket.upload_bytes(key, data, **options)
        return StoredReport(self._bucket.name, key, digest, stored.size)

    async def load(self, key: str, *, max_size: int | None = None) -> Report:
        """
        The report at *key*, in memory, proved by the hash it was stored with; reads older keys too.

        Raises:
            S3NotFoundError: no such report.
            S3IntegrityError: the bytes are not what was stored.
            S3InvalidRequestError: not the key of a report, or more than *max_size* bytes.
        """
        parsed = parse_report_key(key)
        info, data = await read(self._bucket, key, max_size=max_size)
        await check_hash(self._bucket, key, data, parsed.content_hash)
        digest = await check_hash(
            self._bucket, key, data, info.metadata.get("content-hash", parsed.content_hash)
        )
        return Report(
            key,
            parsed.report_type,
            parsed.tenant_id,
            parsed.generated_at,
            parsed.format,
            digest,
            _filename(key, info),
            data,
        )

    async def presign_download(
        self, key: str, *, expires_in: float | timedelta = 3600, filename: str | None = None
    ) -> PresignedUrl:
        """
        A link that downloads the report without credentials, under its original name or *filename*.

        *expires_in* is seconds, up to 7 days. One HEAD unless *filename* is given.

        Raises:
            S3NotFoundError: no such report, where its name had to be asked for.
            S3InvalidRequestError: not the key of a report.
        """
        parse_report_key(key)
        name = filename if filename is not None else _filename(key, await self._bucket.head(key))
        return await self._bucket.presign_download(key, expires_in=expires_in, filename=name)

    def list(self, tenant_id: str, report_type: str, month: date) -> AsyncIterator[ListedArtifact]:
        """
        The reports of one tenant, type and month (any day of it, in UTC), oldest first: `async for`.

        One page of 1,000 in memory; objects under other keys are left out.
        """
        return self._listed(report_prefix(report_type, tenant_id, month))

    async def _listed(self, prefix: str) -> AsyncIterator[ListedArtifact]:
        async for entry in self._bucket.list_objects(prefix):
            try:
                parsed: ReportKey = parse_report_key(entry.key)
            except S3InvalidRequestError:
                continue
            yield ListedArtifact(
                entry.key,
                parsed.tenant_id,
                entry.key.rpartition("/")[2],
                parsed.generated_at.date(),
                entry.size,
                entry.etag,
                entry.last_modified,
            )


def _filename(key: str, info: ObjectInfo) -> str:
    stored = info.metadata.get("original-filename")
    return from_header(stored) if stored else key.rpartition("/")[2]


def _checked_filename(filename: str) -> str:
    if not isinstance(filename, str):
        raise TypeError(f"filename must be a str, not {type(filename).__name__}")
    try:
        size = len(filename.encode())
    except UnicodeEncodeError:
        raise S3InvalidRequestError(
            f"filename {filename!a} holds half of a surrogate pair",
            remedy="Pass a name that has a form in UTF-8.",
        ) from None
    if not 0 < size <= MAX_FILENAME_BYTES:
        raise S3InvalidRequestError(
            f"filename {filename[:80]!a} has {size} bytes of UTF-8",
            remedy=f"Pass a name of 1 to {MAX_FILENAME_BYTES} bytes.",
        )
    return filename
