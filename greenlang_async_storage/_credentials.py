"""Temporary credentials that one task renews for everybody, early, reading token files off the event loop."""

# ruff: noqa: ANN401, SLF001  # botocore publishes no types, and its seams are private attributes

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from aiobotocore._helpers import resolve_awaitable
from aiobotocore.credentials import AioRefreshableCredentials
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError

from ._log import log

EARLY_SECONDS: Final = 15 * 60.0
"""Renewal begins this long before expiry, in the background; a quarter of the lifetime if that is shorter."""
LATE_SECONDS: Final = 60.0
"""From here on callers wait for the renewal; a tenth of the lifetime if that is shorter."""
RENEWAL_TIMEOUT: Final = 30.0
MAX_BACKOFF_SECONDS: Final = 30.0
FORCED_INTERVAL_SECONDS: Final = 5.0
"""Credentials younger than this are not renewed again: many calls report the same expired token at once."""


def wall_clock() -> datetime:
    """The time expiries are compared with."""
    return datetime.now(UTC)


class SharedCredentials(AioRefreshableCredentials):  # type: ignore[misc]  # aiobotocore publishes no types
    """
    Any provider's temporary credentials, renewed by one task however many callers wait.

    While the old ones are valid nobody waits: the renewal runs behind the calls, and its failure is retried
    after 1, 2, 4 ... 30 s. Close to expiry callers wait for it, and once expired its failure is theirs. A
    cancelled caller leaves the renewal running.

    Raises (from `get_frozen_credentials`):
        CredentialRetrievalError: of botocore, from the cause.
    """

    def __init__(self, source: Any) -> None:
        self.method = source.method
        self._refresh_using = _renewal(source._refresh_using)
        self._frozen_credentials = source._frozen_credentials
        self._expiry_time = source._expiry_time
        self._lifetime = _seconds_until(self._expiry_time)
        self._renewed_at = monotonic()
        self._failures = 0
        self._quiet_until = 0.0
        self._last_failure = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When the present ones end; `None` before the first were fetched, or when they never end."""
        return self._expiry_time if self._frozen_credentials is not None else None

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The present credentials; waits for new ones only when there are none or they are about to end."""
        left = self._seconds_left()
        if left <= min(LATE_SECONDS, self._lifetime / 10):
            await self._wait(tolerate_failure=left > 0)
        elif left <= min(EARLY_SECONDS, self._lifetime / 4) and not self._is_quiet():
            self._task = self._start()
        return self._frozen_credentials

    async def renew(self) -> bool:
        """Whether there are new credentials; fetches them unless that was done a moment ago."""
        fresh = self._frozen_credentials is not None and self._failures == 0
        if not fresh or monotonic() - self._renewed_at > FORCED_INTERVAL_SECONDS:
            await self._wait(tolerate_failure=False)
        return True

    async def aclose(self) -> None:
        """End a renewal that is still running."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def get_access_key(self) -> Any:
        """The access key id alone; take the frozen credentials where more than one part is needed."""
        return (await self.get_frozen_credentials()).access_key

    async def get_secret_key(self) -> Any:
        """The secret key alone."""
        return (await self.get_frozen_credentials()).secret_key

    async def get_token(self) -> Any:
        """The session token alone, or `None`."""
        return (await self.get_frozen_credentials()).token

    async def get_account_id(self) -> Any:
        """The account these credentials belong to, or `None` where the provider did not tell."""
        return (await self.get_frozen_credentials()).account_id

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Whether fewer than *refresh_in* seconds are left (default: the time renewal begins)."""
        return self._seconds_left() < (EARLY_SECONDS if refresh_in is None else refresh_in)

    def _seconds_left(self) -> float:
        if self._frozen_credentials is None:
            return 0.0
        return _seconds_until(self._expiry_time)

    def _is_quiet(self) -> bool:
        return monotonic() < self._quiet_until

    def _start(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            # An empty context: it serves all callers and must not carry one caller's trace or log fields.
            self._task = asyncio.get_running_loop().create_task(
                self._renew(), name="storage-credentials", context=contextvars.Context()
            )
            self._task.add_done_callback(_mark_seen)
        return self._task

    async def _wait(self, *, tolerate_failure: bool) -> None:
        if self._is_quiet() and (self._task is None or self._task.done()):
            if tolerate_failure:
                return
            raise self._failure()
        task = self._start()
        try:
            await asyncio.shield(task)
        except CredentialRetrievalError as error:
            if not tolerate_failure:
                raise self._failure() from error.__cause__
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and not (caller and caller.cancelling()):
                raise self._failure("the session was closed meanwhile") from None
            raise

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(RENEWAL_TIMEOUT):
                found = await self._refresh_using()
            self._adopt(found)
        except Exception as error:
            self._failures += 1
            self._last_failure = (
                f"no answer within {RENEWAL_TIMEOUT:g} s"
                if isinstance(error, TimeoutError)
                else f"{type(error).__name__}: {' '.join(str(error).split())}"
            )
            self._quiet_until = monotonic() + min(MAX_BACKOFF_SECONDS, 2.0 ** (self._failures - 1))
            log.warning(
                "storage.credentials_refresh_failed",
                source=self.method,
                error=type(error).__name__,
                seconds_left=round(self._seconds_left()),
                failures=self._failures,
            )
            raise self._failure() from error
        log.debug("storage.credentials_refreshed", source=self.method, expires_at=str(self._expiry_time))

    def _adopt(self, found: Mapping[str, Any]) -> None:
        """Take over what a provider returned, all at once or not at all."""
        frozen = ReadOnlyCredentials(
            found["access_key"], found["secret_key"], found["token"], found.get("account_id")
        )
        expiry = found["expiry_time"]
        if isinstance(expiry, str):
            expiry = datetime.fromisoformat(expiry)
            expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        lifetime = _seconds_until(expiry)
        if lifetime <= 0:
            raise ValueError(
                f"the new credentials had already expired at {expiry}; check this machine's clock"
            )
        self._frozen_credentials, self._expiry_time, self._lifetime = frozen, expiry, lifetime
        self._renewed_at = monotonic()
        self._failures, self._quiet_until, self._last_failure = 0, 0.0, ""

    def _failure(self, reason: str = "") -> CredentialRetrievalError:
        return CredentialRetrievalError(provider=self.method, error_msg=reason or self._last_failure)


def _seconds_until(expiry: datetime | None) -> float:
    return float("inf") if expiry is None else (expiry - wall_clock()).total_seconds()


def _mark_seen(task: asyncio.Task[None]) -> None:
    """A background failure was logged where it happened; asyncio must not report it again."""
    if not task.cancelled():
        task.exception()


def _renewal(refresh: Callable[[], Any]) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    """*refresh* of a provider, past its cache, and with a web identity's token file read in a thread."""
    fetcher: Any = getattr(refresh, "__self__", None)
    load_token = getattr(fetcher, "_web_identity_token_loader", None)

    async def renew() -> Mapping[str, Any]:
        if isinstance(cache := getattr(fetcher, "_cache", None), dict):
            # botocore keeps the last answer; it is asked only when that one will not do any more.
            cache.pop(getattr(fetcher, "_cache_key", None), None)
        if load_token is not None:
            token = await asyncio.to_thread(load_token)
            fetcher._web_identity_token_loader = lambda: token
        found: Mapping[str, Any] = await resolve_awaitable(refresh())
        return found

    return renew
