"""How one request runs: a slot of the gate, deadlines, retries, and a typed error at the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio

from ._deadline import NEVER, Deadlines, Scope, ScopeEndedError, call_deadline
from ._error_map import to_s3_error
from ._errors import S3Error, S3PoolTimeoutError, S3ThrottlingError, S3TimeoutError, is_write
from ._log import log
from ._retry import RetryPolicy

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from ._settings import StorageSettings

T = TypeVar("T")

TRANSFER_BYTES_PER_SECOND: Final = 64 * 1024
"""A transferred request body earns its attempt one more second per this many bytes."""
SMALL_BODY: Final = 1024 * 1024
"""Up to this many bytes a request body is no transfer: the call has a total deadline."""
LONG_CALL_SECONDS: Final = 900.0
"""Copy and Complete answer when the store is done, minutes later for terabytes."""
RATE_LIMITED: Final = "RateLimited"
"""Code of our own: the call's turn comes too late, and nothing was sent."""
EXPIRED_CODES: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
)


@dataclass(slots=True)
class Job(Generic[T]):
    """One call: what to send, and what its attempts have shown so far."""

    operation: str
    bucket: str
    key: str | None
    send: Callable[[S3Client], Awaitable[T]]
    ends: float | None
    """Loop time by which the whole call must be done."""
    limit: float
    """Seconds for one attempt."""
    attempts: int = 0
    ambiguous: bool = False
    refreshed: bool = False
    expired: S3Error | None = None
    """What refused the credentials, until they are renewed."""


@dataclass(slots=True)
class Counters:
    """What one session has done so far."""

    requests: int = 0
    attempts: int = 0
    retries: int = 0
    throttles: int = 0
    errors: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    possible_orphans: int = 0


class RequestEngine:
    """Runs jobs on one client behind one gate; the only place that tries again."""

    def __init__(
        self,
        client: S3Client,
        settings: StorageSettings,
        refresh_credentials: Callable[[], Awaitable[object]],
        require_usable: Callable[[], None],
        deadlines: Deadlines,
    ) -> None:
        self.counters = Counters()
        self.size = settings.max_pool_connections
        self.gate = anyio.Semaphore(self.size, max_value=self.size, fast_acquire=True)
        self._client = client
        self._settings = settings
        self._refresh = refresh_credentials
        self._require_usable = require_usable
        """Raises once the session is closed: a call may have waited through that."""
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._policy = RetryPolicy(settings.retry_mode, settings.max_attempts, self._loop.time)

    async def run(self, job: Job[T], *, retry: bool = True) -> T:
        """The reply to *job*; **its slot is still held**: the caller releases the gate."""
        try:
            result = await self._once(job)
        except Exception as exc:  # noqa: BLE001  # mapped, or raised again unchanged
            failure = exc
        else:
            self._policy.note(None)
            if log.debug_enabled:
                log.debug("storage.request_completed", **self._facts(job))
            return result
        try:
            return await self._after_failure(job, failure, retry=retry)
        except S3Error:
            self.counters.errors += 1
            raise
        finally:
            del failure  # as in `_after_failure`

    def job(
        self,
        operation: str,
        send: Callable[[S3Client], Awaitable[T]],
        bucket: str,
        key: str | None,
        transfer_bytes: int = 0,
        *,
        long: bool = False,
    ) -> Job[T]:
        """A job with the deadlines that fit it: transfers have no total one, long calls a long one."""
        self.counters.requests += 1
        settings = self._settings
        inherited = call_deadline.get()
        ends = None if inherited is None else inherited.ends
        limit = settings.attempt_timeout
        if transfer_bytes > SMALL_BODY:
            limit += transfer_bytes / TRANSFER_BYTES_PER_SECOND
        elif long:
            limit = LONG_CALL_SECONDS
        elif ends is None:
            ends = self._loop.time() + settings.call_timeout
        return Job(operation, bucket, key, send, ends, limit)

    async def _once(self, job: Job[T]) -> T:
        """One attempt; on success the slot is still held."""
        limiter = self._policy.limiter
        if limiter is not None:
            latest = math.inf if job.ends is None else job.ends
            if (pause := limiter.reserve(latest)) > 0.0:
                await self._wait_for_turn(job, pause)
        try:
            self.gate.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait_for_slot(job)
        job.attempts += 1
        self.counters.attempts += 1
        try:
            with self._scope(job, job.limit):
                return await job.send(self._client)
        except BaseException:
            self.gate.release()
            raise

    def _scope(self, job: Job[T], seconds: float) -> Scope:
        """A block that ends after *seconds*, or with the whole call."""
        ends = self._loop.time() + seconds
        return Scope(self._deadlines, ends if job.ends is None else min(ends, job.ends))

    async def _wait_for_turn(self, job: Job[T], pause: float) -> None:
        if job.ends is not None and self._loop.time() + pause > job.ends:
            raise S3ThrottlingError(
                f"the store throttled this client, whose next turn is {pause:.1f} s away, after the deadline",
                operation=job.operation,
                bucket=job.bucket,
                key=job.key,
                code=RATE_LIMITED,
                attempts=job.attempts,
                retryable=True,
            )
        await asyncio.sleep(pause)
        self._require_usable()

    async def _wait_for_slot(self, job: Job[T]) -> None:
        seconds = self._settings.pool_timeout
        try:
            with self._scope(job, seconds):
                await self.gate.acquire()
            try:
                self._require_usable()
            except BaseException:
                self.gate.release()
                raise
        except ScopeEndedError as exc:
            raise S3PoolTimeoutError(
                f"none of {self.size} pooled connections became free in time (at most {seconds:g} s)",
                operation=job.operation,
                bucket=job.bucket,
                key=job.key,
                attempts=job.attempts,
                retryable=True,
                outcome="unknown" if job.ambiguous else "not_applied",
            ) from exc

    async def _after_failure(self, job: Job[T], first: Exception, *, retry: bool) -> T:
        """The reply of a later attempt, or the final failure."""
        error = self._failed(job, first)
        try:
            while retry and self._may_repeat(job, error):
                pause = 0.0 if job.expired else self._policy.pause(error, job.attempts)
                if job.ends is not None and self._loop.time() + pause >= job.ends:
                    break  # the next attempt would start after the call's deadline
                self._log_retry(job, error, pause)
                await asyncio.sleep(pause)
                try:
                    result = await self._again(job)
                except Exception as exc:  # noqa: BLE001  # mapped, or raised again unchanged
                    error = self._failed(job, exc)
                else:
                    self._policy.note(None)
                    return result
            raise self._final(job, error) from error.__cause__
        finally:
            job.expired = None
            del first, error  # held here, a failure would hold itself, and the request's body, alive

    async def _again(self, job: Job[T]) -> T:
        """One more attempt, after new credentials where the old ones have expired."""
        self._require_usable()
        if (expired := job.expired) is not None:
            job.expired = None
            try:
                with self._scope(job, NEVER):
                    renewed = await self._refresh()
                if renewed is False:
                    raise expired
            finally:
                del expired
            self._require_usable()
        self.counters.retries += 1
        return await self._once(job)

    def _failed(self, job: Job[T], exc: Exception) -> S3Error:
        """*exc* as an `S3Error` with its cause, fed to the counters; programming mistakes pass unchanged."""
        error: S3Error
        if isinstance(exc, ScopeEndedError):
            error = self._late(job)
        else:
            mapped = to_s3_error(
                exc, operation=job.operation, bucket=job.bucket, key=job.key, attempts=job.attempts
            )
            if mapped is None:
                raise exc
            error = mapped
        if error is not exc:
            error.__cause__ = exc
        error.operation = error.operation or job.operation
        error.bucket, error.key = error.bucket or job.bucket, error.key or job.key
        if error.code != RATE_LIMITED:
            self._policy.note(error)
            if isinstance(error, S3ThrottlingError):
                self.counters.throttles += 1
        return error

    def _late(self, job: Job[T]) -> S3TimeoutError:
        total = job.ends is not None and self._loop.time() >= job.ends - 0.001
        return S3TimeoutError(
            "the call's deadline passed" if total else f"no complete reply within {job.limit:g} s",
            operation=job.operation,
            bucket=job.bucket,
            key=job.key,
            code="RequestTimeout",
            attempts=job.attempts,
            retryable=True,
            outcome="unknown" if is_write(job.operation) else "not_applied",
            remedy="Raise timeout= or GREENLANG_STORAGE_CALL_TIMEOUT, or check the network."
            if total
            else "Raise GREENLANG_STORAGE_ATTEMPT_TIMEOUT, or check the network.",
        )

    def _may_repeat(self, job: Job[T], error: S3Error) -> bool:
        job.ambiguous = job.ambiguous or error.outcome == "unknown"
        if not job.refreshed and _says_expired(error, job.operation):
            job.refreshed, job.expired = True, error
            return True
        if isinstance(error, S3PoolTimeoutError) or error.code == RATE_LIMITED:
            return False
        if job.ends is not None and self._loop.time() >= job.ends:
            return False
        return job.attempts < self._policy.max_attempts and self._policy.again(error)

    def _final(self, job: Job[T], error: S3Error) -> S3Error:
        error.attempts = job.attempts
        if job.ambiguous and error.outcome == "not_applied" and is_write(job.operation):
            error.ambiguous = True
            error.outcome = "unknown"
        return error

    def _log_retry(self, job: Job[T], error: S3Error, pause: float) -> None:
        log.warning(
            "storage.request_retried",
            **self._facts(job),
            error=type(error).__name__,
            code=error.code,
            wait_seconds=round(pause, 3),
        )

    @staticmethod
    def _facts(job: Job[T]) -> dict[str, object]:
        return {"operation": job.operation, "bucket": job.bucket, "key": job.key, "attempt": job.attempts}


def _says_expired(error: S3Error, operation: str) -> bool:
    """Whether the store refused the credentials as expired; a reply to HEAD has no body to say so in."""
    return error.code in EXPIRED_CODES or (error.code == "400" and operation.startswith("Head"))
