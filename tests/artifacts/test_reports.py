"""Reports: proved by their hash, downloaded under the name they had."""

from __future__ import annotations

import asyncio
import hashlib
import re
import urllib.request
from datetime import UTC, date, datetime
from urllib.parse import unquote

import pytest

from greenlang_async_storage import Bucket, S3IntegrityError, S3InvalidRequestError, S3NotFoundError
from greenlang_async_storage.artifacts import ReportStore
from tests.artifacts.conftest import TurnedClock
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

DATA = b"%PDF-1.7 emissions"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(lake: Bucket, clock: TurnedClock) -> ReportStore:
    """Reports in a bucket of the test's own."""
    return ReportStore(lake, clock=clock)


async def test_a_report_comes_back(store: ReportStore, lake: Bucket, clock: TurnedClock) -> None:
    """Under the key of the platform, with its metadata and its whole hash."""
    stored = await store.store("t1", "emissions", DATA, filename="Q1.pdf")
    assert stored.key == f"reports/emissions/2026/02/t1/2026-02-03T103000.000005Z_{DIGEST[:8]}.pdf"
    assert (stored.bucket, stored.content_hash, stored.size) == (lake.name, DIGEST, len(DATA))
    info = await lake.head(stored.key)
    assert info.content_type == "application/pdf"
    assert dict(info.metadata) == {
        "tenant-id": "t1",
        "report-type": "emissions",
        "generated-at": clock.now.isoformat(),
        "content-hash": DIGEST,
        "original-filename": "Q1.pdf",
    }
    report = await store.load(stored.key)
    assert (report.data, report.content_hash, report.filename) == (DATA, DIGEST, "Q1.pdf")
    assert (report.tenant_id, report.report_type, report.format) == ("t1", "emissions", "pdf")
    assert report.generated_at == clock.now


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("csv", "text/csv"),
        ("json", "application/json"),
        ("dat", "application/octet-stream"),
    ],
)
async def test_the_format_gives_the_content_type(
    store: ReportStore, lake: Bucket, format: str, content_type: str
) -> None:
    """As browsers expect it."""
    stored = await store.store("t1", "audit", DATA, format=format)
    assert (await lake.head(stored.key)).content_type == content_type


@pytest.mark.parametrize(
    "name",
    [
        "Emissions Zürich.pdf",
        "排出量報告書 2026.xlsx",
        'a "quoted" 100%.csv',
        "  padded ",
        "50%20.pdf",
        "😀" * 60,
    ],
)
async def test_a_link_gives_the_original_name(store: ReportStore, name: str) -> None:
    """Any Unicode, fetched over plain HTTP without credentials."""
    stored = await store.store("t1", "emissions", DATA, filename=name)
    assert (await store.load(stored.key)).filename == name
    link = await store.presign_download(stored.key, expires_in=60)

    def fetch() -> tuple[bytes, str]:
        with urllib.request.urlopen(link, timeout=30) as reply:
            return reply.read(), reply.headers["Content-Disposition"]

    data, disposition = await asyncio.to_thread(fetch)
    assert data == DATA
    encoded = re.search(r"filename\*=UTF-8''(\S+)", disposition)
    plain = re.search(r'filename="(.*?)"', disposition)
    assert plain is not None
    shown = unquote(encoded[1]) if encoded else plain[1]
    assert shown == name.strip()


async def test_a_link_needs_a_report(store: ReportStore) -> None:
    """A name that is given is used, and then nothing is asked; other keys get no link."""
    key = f"reports/emissions/2026/02/t1/2026-02-03T103000.000005Z_{DIGEST[:8]}.pdf"
    with pytest.raises(S3NotFoundError):
        await store.presign_download(key)
    assert "filename%3D%22x.pdf" in await store.presign_download(key, filename="x.pdf")
    with pytest.raises(S3InvalidRequestError):
        await store.presign_download("models/secret/model.pkl")


async def test_a_changed_report_is_refused(store: ReportStore, seed: Seeder) -> None:
    """By the whole hash in the metadata, and by the part of it in the key."""
    stored = await store.store("t1", "emissions", DATA)
    seed.put(stored.key, b"forged", Metadata={"content-hash": hashlib.sha256(b"forged").hexdigest()})
    with pytest.raises(S3IntegrityError, match="SHA-256"):
        await store.load(stored.key)
    seed.put(stored.key, DATA, Metadata={"content-hash": "0" * 64})
    with pytest.raises(S3IntegrityError, match="SHA-256"):
        await store.load(stored.key)
    seed.put(stored.key, DATA, Metadata={"content-hash": "0"})
    with pytest.raises(S3IntegrityError):
        await store.load(stored.key)


async def test_reports_are_listed_by_tenant_type_and_month(store: ReportStore, seed: Seeder) -> None:
    """Oldest first; no other tenant's, type's or month's, and nothing that is no report."""
    for tenant in ("t1", "t10"):
        for day in (2, 1):
            await store.store(tenant, "audit", DATA, generated_at=datetime(2026, 2, day, tzinfo=UTC))
    await store.store("t1", "audit", DATA, generated_at=datetime(2026, 3, 1, tzinfo=UTC))
    await store.store("t1", "audit2", DATA)
    seed.put("reports/audit/2026/02/t1/notes.txt", b"")
    found = [item async for item in store.list("t1", "audit", date(2026, 2, 28))]
    assert [item.day.day for item in found] == [1, 2]
    assert {item.tenant_id for item in found} == {"t1"}


async def test_mistakes_are_told(store: ReportStore) -> None:
    """Formats and names no key or header can carry; a limit on what is read."""
    with pytest.raises(S3InvalidRequestError):
        await store.store("t1", "audit", DATA, format="../pdf")
    for name in ("", "x" * 256, "\ud800"):
        with pytest.raises(S3InvalidRequestError):
            await store.store("t1", "audit", DATA, filename=name)
    with pytest.raises(S3InvalidRequestError, match="no time zone"):
        await store.store("t1", "audit", DATA, generated_at=datetime(2026, 2, 3))  # noqa: DTZ001  # refused
    stored = await store.store("t1", "audit", DATA)
    with pytest.raises(S3InvalidRequestError, match="max_size"):
        await store.load(stored.key, max_size=5)


async def test_what_older_code_wrote_stays_readable(store: ReportStore, seed: Seeder) -> None:
    """Colons in the key, 8 digits of hash, naive UTC times, no checksum."""
    now = datetime(2026, 2, 3, 10, 30, 0, 5)  # noqa: DTZ001  # as older code had it
    key = f"reports/emissions/2026/02/tenant-123/{now.isoformat()}_{DIGEST[:8]}.pdf"
    metadata = {"tenant-id": "tenant-123", "report-type": "emissions", "generated-at": now.isoformat()}
    metadata.update({"content-hash": DIGEST[:8], "original-filename": "Report 100%.pdf"})
    seed.put(key, DATA, checksum=None, ContentType="application/pdf", Metadata=metadata)
    report = await store.load(key)
    assert (report.data, report.content_hash, report.filename) == (DATA, DIGEST, "Report 100%.pdf")
    assert report.generated_at == now.replace(tzinfo=UTC)
    found = [item.key async for item in store.list("tenant-123", "emissions", date(2026, 2, 1))]
    assert found == [key]
    assert "Report%20100%25.pdf" in unquote(await store.presign_download(key))
    seed.put(key, b"forged", checksum=None, Metadata=metadata)
    with pytest.raises(S3IntegrityError):
        await store.load(key)
