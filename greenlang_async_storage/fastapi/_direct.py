"""Uploads that go from a browser straight to the store: begun, signed, completed and confirmed here."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Depends, Request, Response

from greenlang_async_storage import Bucket, S3NotFoundError, StorageSession

from ._confirm import complete, confirm, relative_key
from ._handles import Signer, Ticket
from ._lifespan import get_storage
from ._models import (
    CompletedUpload,
    ConfirmedUpload,
    HeldPart,
    HeldParts,
    NewUpload,
    PartNumbers,
    PartsUpload,
    PartUrls,
    PostUpload,
    UploadHandle,
    UploadToConfirm,
)
from ._names import safe_name
from ._problems import UploadRefusedError
from ._rules import UploadRules, checked_tenant

LANDING: Final = "landing"
_SIGNED_AT_ONCE: Final = 8


class ConfirmHook(Protocol):
    """Called with every confirmed upload; raising `UploadRefusedError` keeps the answer from being 200."""

    def __call__(self, request: Request, tenant: str, upload: ConfirmedUpload, /) -> Awaitable[None]: ...


async def _data_lake(storage: Annotated[StorageSession, Depends(get_storage)]) -> Bucket:
    return storage.data_lake


def upload_router(
    *,
    tenant: Callable[..., object],
    secret: str | bytes,
    bucket: Callable[..., object] = _data_lake,
    rules: UploadRules | None = None,
    landing: str = LANDING,
    prefix: str = "/uploads",
    on_confirmed: ConfirmHook | None = None,
) -> APIRouter:
    """
    A router for uploads that never pass through this process: `app.include_router(upload_router(...))`.

    The client POSTs JSON: `{prefix}` begins an upload and answers with a signed form (up to
    `rules.post_up_to` bytes) or a part size; `/parts` signs part URLs, `/held` lists the parts that arrived
    (to resume), `/complete` joins them, `/confirm` validates size, type and checksum, `/abort` gives up.
    Objects land at `{landing}/{tenant}/{upload}/{filename}`.

    *tenant* is a dependency of the application that authenticates the request and gives its tenant; *bucket*
    one that gives the `Bucket`, the data lake unless given. The handle a client gets is signed with *secret*
    (at least 32 random bytes, the same in every process, kept out of the code): a tenant cannot use, make or
    change another's. Nothing is kept here, so any process answers any step. *on_confirmed* may start what
    comes next; it is called again when a client confirms again.

    A form stays usable until its URL expires, also after the confirmation: read what was confirmed with
    `if_match=etag`, or move it out of the landing zone. Parts nobody completes stay stored until
    `abort_stale_uploads` or a lifecycle rule removes them. On AWS the bucket's CORS must allow PUT and POST
    from the page's origin; no exposed header is needed.

    Raises:
        ValueError: a *secret* below 32 bytes.
    """
    service = _Service(Signer(secret), rules or UploadRules(), landing, on_confirmed)

    async def scope(
        found_tenant: Annotated[object, Depends(tenant)], found_bucket: Annotated[Bucket, Depends(bucket)]
    ) -> _Scope:
        name = checked_tenant(found_tenant)
        return _Scope(name, found_bucket.scoped(f"{landing}/{name}/"))

    router = APIRouter(prefix=prefix, tags=["uploads"])
    Scoped = Annotated[_Scope, Depends(scope)]  # noqa: N806  # a type, made here because of the dependencies

    @router.post("", status_code=201)
    async def begin(asked: NewUpload, where: Scoped) -> PostUpload | PartsUpload:
        return await service.begin(where, asked)

    @router.post("/parts")
    async def sign_parts(asked: PartNumbers, where: Scoped) -> PartUrls:
        return await service.sign_parts(where, asked)

    @router.post("/held")
    async def held_parts(asked: UploadHandle, where: Scoped) -> HeldParts:
        return await service.held_parts(where, asked)

    @router.post("/complete")
    async def complete_parts(asked: UploadHandle, where: Scoped) -> CompletedUpload:
        return await service.complete(where, asked)

    @router.post("/confirm")
    async def confirm_upload(asked: UploadToConfirm, where: Scoped, request: Request) -> ConfirmedUpload:
        return await service.confirm(where, asked, request)

    @router.post("/abort", status_code=204, response_class=Response)
    async def abort_upload(asked: UploadHandle, where: Scoped) -> None:
        await service.abort(where, asked)

    return router


class _Scope:
    """One request's tenant, and the only part of the bucket it reaches."""

    __slots__ = ("bucket", "tenant")

    def __init__(self, tenant: str, bucket: Bucket) -> None:
        self.tenant, self.bucket = tenant, bucket


class _Service:
    """The steps; keeps nothing between them."""

    def __init__(
        self, signer: Signer, rules: UploadRules, landing: str, on_confirmed: ConfirmHook | None
    ) -> None:
        self._signer, self._rules = signer, rules
        self._landing = landing
        self._on_confirmed = on_confirmed

    async def begin(self, where: _Scope, asked: NewUpload) -> PostUpload | PartsUpload:
        rules = self._rules
        rules.check(asked.size, asked.content_type)
        bucket, upload = where.bucket, uuid.uuid4().hex
        name = safe_name(asked.filename)
        key = f"{upload}/{name.replace('$', '_')}"  # `$` begins the variables of S3's forms
        ticket = Ticket(
            tenant=where.tenant,
            bucket=bucket.name,
            key=bucket.prefix + key,
            name=name,
            size=asked.size,
            content_type=asked.content_type,
            expires_at=int(time.time() + rules.upload_expires_in.total_seconds()),
        )
        if asked.size <= rules.post_up_to:
            form = await bucket.presign_post(
                key,
                content_type=asked.content_type,
                min_size=asked.size,
                max_size=asked.size,
                expires_in=rules.url_expires_in,
            )
            return PostUpload(
                upload=self._signer.seal(ticket),
                url=form.url,
                fields=dict(form.fields),
                url_expires_at=form.expires_at,
                expires_at=_moment(ticket.expires_at),
            )
        opened = await bucket.create_multipart(
            key, content_type=asked.content_type, metadata={"upload-id": upload, "tenant-id": where.tenant}
        )
        part_size = rules.part_size_for(asked.size)
        ticket = replace(ticket, upload_id=opened.upload_id, token=opened.token, part_size=part_size)
        return PartsUpload(
            upload=self._signer.seal(ticket),
            part_size=part_size,
            parts=ticket.parts,
            expires_at=_moment(ticket.expires_at),
        )

    async def sign_parts(self, where: _Scope, asked: PartNumbers) -> PartUrls:
        ticket = self._parts_ticket(where, asked.upload)
        numbers = sorted(set(asked.numbers))
        if numbers[-1] > ticket.parts:
            raise UploadRefusedError(
                422, "no-such-part", f"The upload has {ticket.parts} parts, not {numbers[-1]}"
            )
        urls: dict[int, str] = {}
        expires: list[datetime] = []
        for count, number in enumerate(numbers, 1):
            url = await where.bucket.presign_part(
                ticket.upload, number, expires_in=self._rules.url_expires_in
            )
            urls[number] = str(url)
            expires.append(url.expires_at)
            if count % _SIGNED_AT_ONCE == 0:
                await asyncio.sleep(0)  # signing waits for nothing, so others would wait for all of it
        return PartUrls(urls=urls, expires_at=min(expires))

    async def held_parts(self, where: _Scope, asked: UploadHandle) -> HeldParts:
        ticket = self._parts_ticket(where, asked.upload)
        try:
            found = await where.bucket.list_parts(ticket.upload)
        except S3NotFoundError:
            raise UploadRefusedError(
                410, "upload-gone", "This upload was completed or aborted", remedy="Start it again."
            ) from None
        return HeldParts(parts=[HeldPart(number=part.number, size=part.size) for part in found])

    async def complete(self, where: _Scope, asked: UploadHandle) -> CompletedUpload:
        return CompletedUpload(size=await complete(where.bucket, self._parts_ticket(where, asked.upload)))

    async def confirm(self, where: _Scope, asked: UploadToConfirm, request: Request) -> ConfirmedUpload:
        ticket = self._ticket(where, asked.upload)
        key = relative_key(where.bucket, ticket)
        found = await confirm(where.bucket, key, ticket, asked, self._rules)
        if self._on_confirmed is not None:
            await self._on_confirmed(request, where.tenant, found)
        return found

    async def abort(self, where: _Scope, asked: UploadHandle) -> None:
        ticket = self._ticket(where, asked.upload)
        if ticket.upload_id:
            await where.bucket.abort_multipart(ticket.upload)
        await where.bucket.delete(relative_key(where.bucket, ticket))

    def _ticket(self, where: _Scope, handle: str) -> Ticket:
        return self._signer.open(handle, where.tenant, where.bucket.name)

    def _parts_ticket(self, where: _Scope, handle: str) -> Ticket:
        ticket = self._ticket(where, handle)
        if not ticket.upload_id:
            raise UploadRefusedError(422, "no-parts", "This upload is one form and has no parts")
        return ticket


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
