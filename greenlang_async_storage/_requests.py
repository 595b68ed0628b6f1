"""How one request runs: a slot of the gate, deadlines, retries, and a typed error at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio
import tenacity

from ._deadline import Scope, ScopeEndedError, call_deadline
from ._error_map import is_write, to_s3_error
from ._errors import S3Error, S3PoolTimeoutError, S3ThrottlingError, S3TimeoutError
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
    refresh_next: bool = False


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
    ) -> None:
        self.counters = Counters()
        self.size = settings.max_pool_connections
        self.gate = anyio.Semaphore(self.size, max_value=self.size, fast_acquire=True)
        self._client = client
        self._settings = settings
        self._refresh = refresh_credentials
        self._loop = asyncio.get_running_loop()
        self._policy = RetryPolicy(settings.retry_mode, settings.max_attempts, self._loop.time)

    async def run(self, job: Job[T], *, retry: bool = True) -> T:
        """The reply to *job*; **its slot is still held**: the caller releases the gate."""
        try:
            result = await self._once(job)
        except Exception as exc:  # noqa: BLE001  # mapped, or raised again unchanged
            try:
                return await self._after_failure(job, exc, retry=retry)
            except S3Error:
                self.counters.errors += 1
                raise
        self._policy.note(None)
        if log.debug_enabled:
            log.debug("storage.request_completed", **self._facts(job))
        return result

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
        ends = call_deadline.get()
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
        if limiter is not None and (pause := limiter.reserve()) > 0.0:
            await asyncio.sleep(pause)
        try:
            self.gate.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait_for_slot(job)
        job.attempts += 1
        self.counters.attempts += 1
        try:
            ends = self._loop.time() + job.limit
            with Scope(ends if job.ends is None else min(ends, job.ends)):
                return await job.send(self._client)
        except BaseException:
            self.gate.release()
            raise

    async def _wait_for_slot(self, job: Job[T]) -> None:
        seconds = self._settings.pool_timeout
        ends = self._loop.time() + seconds
        try:
            with Scope(ends if job.ends is None else min(ends, job.ends)):
                await self.gate.acquire()
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
        """The reply of a later attempt, or the final failure. Only failed calls pay for the retry library."""
        error = self._failed(job, first)
        if not retry or not self._may_repeat(job, error):
            raise self._final(job, error) from error.__cause__
        async for attempt in tenacity.AsyncRetrying(
            stop=lambda state: self._exhausted(job, state),
            wait=lambda state: 0.0 if job.refresh_next else self._policy.wait(state),
            retry=tenacity.retry_if_exception(
                lambda exc: isinstance(exc, S3Error) and (exc is error or self._may_repeat(job, exc))
            ),
            before_sleep=lambda state: self._log_retry(job, state),
            reraise=False,
            retry_error_callback=lambda state: self._give_up(job, state),
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise error
                return await self._repeat(job)
        raise AssertionError("the retry loop ends by returning or raising")  # pragma: no cover

    async def _repeat(self, job: Job[T]) -> T:
        try:
            if job.refresh_next:
                job.refresh_next = False
                await self._refresh()
            result = await self._once(job)
        except Exception as exc:  # noqa: BLE001  # mapped, or raised again unchanged
            error = self._failed(job, exc)
            raise self._final(job, error) from error.__cause__
        self._policy.note(None)
        return result

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
        if error.code in EXPIRED_CODES and not job.refreshed:
            job.refreshed = job.refresh_next = True
            return True
        if isinstance(error, S3PoolTimeoutError) or (job.ends is not None and self._loop.time() >= job.ends):
            return False
        return job.attempts < self._policy.max_attempts and self._policy.again(error)

    def _exhausted(self, job: Job[T], state: tenacity.RetryCallState) -> bool:
        """Whether the next attempt would start after the call's deadline."""
        return job.ends is not None and self._loop.time() + state.upcoming_sleep >= job.ends

    def _final(self, job: Job[T], error: S3Error) -> S3Error:
        error.attempts = job.attempts
        if job.ambiguous and error.outcome == "not_applied" and is_write(job.operation):
            error.ambiguous = True
            error.outcome = "unknown"
        return error

    def _give_up(self, job: Job[T], state: tenacity.RetryCallState) -> T:
        assert state.outcome is not None  # noqa: S101  # tenacity gives up only after an attempt
        error = state.outcome.exception()
        assert isinstance(error, S3Error)  # noqa: S101  # other exceptions are never retried
        raise self._final(job, error) from error.__cause__

    def _log_retry(self, job: Job[T], state: tenacity.RetryCallState) -> None:
        self.counters.retries += 1
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning(
            "storage.request_retried",
            **self._facts(job),
            error=type(error).__name__,
            code=getattr(error, "code", None),
            wait_seconds=round(state.upcoming_sleep, 3),
        )

    @staticmethod
    def _facts(job: Job[T]) -> dict[str, object]:
        return {"operation": job.operation, "bucket": job.bucket, "key": job.key, "attempt": job.attempts}
