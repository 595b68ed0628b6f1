"""`StorageSession`: the one owner, which opens the pooled client, hands out buckets and closes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from . import _admin, _probe
from ._arguments import checked_bucket
from ._aws import OpenedClient, credentials_expire_at, open_client, refresh_credentials
from ._bucket import Bucket
from ._concurrency import wait_through_cancels
from ._connection import ClientHooks, Connection
from ._errors import S3SessionClosedError
from ._log import log
from ._payload import payload_for
from ._settings import StorageSettings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from ._types import Capabilities, Readiness, Statistics

DRAIN_SECONDS: Final = 30.0
"""How long closing waits for calls in flight, unless told otherwise."""


class StorageSession:
    """
    One pooled S3 client for as long as a process works: `async with StorageSession() as session`.

    Settings come from the environment, or from *settings*. Open one per process (in FastAPI's lifespan, at
    a worker's start-up) and share it: it holds `max_pool_connections` connections and no task between
    calls. New, open, closed, never back; it belongs to the event loop and process that opened it.

    Raises:
        StorageSettingsError: a bad setting; each line names its variable.
        S3CredentialsError: on opening, credentials that are configured but unusable.
    """

    def __init__(self, settings: StorageSettings | None = None) -> None:
        self._settings = settings if settings is not None else StorageSettings()
        self._state: Literal["new", "opening", "open", "closing", "closed"] = "new"
        self._opened: OpenedClient | None = None
        self._connection: Connection | None = None
        self._closing: asyncio.Lock | None = None

    @property
    def settings(self) -> StorageSettings:
        """The settings this session was made with; frozen."""
        return self._settings

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise S3SessionClosedError(
                f"the session is {self._state} and cannot be opened again",
                remedy="Make a new StorageSession, or share the open one.",
            )
        self._state = "opening"
        try:
            async with AsyncExitStack() as stack:
                opened = await stack.enter_async_context(await open_client(self._settings))
                hooks = ClientHooks(partial(refresh_credentials, opened.client), payload_for(opened.client))
                connection = Connection(opened.client, self._settings, hooks)
                if self._was_closed():
                    raise S3SessionClosedError("the session was closed while it was opening")
                self._connection = connection
                stack.pop_all()
        except BaseException:
            self._state = "closed"
            raise
        self._opened = opened
        self._closing = asyncio.Lock()
        self._state = "open"
        log.info("storage.session_opened", endpoint=opened.endpoint_url, region=opened.region)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A block that failed is in no state to wait for its calls.
        await self.aclose(drain=DRAIN_SECONDS if exc_type is None else 0.0)

    async def aclose(self, *, drain: float = DRAIN_SECONDS) -> None:
        """
        Close the session: wait up to *drain* seconds for calls in flight, end the rest, then the connections.

        New calls are refused at once. Calls that are ended raise `S3SessionClosedError` and clean up after
        themselves within `GREENLANG_STORAGE_CLEANUP_TIMEOUT`; a cancel of this call ends them at once, and is
        raised when all is closed. Closing again does nothing.

        Raises:
            S3WrongLoopError: called in another event loop or process than the session's own; it stays open.
        """
        if self._connection is None or self._opened is None or self._closing is None:
            self._state = "closed"
            return
        if self._was_closed():
            return
        self._connection.require_usable()
        async with self._closing:
            if self._was_closed():
                return
            self._state = "closing"
            try:
                await self._connection.aclose(drain)
            finally:
                self._state = "closed"
                await self._disconnect(self._opened)

    async def _disconnect(self, opened: OpenedClient) -> None:
        """Close the connections, also when this is cancelled: nobody could do it later."""
        closing = asyncio.ensure_future(opened.aclose())
        cancelled = await wait_through_cancels(closing, timeout=self._settings.cleanup_timeout)
        log.info("storage.session_closed", possible_orphans=self.statistics().possible_orphans)
        if not closing.done():
            closing.cancel()
        if cancelled:
            raise asyncio.CancelledError
        if closing.done():
            closing.result()

    def _was_closed(self) -> bool:
        return self._state == "closed"

    def bucket(self, name: str) -> Bucket:
        """
        Any bucket by name; nothing is sent.

        Raises:
            S3InvalidRequestError: a name S3 would refuse.
            S3SessionClosedError: the session is not open.
        """
        connection = self._require_connection()
        connection.require_open()
        return Bucket(connection, name)

    @property
    def data_lake(self) -> Bucket:
        """The bucket `GREENLANG_DATA_LAKE_BUCKET` names; unset, `StorageSettingsError` says so."""
        return self.bucket(self._settings.bucket("data_lake"))

    @property
    def reports(self) -> Bucket:
        """The bucket `GREENLANG_REPORTS_BUCKET` names."""
        return self.bucket(self._settings.bucket("reports"))

    @property
    def models(self) -> Bucket:
        """The bucket `GREENLANG_MODELS_BUCKET` names."""
        return self.bucket(self._settings.bucket("models"))

    @property
    def temp(self) -> Bucket:
        """The bucket `GREENLANG_TEMP_BUCKET` names."""
        return self.bucket(self._settings.bucket("temp"))

    @property
    def cache(self) -> Bucket:
        """The bucket `GREENLANG_CACHE_BUCKET` names."""
        return self.bucket(self._settings.bucket("cache"))

    @property
    def client(self) -> S3Client:
        """
        The pooled aioboto3 client itself, for what this SDK does not cover.

        One attempt per call: no retries, no checks, botocore's own exceptions. It shares the connections, not
        the gate, and closes with the session.
        """
        self._require_connection().require_open()
        assert self._opened is not None  # noqa: S101  # set together with the connection
        return self._opened.client

    def statistics(self) -> Statistics:
        """Counters since the session opened, and what is in flight now; works after closing too."""
        return self._require_connection().statistics()

    async def check(self, *, timeout: float = 10.0) -> Readiness:
        """
        Whether this session can work now: every configured bucket answers, and how long the credentials live.

        For readiness probes: one HeadBucket per configured bucket, all at once, *timeout* seconds; their
        failures are part of the answer. Without a configured bucket nothing is asked. Credentials that a role
        has yet to fetch count as not expiring.

        Raises:
            S3SessionClosedError: the session is not open.
        """
        connection = self._require_connection()
        connection.within(timeout, "HeadBucket")
        connection.require_open()
        buckets = dict(self._settings.buckets)
        return await _admin.check(connection, buckets, self._credentials_expire_at, timeout=timeout)

    async def probe(self, bucket: str | None = None, *, timeout: float = 60.0) -> Capabilities:
        """
        What the store supports, found out by trying it on small objects that are removed again.

        Uses *bucket*, else the first configured of temp, cache, data lake, reports and models.

        Raises:
            StorageSettingsError: no bucket is configured and none was given.
            S3Error: the bucket cannot be written to at all.
        """
        connection = self._require_connection()
        name = checked_bucket(bucket or _admin.probe_bucket(self._settings))
        with connection.within(timeout, "Probe", name):
            return await _probe.probe(connection, name)

    async def ensure_buckets(self, *, allow_aws: bool = False, timeout: float = 60.0) -> list[str]:
        """
        Create the configured buckets that are missing and return their names: for development and tests.

        Raises:
            S3InvalidRequestError: the endpoint is AWS and *allow_aws* is false; production buckets come from
                infrastructure code.
        """
        connection = self._require_connection()
        with connection.within(timeout, "CreateBucket"):
            return await _admin.ensure_buckets(connection, dict(self._settings.buckets), allow_aws=allow_aws)

    def _credentials_expire_at(self) -> float | None:
        """Seconds the credentials still live."""
        assert self._opened is not None  # noqa: S101  # only called while open
        return _admin.seconds_until(credentials_expire_at(self._opened.client))

    def _require_connection(self) -> Connection:
        if self._connection is None:
            raise S3SessionClosedError(
                "the session is not open yet"
                if self._state in ("new", "opening")
                else "the session is closed"
            )
        return self._connection

    def __repr__(self) -> str:
        return (
            f"StorageSession({self._state}, endpoint={self._opened.endpoint_url if self._opened else None!r})"
        )
