"""Reports: made, stored under the platform's key, and given out as links."""

import csv
import io
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from greenlang_async_storage.artifacts import ReportStore, parse_report_key

from .dependencies import Landing, Tenant

router = APIRouter(prefix="/api/reports", tags=["reports"])
REPORT_TYPE = "uploads"
MOST_ROWS = 10_000


class ReportLink(BaseModel):
    """A stored report and a link to it."""

    key: str
    size: int | None = None
    content_hash: str | None = None
    url: str
    expires_at: datetime


@router.post("", status_code=201)
async def create(request: Request, tenant: Tenant, landing: Landing) -> ReportLink:
    """A CSV of the tenant's files, at most 10,000 of them, stored and linked to."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["key", "bytes", "modified"])
    rows = 0
    async for item in landing.list_objects():
        writer.writerow([item.key, item.size, item.last_modified])
        rows += 1
        if rows == MOST_ROWS:
            break
    store: ReportStore = request.app.state.reports
    stored = await store.store(
        tenant, REPORT_TYPE, text.getvalue().encode(), format="csv", filename=f"Uploads of {tenant}.csv"
    )
    url = await store.presign_download(stored.key)
    return ReportLink(
        key=stored.key,
        size=stored.size,
        content_hash=stored.content_hash,
        url=url,
        expires_at=url.expires_at,
    )


@router.get("/link")
async def link(request: Request, tenant: Tenant, key: Annotated[str, Query(max_length=1024)]) -> ReportLink:
    """A new link to a report of the tenant's own."""
    if parse_report_key(key).tenant_id != tenant:
        raise HTTPException(404)
    store: ReportStore = request.app.state.reports
    url = await store.presign_download(key)
    return ReportLink(key=key, url=url, expires_at=url.expires_at)
