"""
Store a report as CSV, XLSX and PDF, and fetch each by a link: `python -m examples.reports`.

Needs GREENLANG_REPORTS_BUCKET and a store, openpyxl and reportlab.
"""

from __future__ import annotations

import asyncio
import csv
import io
import sys
import urllib.request

from openpyxl import Workbook  # type: ignore[import-untyped]  # it publishes no types
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]  # as above
from reportlab.platypus import SimpleDocTemplate, Table  # type: ignore[import-untyped]  # as above

from greenlang_async_storage import S3Error, StorageSession
from greenlang_async_storage.artifacts import ReportStore

HEADER = ("installation", "good", "t CO2e")
ROWS = [("Duisburg", "steel", 23.6), ("Zürich", "cement", 7.8), ("Narvik", "aluminium", 83.7)]


def as_csv() -> bytes:
    """The rows as CSV; the mark at its start tells Excel that it is UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADER, *ROWS])
    return text.getvalue().encode("utf-8-sig")


def as_xlsx() -> bytes:
    """The rows as a workbook."""
    book, target = Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    for row in (HEADER, *ROWS):
        sheet.append(row)
    book.save(target)
    return target.getvalue()


def as_pdf() -> bytes:
    """The rows as a page."""
    target = io.BytesIO()
    SimpleDocTemplate(target, pagesize=A4, title="Emissions").build([Table([HEADER, *ROWS])])
    return target.getvalue()


def fetch(link: str) -> tuple[bytes, str]:
    """What a browser gets: the file, and the name it saves it under."""
    with urllib.request.urlopen(link, timeout=30) as reply:
        return reply.read(), reply.headers["Content-Disposition"]


async def main() -> int:
    """The exit code."""
    async with StorageSession() as session:
        await session.ensure_buckets()  # for development; refused on AWS
        store = ReportStore(session.reports)
        for extension, make in (("csv", as_csv), ("xlsx", as_xlsx), ("pdf", as_pdf)):
            data = await asyncio.to_thread(make)  # making a large report takes a while
            name = f"Emissionen Zürich 2026.{extension}"
            stored = await store.store("tenant-123", "emissions", data, format=extension, filename=name)
            link = await store.presign_download(stored.key, expires_in=600)
            fetched, disposition = await asyncio.to_thread(fetch, link)
            assert fetched == data == (await store.load(stored.key)).data
            print(f"{stored.key}  {stored.size} bytes\n  {disposition}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except S3Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
