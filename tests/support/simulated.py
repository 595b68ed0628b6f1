"""
A fake S3 client, cheap enough for hundreds of thousands of lives: what a client does for the SDK, no more.

`SimulatedClient` stands where aioboto3's client does, under a `Connection` of its own; its replies are dicts,
its failures botocore's. Faults are those of `Schedule`, in the same phases as on the wire. Everything is
deterministic; waits are timers, so run it on a `VirtualTimeLoop`.
"""

# ruff: noqa: N803  # arguments have S3's names

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from greenlang_async_storage.testing import Fault
from tests.support.simulated_store import (
    Opened,
    Reply,
    Stored,
    crc32,
    facts_of,
    flipped,
    md5,
    refusal,
    span_of,
    verify,
)

ENDPOINT: Final = "https://store.invalid"
PIECE: Final = 512
"""Bytes of a reply's body that arrive at once."""
Act = Callable[[bytes], Reply]


@dataclass(slots=True)
class Sent:
    """One request as it was seen: for the trace."""

    operation: str
    nth: int
    key: str
    faults: list[Fault]
    status: str = "none"

    def __str__(self) -> str:
        broken = "".join(f" !{fault.phase}:{fault.action}" for fault in self.faults)
        return f"{self.operation}#{self.nth} {self.key} -> {self.status}{broken}"


class SimulatedClient:
    """
    Objects of one bucket in a dict; every request suspends at least twice, as one on a network would.

    *behaviour* says what a second Complete gets: success on `aws`, NoSuchUpload on `minio`, on `moto` success
    while the object is current. `hooks` are what `hook` faults call.
    """

    def __init__(self, behaviour: str, faults: Sequence[Fault], *, min_part: int) -> None:
        self.meta = SimpleNamespace(endpoint_url=ENDPOINT, region_name="us-east-1")
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Opened] = {}
        self.completed: dict[str, tuple[str, Stored]] = {}
        self.requests: list[Sent] = []
        self.hooks: dict[str, Callable[[], object]] = {}
        self.open_bodies = 0
        self.damaged = False
        """Whether a byte of an object was flipped on its way to the reader."""
        self._behaviour = behaviour
        self._faults = faults
        self._min_part = min_part
        self._counts: Counter[str] = Counter()
        self._ids = 0

    def plant(self, key: str, data: bytes) -> str:
        """Store *data* as another client would; gives the ETag."""
        return str(self._stored(key, data, {"ChecksumCRC32": crc32(data)})["ETag"]).strip('"')

    # What the SDK calls.

    async def put_object(self, *, Key: str, Body: Any, **args: Any) -> Reply:
        def act(body: bytes) -> Reply:
            verify(body, args)
            self._require(Key, args, "PutObject")
            return self._stored(Key, body, args)

        return await self._send("PutObject", Key, act, bytes(Body))

    async def get_object(self, *, Key: str, **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            found = self._find(Key, args, "GetObject")
            start, stop = span_of(args.get("Range"), len(found.data))
            reply = facts_of(found, whole=stop - start == len(found.data))
            if "Range" in args:
                reply["ContentRange"] = f"bytes {start}-{stop - 1}/{len(found.data)}"
            return {**reply, "ContentLength": stop - start, "Body": found.data[start:stop]}

        reply = await self._send("GetObject", Key, act)
        faults = [fault for fault in self.requests[reply.pop("nth")].faults if fault.phase == "reply_body"]
        return {**reply, "Body": SimulatedBody(self, reply["Body"], faults)}

    async def head_object(self, *, Key: str, **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            found = self._find(Key, args, "HeadObject")
            return {**facts_of(found, whole=True), "ContentLength": len(found.data)}

        return await self._send("HeadObject", Key, act)

    async def delete_object(self, *, Key: str, **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            if Key in self.objects or "IfMatch" in args:
                self._require(Key, args, "DeleteObject")
            self.objects.pop(Key, None)
            return {}

        return await self._send("DeleteObject", Key, act)

    async def delete_objects(self, *, Delete: Mapping[str, Any], **_args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            keys = [entry["Key"] for entry in Delete["Objects"]]
            for key in keys:
                self.objects.pop(key, None)
            return {"Deleted": [{"Key": key} for key in keys]}

        return await self._send("DeleteObjects", "", act)

    async def copy_object(self, *, Key: str, CopySource: Mapping[str, str], **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            wanted = {"IfMatch": args["CopySourceIfMatch"]} if "CopySourceIfMatch" in args else {}
            found = self._find(CopySource["Key"], wanted, "CopyObject")
            checksum = found.checksum or (crc32(found.data) if "ChecksumAlgorithm" in args else None)
            self.objects[Key] = Stored(found.data, found.etag, dict(found.metadata), checksum)
            return {"CopyObjectResult": {"ETag": f'"{found.etag}"'}}

        return await self._send("CopyObject", Key, act)

    async def list_objects_v2(self, *, Prefix: str = "", MaxKeys: int = 1000, **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            after = args.get("ContinuationToken") or args.get("StartAfter", "")
            keys = sorted(key for key in self.objects if key.startswith(Prefix) and key > after)
            page = [
                {"Key": key, "Size": len(self.objects[key].data), "ETag": f'"{self.objects[key].etag}"'}
                for key in keys[:MaxKeys]
            ]
            more = len(keys) > MaxKeys
            token = {"NextContinuationToken": keys[MaxKeys - 1]} if more else {}
            return {"Contents": page, "IsTruncated": more, **token}

        return await self._send("ListObjectsV2", Prefix, act)

    async def create_multipart_upload(self, *, Key: str, **args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            self._ids += 1
            self.uploads[f"u{self._ids}"] = Opened(Key, dict(args.get("Metadata", {})))
            return {"UploadId": f"u{self._ids}"}

        return await self._send("CreateMultipartUpload", Key, act)

    async def upload_part(self, *, Key: str, UploadId: str, PartNumber: int, Body: Any, **args: Any) -> Reply:
        def act(body: bytes) -> Reply:
            verify(body, args)
            self._upload(UploadId, "UploadPart").parts[PartNumber] = body
            return {"ETag": f'"{md5(body)}"', "ChecksumCRC32": crc32(body)}

        return await self._send("UploadPart", Key, act, bytes(Body))

    async def complete_multipart_upload(
        self, *, Key: str, UploadId: str, MultipartUpload: Mapping[str, Any], **args: Any
    ) -> Reply:
        def act(_body: bytes) -> Reply:
            if UploadId not in self.uploads and (again := self._again(UploadId)) is not None:
                return again
            upload = self._upload(UploadId, "CompleteMultipartUpload")
            self._require(Key, args, "CompleteMultipartUpload")
            data = self._assembled(upload, MultipartUpload["Parts"])
            if args.get("ChecksumCRC32", crc32(data)) != crc32(data) or args.get(
                "MpuObjectSize", len(data)
            ) != len(data):
                raise refusal(400, "BadDigest", "CompleteMultipartUpload")
            del self.uploads[UploadId]
            made = {"Metadata": upload.metadata, "ChecksumCRC32": crc32(data)}
            etag = f"{md5(data)}-{len(upload.parts)}"
            reply = self._stored(Key, data, made, etag=etag)
            self.completed[UploadId] = Key, self.objects[Key]
            return reply

        return await self._send("CompleteMultipartUpload", Key, act)

    async def abort_multipart_upload(self, *, Key: str, UploadId: str, **_args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            self._upload(UploadId, "AbortMultipartUpload")
            del self.uploads[UploadId]
            return {}

        return await self._send("AbortMultipartUpload", Key, act)

    async def list_parts(self, *, Key: str, UploadId: str, **_args: Any) -> Reply:
        def act(_body: bytes) -> Reply:
            found = self._upload(UploadId, "ListParts").parts
            parts = [{"PartNumber": number, "Size": len(found[number])} for number in sorted(found)]
            return {"Parts": parts, "IsTruncated": False}

        return await self._send("ListParts", Key, act)

    # What happens to a request on its way.

    async def _send(self, operation: str, key: str, act: Act, body: bytes = b"") -> Reply:
        self._counts[operation] += 1
        nth = self._counts[operation]
        faults = [fault for fault in self._faults if fault.matches(operation, nth)]
        sent = Sent(operation, nth, key, faults)
        index = len(self.requests)
        self.requests.append(sent)
        try:
            reply = await self._exchange(sent, act, body)
        except ClientError as refused:
            sent.status = refused.response["Error"]["Code"]
            raise
        sent.status = "200"
        return {**reply, "nth": index} if operation == "GetObject" else reply

    async def _exchange(self, sent: Sent, act: Act, body: bytes) -> Reply:
        if not sent.faults:
            await asyncio.sleep(0)
            reply = act(body)
            await asyncio.sleep(0)
            return reply
        await self._reach(sent, "connect")
        await asyncio.sleep(0)
        for phase in ("request_head", "request_body", "unforwarded"):
            await self._reach(sent, phase)
        body = flipped(body, [fault for fault in sent.faults if fault.phase == "request_body"])
        reply = act(body)
        if any(fault.action == "twice" for fault in sent.faults):
            reply = act(body)
        await self._reach(sent, "withheld")
        await asyncio.sleep(0)
        await self._reach(sent, "reply_head")
        if sent.operation != "GetObject":
            await self._reach(sent, "reply_body")
        await self._reach(sent, "idle")
        return reply

    async def _reach(self, sent: Sent, phase: str) -> None:
        for fault in sent.faults:
            if fault.phase == phase:
                await self.do(fault, sent.operation)

    async def do(self, fault: Fault, operation: str) -> None:
        """Carry a fault out, as what the client would raise."""
        match fault.action:
            case "reset" | "close" if fault.phase == "connect":
                raise EndpointConnectionError(endpoint_url=ENDPOINT, error="planned")
            case "reset" | "close" if fault.phase != "idle":
                raise ConnectionClosedError(endpoint_url=ENDPOINT, error="planned")
            case "stall":
                await asyncio.Event().wait()
            case "delay" | "drip":
                await asyncio.sleep(fault.seconds)
            case "flip" if fault.phase == "reply_body":
                raise ResponseParserError("planned")
            case "replace":
                headers = dict(fault.headers)
                status = fault.status or 503
                raise refusal(status, fault.code or str(status), operation, headers)
            case "hook":
                done = self.hooks[fault.hook or ""]()
                if isinstance(done, Awaitable):
                    await done

    # The store.

    def _find(self, key: str, args: Mapping[str, Any], operation: str) -> Stored:
        found = self.objects.get(key)
        if found is None:
            raise refusal(404, "404" if operation == "HeadObject" else "NoSuchKey", operation)
        if args.get("IfMatch", found.etag).strip('"') != found.etag:
            raise refusal(412, "PreconditionFailed", operation)
        return found

    def _require(self, key: str, args: Mapping[str, Any], operation: str) -> None:
        """The conditions of a write."""
        if args.get("IfNoneMatch") == "*" and key in self.objects:
            raise refusal(412, "PreconditionFailed", operation)
        if "IfMatch" in args:
            self._find(key, args, operation)

    def _stored(self, key: str, data: bytes, args: Mapping[str, Any], etag: str | None = None) -> Reply:
        made = Stored(data, etag or md5(data), dict(args.get("Metadata", {})), args.get("ChecksumCRC32"))
        self.objects[key] = made
        return facts_of(made, whole=True)

    def _upload(self, upload_id: str, operation: str) -> Opened:
        found = self.uploads.get(upload_id)
        if found is None:
            raise refusal(404, "NoSuchUpload", operation)
        return found

    def _again(self, upload_id: str) -> Reply | None:
        """What a second Complete gets; `None` for NoSuchUpload."""
        key, made = self.completed.get(upload_id, ("", None))
        current = made is not None and self.objects.get(key) is made
        if made is None or self._behaviour == "minio" or (self._behaviour == "moto" and not current):
            return None
        return facts_of(made, whole=True)

    def _assembled(self, upload: Opened, named: Sequence[Mapping[str, Any]]) -> bytes:
        pieces = []
        for part in named:
            data = upload.parts.get(part["PartNumber"])
            if data is None or part["ETag"].strip('"') != md5(data):
                raise refusal(400, "InvalidPart", "CompleteMultipartUpload")
            pieces.append(data)
        if any(len(piece) < self._min_part for piece in pieces[:-1]):
            raise refusal(400, "EntityTooSmall", "CompleteMultipartUpload")
        return b"".join(pieces)


class SimulatedBody:
    """A reply's body, a piece at a time, with what breaks in it."""

    def __init__(self, client: SimulatedClient, data: bytes, faults: Sequence[Fault]) -> None:
        flips = [fault for fault in faults if fault.action == "flip"]
        client.damaged = client.damaged or bool(flips and data)
        client.open_bodies += 1
        self._client = client
        self._data = flipped(data, flips)
        self._breaks = sorted((fault for fault in faults if fault.action != "flip"), key=lambda one: one.at)
        self._position = 0
        self._open = True

    async def read(self, size: int) -> bytes:
        """At most *size* bytes, as soon as there are any."""
        await asyncio.sleep(0)
        size = min(size, PIECE)
        while self._breaks and self._breaks[0].at <= self._position < len(self._data):
            fault = self._breaks[0]
            if fault.action == "drip":
                await asyncio.sleep(fault.seconds)
                size = 1
                break
            self._breaks.pop(0)
            if fault.action in ("reset", "close"):
                self.close()
                if fault.action == "close":
                    return b""
                raise aiohttp.ClientPayloadError("planned")
            await self._client.do(fault, "GetObject")
        if self._breaks and self._breaks[0].at > self._position:
            size = min(size, self._breaks[0].at - self._position)
        piece = self._data[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def close(self) -> None:
        """Give the body up; idempotent."""
        if self._open:
            self._open = False
            self._client.open_bodies -= 1
