"""
The two tasks. Each may run again after its worker was killed: what it writes depends on the upload alone.

So a second run writes the same report under the same key, and a report is there whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from taskiq import TaskiqDepends, TaskiqState

from examples.worker import activities
from examples.worker.broker import broker
from greenlang_async_storage import Download, StorageSession
from greenlang_async_storage.artifacts import ReportStore, parse_landing_key


@dataclass(frozen=True)
class Verdict:
    """What became of an upload."""

    status: Literal["accepted", "rejected"]
    reason: str = ""
    report_task: str | None = None


def open_session(state: Annotated[TaskiqState, TaskiqDepends()]) -> StorageSession:
    """The session of this worker process."""
    session: StorageSession = state.session
    return session


async def contents(body: Download) -> bytes:
    """The whole upload, verified; `ValueError` before its first byte is read when it is too large."""
    if body.info.size > activities.MAX_BYTES:
        raise ValueError(f"{body.info.size} bytes are more than the {activities.MAX_BYTES} allowed")
    return await body.read()


@broker.task(retry_on_error=True)
async def validate_upload(key: str, session: StorageSession = TaskiqDepends(open_session)) -> Verdict:
    """Read a landed upload and check every row; a valid one is tagged and handed to the report worker."""
    parse_landing_key(key)
    lake = session.data_lake
    async with lake.open_download(key) as body:
        info = body.info
        try:
            activities.parse(await contents(body))
        except ValueError as fault:
            await lake.set_tags(key, {"greenlang:validation": "rejected"})
            return Verdict("rejected", str(fault))
    await lake.set_tags(key, {"greenlang:validation": "accepted"})
    assert info.last_modified is not None, "S3 always tells when an object was stored"
    task = await write_report.kiq(key, info.etag, info.last_modified)
    return Verdict("accepted", report_task=task.task_id)


@broker.task(retry_on_error=True)
async def write_report(
    key: str, etag: str, landed_at: datetime, session: StorageSession = TaskiqDepends(open_session)
) -> str:
    """Store the report on exactly the upload that was validated; its key."""
    tenant_id = parse_landing_key(key).tenant_id
    async with session.data_lake.open_download(key, if_match=etag) as body:
        rows = activities.parse(await contents(body))
    stored = await ReportStore(session.reports).store(
        tenant_id, "activities", activities.report(rows), format="csv", generated_at=landed_at
    )
    return stored.key
