"""The only door to S3: one pooled client behind one gate, with deadlines, retries, typed errors, counters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TypedDict, TypeVar

from ._body import Body, Whole, arrived_whole
from ._concurrency import CleanupTasks, wait_through_cancels
from ._deadline import call_deadline
from ._lifecycle import CallScope, Lifecycle
from ._log import log
from ._requests import RequestEngine
from ._types import Buffer, PartData, Statistics

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

    from ._settings import StorageSettings

T = TypeVar("T")


class OwnerArgs(TypedDict, total=False):
    """The account every bucket must belong to; part of every request when configured."""

    ExpectedBucketOwner: str


class SourceOwnerArgs(TypedDict, total=False):
    """The same for the source of a copy."""

    ExpectedSourceBucketOwner: str


@dataclass(frozen=True, slots=True)
class ClientHooks:
    """What the connection needs from whoever made the client."""

    refresh_credentials: Callable[[], Awaitable[object]]
    """Forced and single flight; used once after the store called the credentials expired."""
    payload: Callable[[PartData, str | None], Buffer]
    """A body in the form the client takes, with its SHA-256 (hex) where the client can use it."""


class Connection:
    """
    One pooled S3 client, bound to the event loop and process it was made in.

    A slot of the gate is held for one request, or until a body is closed; waiting for a slot happens here, in
    order, bounded by `pool_timeout`. No task and no cancel scope outlives a call, clean-ups aside.
    """

    def __init__(self, client: S3Client, settings: StorageSettings, hooks: ClientHooks) -> None:
        self.client = client
        self.settings = settings
        self.log = log
        self.cleanups = CleanupTasks()
        owner = settings.expected_bucket_owner
        self.owner: OwnerArgs = {"ExpectedBucketOwner": owner} if owner else {}
        self.source_owner: SourceOwnerArgs = {"ExpectedSourceBucketOwner": owner} if owner else {}
        self.payload = hooks.payload
        self.signs_payload: bool = client.meta.endpoint_url.startswith("http://")
        """Whether SigV4 hashes request bodies: over plain http it does, over TLS a checksum is enough."""
        self._lifecycle = Lifecycle()
        self._engine = RequestEngine(
            client,
            settings,
            hooks.refresh_credentials,
            self._lifecycle.require_not_closed,
            self._lifecycle.deadlines,
        )

    async def call(
        self,
        operation: str,
        send: Callable[[S3Client], Awaitable[T]],
        *,
        bucket: str,
        key: str | None = None,
        transfer_bytes: int = 0,
        long: bool = False,
        retry: bool = True,
    ) -> T:
        """
        The reply to one S3 request; *send* runs once per attempt.

        *transfer_bytes* is the size of the request body: above 1 MiB it lengthens the attempt's deadline and
        lifts the total one. *long* is for calls that may take minutes on the server. Raises `S3Error` only.
        """
        self._lifecycle.require_not_closed()
        engine = self._engine
        job = engine.job(operation, send, bucket, key, transfer_bytes, long=long)
        result = await engine.run(job, retry=retry)
        engine.gate.release()
        engine.counters.bytes_sent += transfer_bytes
        return result

    def open_body(
        self, send: Callable[[S3Client], Awaitable[GetObjectOutputTypeDef]], *, bucket: str, key: str
    ) -> BodyContext:
        """A GetObject reply whose slot is held until the `async with` block ends, however it ends."""
        return BodyContext(self, send, bucket, key)

    async def fetch(
        self, send: Callable[[S3Client], Awaitable[GetObjectOutputTypeDef]], *, bucket: str, key: str
    ) -> Body | Whole:
        """
        A GetObject reply: with its bytes where they came with its head, else as a body that holds a slot.

        For calls inside a `within` block, which is what a closing session waits for; the caller closes the
        body.
        """
        self._lifecycle.require_not_closed()
        engine = self._engine
        response = await engine.run(engine.job("GetObject", send, bucket, key))
        data = arrived_whole(response)
        if data is None:
            return self._hold(response, bucket, key)
        engine.gate.release()
        engine.counters.bytes_received += len(data)
        return Whole(response, data)

    def within(
        self, timeout: float | None, operation: str, bucket: str | None = None, key: str | None = None
    ) -> CallScope:
        """A `with` block around one public call: its total deadline, and what a closing session waits for."""
        return CallScope(self._lifecycle, timeout, operation, bucket, key)

    def require_open(self) -> None:
        """Raise where a new public call would be refused: closing, closed, another loop, after a fork."""
        self._lifecycle.require_open()

    def require_usable(self) -> None:
        """Raise in another loop than the session's own, and after a fork."""
        self._lifecycle.require_usable()

    async def clean_up(self, operation: str, action: Callable[[], Awaitable[object]]) -> None:
        """Run *action* to the end, also when this task is cancelled; failures are logged, not raised."""

        async def unhurried() -> None:
            # The caller's deadline may be why there is something to clean up.
            call_deadline.set(None)
            await action()

        await self.cleanups.run(operation, unhurried, timeout=self.settings.cleanup_timeout)

    def count_orphan(self) -> None:
        """Note that a multipart upload may have been left open."""
        self._engine.counters.possible_orphans += 1

    def statistics(self) -> Statistics:
        """The counters, and what is going on right now."""
        engine = self._engine
        counters = engine.counters
        return Statistics(
            in_flight=engine.size - engine.gate.value,
            pool_size=engine.size,
            pool_waiting=engine.gate.statistics().tasks_waiting,
            requests=counters.requests,
            attempts=counters.attempts,
            retries=counters.retries,
            throttles=counters.throttles,
            errors=counters.errors,
            bytes_sent=counters.bytes_sent,
            bytes_received=counters.bytes_received,
            possible_orphans=counters.possible_orphans,
            cleanups_pending=self.cleanups.pending,
        )

    async def aclose(self, drain: float) -> None:
        """
        Refuse new calls, wait *drain* seconds for those in flight, end the rest, join the clean-ups.

        A cancel ends the waiting, not the clean-ups: it is raised when they are done, within their deadline.
        """
        self.require_usable()
        try:
            await self._lifecycle.drain(drain)
        finally:
            ending = asyncio.ensure_future(self._end())
            if await wait_through_cancels(ending):
                raise asyncio.CancelledError
            ending.result()

    async def _end(self) -> None:
        cleanup = self.settings.cleanup_timeout
        try:
            await self._lifecycle.end(cleanup)
            await self.cleanups.join(cleanup)
        finally:
            self._lifecycle.close()

    async def _open(
        self, send: Callable[[S3Client], Awaitable[GetObjectOutputTypeDef]], bucket: str, key: str
    ) -> Body:
        engine = self._engine
        # A closing session waits for a body from its request on, not from its reply.
        with CallScope(self._lifecycle, None, "GetObject", bucket, key, part=True):
            response = await engine.run(engine.job("GetObject", send, bucket, key))
            return self._hold(response, bucket, key)

    def _hold(self, response: GetObjectOutputTypeDef, bucket: str, key: str) -> Body:
        stall = self.settings.stall_timeout
        body = Body(response, bucket=bucket, key=key, stall=stall, on_close=self._body_closed)
        self._lifecycle.hold(body)
        return body

    def _body_closed(self, body: Body) -> None:
        self._engine.gate.release()
        self._engine.counters.bytes_received += body.received
        self._lifecycle.drop(body)


class BodyContext:
    """Opens a body on entry and closes it on every exit."""

    __slots__ = ("_body", "_bucket", "_connection", "_key", "_send")

    def __init__(
        self,
        connection: Connection,
        send: Callable[[S3Client], Awaitable[GetObjectOutputTypeDef]],
        bucket: str,
        key: str,
    ) -> None:
        self._connection = connection
        self._send = send
        self._bucket = bucket
        self._key = key
        self._body: Body | None = None

    async def __aenter__(self) -> Body:
        self._body = await self._connection._open(self._send, self._bucket, self._key)  # noqa: SLF001
        return self._body

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._body is not None:
            self._body.close()
