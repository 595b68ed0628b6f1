"""The tenant's files: listed, downloaded, linked to, deleted, and uploaded through the service."""

import uuid
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from greenlang_async_storage.fastapi import UploadRules, object_response, receive_upload

from .dependencies import Landing

router = APIRouter(tags=["files"])
PAGE = 1000
LINK_SECONDS = 600


class File(BaseModel):
    """One file."""

    key: str
    name: str
    size: int
    modified: datetime | None


class Files(BaseModel):
    """A page of files; `after` goes on behind it, where there is more."""

    files: list[File]
    after: str | None = None


class Limits(BaseModel):
    """What may be uploaded, for a page that wants to say so before anything is sent."""

    max_size: int
    content_types: list[str]


class Link(BaseModel):
    """A link that needs no login, until it expires."""

    url: str
    expires_at: datetime


@router.get("/api/limits")
async def limits(request: Request) -> Limits:
    """The rules of uploads."""
    rules: UploadRules = request.app.state.rules
    return Limits(max_size=rules.max_size, content_types=sorted(rules.content_types or ["*/*"]))


@router.get("/api/files")
async def list_files(
    landing: Landing, after: str | None = None, limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE
) -> Files:
    """The tenant's files by key, a page at a time."""
    found: list[File] = []
    async for item in landing.list_objects(start_after=after, page_size=limit):
        name = item.key.rpartition("/")[2]
        found.append(File(key=item.key, name=name, size=item.size, modified=item.last_modified))
        if len(found) == limit:
            return Files(files=found, after=item.key)
    return Files(files=found)


@router.api_route("/api/files/{key:path}", methods=["GET", "HEAD"])
async def download(key: str, request: Request, landing: Landing, *, inline: bool = False) -> Response:
    """The file itself, streamed through the service."""
    return object_response(
        landing, key, request, inline=inline, headers={"Cache-Control": "private, no-cache"}
    )


@router.post("/api/links/{key:path}")
async def link(key: str, landing: Landing) -> Link:
    """A link straight to the store."""
    await landing.head(key)
    url = await landing.presign_download(key, filename=key.rpartition("/")[2], expires_in=LINK_SECONDS)
    return Link(url=url, expires_at=url.expires_at)


@router.put("/api/files/{name}", status_code=201)
async def upload(name: str, request: Request, landing: Landing) -> File:
    """A file sent through the service, as a raw body or a form: `curl -T report.csv`."""
    rules: UploadRules = request.app.state.rules
    received = await receive_upload(
        request,
        landing,
        f"{uuid.uuid4().hex}/{name}",
        max_size=rules.max_size,
        content_types=rules.content_types,
    )
    return File(key=received.key, name=name, size=received.size, modified=None)


@router.delete("/api/files/{key:path}", status_code=204)
async def delete(key: str, landing: Landing) -> None:
    """Delete a file; one that is not there is no error."""
    await landing.delete(key)
